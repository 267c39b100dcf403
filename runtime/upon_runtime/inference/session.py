"""Opens an ONNX Runtime session on the device that was asked for, and says so when that device is not there."""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from upon import Model, ModelError
from upon_runtime.inference import ort
from upon_runtime.inference.tensors import Array, Tensor, describe

log = logging.getLogger(__name__)

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
# To be measured again on each kind of GPU: an exhaustive search costs 0.6 s for every new shape.
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}


class Session:
    """A session with its inputs and outputs described; `run` may be called from any thread."""

    __slots__ = ("_names", "_run", "_wanted", "inputs", "outputs", "provider")

    def __init__(self, model: str, raw: Any) -> None:
        self.inputs: tuple[Tensor, ...] = describe(model, "input", raw.get_inputs())
        self.outputs: tuple[Tensor, ...] = describe(model, "output", raw.get_outputs())
        self.provider: str = raw.get_providers()[0]
        self._run = raw.run
        self._names = [tensor.name for tensor in self.inputs]
        self._wanted = [tensor.name for tensor in self.outputs]

    def run(self, arrays: list[Array]) -> list[Array]:
        """Arrays in the order of `inputs` to arrays in the order of `outputs`."""
        outputs: list[Array] = self._run(self._wanted, dict(zip(self._names, arrays, strict=True)))
        return outputs


def open_session(model: Model, folder: Path, *, relative_to: str, threads: int) -> Session:
    """Open the model's file. relative_to: what `folder` is, for the message. Raises ModelError, MissingExtra."""
    runtime = ort.load(f"model {model.name!r}")
    path = _locate(model, folder, relative_to)
    raw = None if model.device == "cpu" else _on_cuda(runtime, model, path, threads)
    if raw is None:
        try:
            raw = _create(runtime, path, threads, [CPU])
        except Exception as error:
            raise ort.explain(model.name, path, error, runtime.__version__) from error
    return Session(model.name, raw)


def _locate(model: Model, folder: Path, relative_to: str) -> Path:
    path = (folder / model.path).absolute()
    if path.is_dir():
        raise ModelError(f"model {model.name!r}: {path} is a folder: name the .onnx file in it")
    if not path.is_file():
        relative = "" if model.path.is_absolute() else f" (relative paths count from {relative_to} {folder.absolute()})"
        given = f"correct the path {str(model.path)!r}{relative}"
        raise ModelError(f"model {model.name!r}: there is no file {path}: {given}")
    return path


def _on_cuda(runtime: Any, model: Model, path: Path, threads: int) -> Any | None:
    """A session that really runs on CUDA; None where the CPU may stand in. ONNX Runtime itself never tells."""
    raw, why = _try_cuda(runtime, path, threads)
    if raw is not None:
        return raw
    if model.device == "cuda" and model.fallback is None:
        raise ModelError(
            f"model {model.name!r}: device='cuda' was asked for, but {why}. Run it where a GPU is, "
            "or allow fallback='cpu'"
        )
    if model.device == "cuda":
        log.warning("model %r runs on the CPU (fallback='cpu'): %s", model.name, why)
    elif CUDA in runtime.get_available_providers():
        log.warning("model %r runs on the CPU (device='auto'): %s", model.name, why)
    return None


def _try_cuda(runtime: Any, path: Path, threads: int) -> tuple[Any | None, str]:
    available = runtime.get_available_providers()
    if CUDA not in available:
        return None, f"onnxruntime {runtime.__version__} here has only {', '.join(available)}{_both_installed()}"
    if hasattr(runtime, "preload_dlls"):
        runtime.preload_dlls()
    try:
        raw = _create(runtime, path, threads, [(CUDA, _CUDA_OPTIONS), CPU])
    except Exception as error:  # an EP's failure has no type of its own; the CPU's try tells a bad model from it
        return None, f"its session failed: {' '.join(str(error).split())}"
    if raw.get_providers()[0] != CUDA:
        return None, "CUDA could not be loaded (no GPU, no driver, or another CUDA version)"
    return raw, ""


def _create(runtime: Any, path: Path, threads: int, providers: list[Any]) -> Any:
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised as well; a bad item must not fill stderr
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    raw = runtime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    raw.disable_fallback()
    return raw


def _both_installed() -> str:
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            version(name)
        except PackageNotFoundError:
            return "" if name == "onnxruntime" else ": install 'upon[gpu]' in place of 'upon[cpu]'"
    return (
        ": onnxruntime and onnxruntime-gpu are both installed and hide each other; "
        "uninstall both, then install 'upon[gpu]'"
    )
