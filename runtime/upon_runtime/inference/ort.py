"""The one door to ONNX Runtime: imported late, with telemetry off, and its errors put into words."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from upon import MissingExtra, ModelError


def load(what: str) -> Any:
    """Import onnxruntime. what: who needs it, for the message. Raises MissingExtra."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # its Linux wheel reports to its maker otherwise
    try:
        import_module("numpy")
        return import_module("onnxruntime")
    except ModuleNotFoundError as error:
        raise MissingExtra(what, "cpu") from error


def explain(model: str, path: Path, error: Exception, version: str) -> ModelError:
    """The ModelError for a session that can't be made from the file at `path`."""
    text = " ".join(str(error).rpartition("] : ")[2].split())
    head = _head(path)
    if head.startswith(b"version https://git-lfs"):
        why = "is a Git LFS pointer, not the model: run git lfs pull"
    elif not head:
        why = "is empty: export or copy it again"
    elif "external data" in text.lower():
        why = f"lacks its external data: copy the data file to where the model expects it ({text})"
    elif "opset" in text or "IR version" in text:
        why = f"is too new for onnxruntime {version}: upgrade it, or export with an older opset ({text})"
    elif "INVALID_PROTOBUF" in str(error) or "No graph was found" in text:
        why = f"is not an ONNX model, or only a part of one ({path.stat().st_size} bytes)"
    else:
        why = f"can't be opened: {text}"
    return ModelError(f"model {model!r}: {path} {why}")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)
