"""ONNX inference behind upon.Model: sessions, checks of inputs, and the batcher that lets callers share a run.

Importing this package needs neither numpy nor ONNX Runtime; opening a model does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from upon import MissingExtra

if TYPE_CHECKING:
    from upon import Model
    from upon_runtime.inference.opened import OpenedModel

__all__ = ["open_alone", "open_served"]


def open_alone(model: Model) -> OpenedModel:
    """Open without a queue, for pytest and notebooks. Relative paths count from the working directory."""
    with _named_when_missing():
        from upon_runtime.inference.opening import open_alone
    return open_alone(model)


def open_served(model: Model, *, folder: Path, observe: Callable[[str, int, float], None]) -> OpenedModel:
    """Open with the batcher, warmed up. Relative paths count from `folder`, func.yaml's.

    observe: called after every session run with (model name, rows, seconds), on the thread that ran it.
    Raises ModelError (also for a GPU that is asked for and not there) and MissingExtra.
    """
    with _named_when_missing():
        from upon_runtime.inference.opening import open_served
    return open_served(model, folder=folder, observe=observe)


@contextmanager
def _named_when_missing() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        if error.name in ("numpy", "onnxruntime"):
            raise MissingExtra("a Model", "cpu") from None
        raise
