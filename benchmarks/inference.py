"""Batched inference over HTTP: Upon against LitServe, with raw ONNX Runtime as the ceiling.

An MLP 784-1024-1024-10 takes one row of JSON per request from 64 keep-alive connections on loopback and answers
with its ten scores. Rounds are interleaved; medians count. Before it counts, each server's answer is compared with
the session's own.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import bench
import numpy as np
import onnxruntime

ROUNDS, SECONDS, CONNECTIONS = 5, 3.0, 64
FOLDER = bench.HERE / "peers" / "inference"
MODEL = bench.CACHE / "mlp.onnx"
HEADERS = ["Content-Type: application/json"]


def open_session() -> onnxruntime.InferenceSession:
    """The model on one thread, as the servers run it."""
    if not MODEL.is_file():
        subprocess.run([bench.environment("onnx", "onnx", "numpy"), FOLDER / "make_mlp.py", MODEL], check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])


def rows_per_second(session: onnxruntime.InferenceSession, batch: int, seconds: float) -> float:
    rows = np.random.default_rng(1).random((batch, 784), dtype=np.float32)
    session.run(None, {"x": rows})
    begin, runs = time.perf_counter(), 0
    while (spent := time.perf_counter() - begin) < seconds:
        session.run(None, {"x": rows})
        runs += 1
    return runs * batch / spent


def check_answer(port: int, body: bytes, expected: list[float]) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        np.testing.assert_allclose(json.load(answer)["scores"], expected, rtol=1e-3, atol=1e-5)


def start_all(stack: contextlib.ExitStack) -> dict[str, int]:
    """Start the servers; returns the port of each."""
    litserve = bench.environment("litserve", "litserve", "onnxruntime", "numpy")
    commands: dict[str, list[str | Path]] = {
        "upon": [Path(sys.executable).parent / "func", "serve"],
        "litserve": [litserve, FOLDER / "litserve_app.py"],
    }
    ports = {name: bench.free_port() for name in commands}
    for name, command in commands.items():
        env = {"PORT": str(ports[name]), "HOST": "127.0.0.1", "MLP": str(MODEL)}
        stack.enter_context(bench.server(command, ports[name], FOLDER, **env))
    return ports


def main() -> None:
    machine = bench.machine()
    session = open_session()
    row = np.random.default_rng(0).random(784, dtype=np.float32).round(3)
    body_file = bench.CACHE / "row.json"
    body_file.write_text(json.dumps({"x": row.astype(float).round(3).tolist()}))
    expected = np.asarray(session.run(None, {"x": row[None]})[0])[0].tolist()
    rounds: dict[str, list[dict[str, Any]]] = {}
    with contextlib.ExitStack() as stack:
        ports = start_all(stack)
        for name, port in ports.items():
            wait_until_answering(name, port, body_file.read_bytes(), expected)
        for number in range(ROUNDS):
            for name, port in ports.items():
                got = bench.load(port, "/predict", HEADERS, f"@{body_file}", CONNECTIONS, SECONDS)
                rounds.setdefault(name, []).append(got)
                print(f"round {number + 1}  {name:12} {got['per_second']:9,.0f}/s  p50 {got['p50_ms']} ms", flush=True)
    rates = {name: bench.median(all_rounds, "per_second") for name, all_rounds in rounds.items()}
    for batch in (1, 32):
        rates[f"onnxruntime, rows of {batch}"] = round(rows_per_second(session, batch, 3.0), 1)
    ratios = {f"upon / {name}": round(rates["upon"] / rate, 3) for name, rate in rates.items() if name != "upon"}
    print(ratios)
    packages = {
        **bench.versions(sys.executable, "upon", "onnxruntime", "granian"),
        **bench.versions(bench.environment("litserve", "litserve", "onnxruntime", "numpy"), "litserve"),
    }
    result = {"machine": machine, "versions": packages, "median": rates, "ratios": ratios, "rounds": rounds}
    bench.save("inference", result, rates, "Rows per second", "MLP 784-1024-1024-10, JSON over HTTP, 64 connections")


def wait_until_answering(name: str, port: int, body: bytes, expected: list[float]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            return check_answer(port, body, expected)
        except OSError as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"{name} does not answer: {error}") from None
            time.sleep(0.1)


if __name__ == "__main__":
    main()
