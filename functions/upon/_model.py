"""An ONNX model as a person declares and calls it; what is behind it lives in the runtime."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from upon import _engine
from upon._errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Outputs: TypeAlias = dict[str, NDArray[np.generic]]

Device: TypeAlias = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Pad:
    """How an input of varying length may be padded so that items can share a batch.

    axis: of one item, without the batch axis. value: what fills up. buckets: allowed lengths; without them the
    powers of two from 8. An item takes the smallest that holds it. Declare a Pad for a mask too, with the value
    that masks. Output axes that the model names like the padded axis are cut back to the item's length.
    """

    axis: int
    value: float = 0
    buckets: Sequence[int] = ()

    def __post_init__(self) -> None:
        if not (type(self.axis) is int and self.axis >= 0):
            raise UsageError(f"Pad(axis={self.axis!r}) must be a whole number >= 0, counted without the batch axis")
        buckets = tuple(self.buckets)
        if not all(type(each) is int and each >= 1 for each in buckets):
            raise UsageError(f"Pad(buckets={self.buckets!r}) must be lengths, whole numbers >= 1")
        object.__setattr__(self, "buckets", tuple(sorted(set(buckets))))


class Model:
    """One ONNX graph: `sentiment = upon.Model("sentiment", "models/sentiment.onnx")`.

    `model(...)` takes one item without the batch axis and returns one item; concurrent calls are batched
    underneath. `model.batch(...)` takes rows with the batch axis. `acall` and `abatch` are awaitable; the
    blocking forms raise UsageError on an event loop's thread.

    path: relative to func.yaml's folder (without a project: to the working directory). batch_axis: axis that
    grows with the batch, or None for a model that takes one item at a time. pad: per input. device: "auto" takes
    a GPU where one works; "cuda" without a GPU is an error at start unless fallback="cpu". max_batch_size: rows.
    max_wait: seconds to wait for company; 0 never delays.

    Raises (when called): InputError for names, dtypes or shapes that do not fit; Overloaded when the queue is
    full; DeadlineExceeded when the event's deadline passed; ModelError when the model can't be opened.
    """

    def __init__(
        self,
        name: str,
        path: str | Path,
        *,
        batch_axis: int | None = 0,
        pad: Mapping[str, Pad] | None = None,
        device: Device = "auto",
        fallback: Literal["cpu"] | None = None,
        max_batch_size: int = 64,
        max_wait: float = 0.0,
    ) -> None:
        if not name or not all(c.isalnum() or c in "-_." for c in name):
            raise UsageError(f"model name {name!r} must be letters, digits, '-', '_' and '.': it becomes a URL")
        if device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"model {name!r}: device={device!r} is not 'auto', 'cpu' or 'cuda'")
        if fallback not in (None, "cpu"):
            raise UsageError(f"model {name!r}: fallback={fallback!r} is not None or 'cpu'")
        if not (type(max_batch_size) is int and max_batch_size >= 1):
            raise UsageError(f"model {name!r}: max_batch_size={max_batch_size!r} must be a whole number >= 1")
        if not (batch_axis is None or (type(batch_axis) is int and batch_axis >= 0)):
            raise UsageError(f"model {name!r}: batch_axis={batch_axis!r} must be a whole number >= 0, or None")
        for each, declared in (pad or {}).items():
            if not isinstance(declared, Pad):
                raise UsageError(f"model {name!r}: pad[{each!r}]={declared!r} must be an upon.Pad")
        if not max_wait >= 0:
            raise UsageError(f"model {name!r}: max_wait={max_wait!r} must be a number of seconds >= 0")
        from pathlib import Path  # late: `import upon` does without it

        self.name = name
        self.path = Path(path)
        self.batch_axis = batch_axis
        self.pad = dict(pad or {})
        self.device: Device = device
        self.fallback = fallback
        self.max_batch_size = max_batch_size
        self.max_wait = max_wait
        self._lock = threading.Lock()
        self._opened: _engine.OpenModel | None = None

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {str(self.path)!r})"

    def _bind(self, opened: _engine.OpenModel | None) -> None:
        self._opened = opened

    def _open(self) -> _engine.OpenModel:
        with self._lock:
            if self._opened is None:
                self._opened = _engine.open_model(self)
            return self._opened

    def __call__(self, inputs: Mapping[str, ArrayLike] | None = None, /, **named: ArrayLike) -> Outputs:
        """One item in, one item out: arrays without the batch axis, by input name."""
        return (self._opened or self._open()).call(_gather(inputs, named))

    def batch(self, inputs: Mapping[str, ArrayLike] | None = None, /, **named: ArrayLike) -> Outputs:
        """Rows in, rows out: arrays with the batch axis, by input name."""
        return (self._opened or self._open()).batch(_gather(inputs, named))

    async def acall(self, inputs: Mapping[str, ArrayLike] | None = None, /, **named: ArrayLike) -> Outputs:
        """As calling the model, from a coroutine."""
        return await (self._opened or self._open()).acall(_gather(inputs, named))

    async def abatch(self, inputs: Mapping[str, ArrayLike] | None = None, /, **named: ArrayLike) -> Outputs:
        """As `batch`, from a coroutine."""
        return await (self._opened or self._open()).abatch(_gather(inputs, named))


def _gather(inputs: Mapping[str, Any] | None, named: dict[str, Any]) -> dict[str, Any]:
    if inputs is None:
        return named
    twice = sorted(inputs.keys() & named.keys())
    if twice:
        raise UsageError(f"input {twice[0]!r} is given twice: in the mapping and by name")
    return {**inputs, **named}
