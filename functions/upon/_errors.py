"""The error tree, cut by what the caller can do about it; every message names the value and the remedy."""

from __future__ import annotations


class UponError(Exception):
    """Base of every error that Upon raises on purpose."""


class UsageError(UponError, TypeError):
    """A decorator, Model, Topic or resource is written in a way that can't work: change the code."""


class DataError(UponError, ValueError):
    """Data can't be decoded, encoded or validated; `pointers` lists (JSON pointer, reason) pairs."""

    def __init__(self, message: str, pointers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.pointers = pointers


class UndecodableData(DataError):
    """An event's own data is not what its content type says: the sender's fault, and the same at every try."""


class MalformedEvent(UponError, ValueError):
    """Not a CloudEvent, or one with a bad attribute; `attribute` names it where there is one."""

    def __init__(self, message: str, attribute: str | None = None) -> None:
        super().__init__(message)
        self.attribute = attribute


class TooLarge(UponError, ValueError):
    """A body, record or reply is over its limit: raise the limit or send a reference to the data instead."""


class ModelError(UponError):
    """A model can't be opened: wrong path, not ONNX, wrong axis, or a device that is not there."""


class InputError(ModelError, ValueError):
    """A model was called with inputs whose names, dtypes or shapes do not fit it: fix the call."""


class Busy(UponError):
    """There is no room or nobody to answer right now; the same call may succeed in `after` seconds."""

    def __init__(self, message: str, after: float = 1.0) -> None:
        if not 0 <= after < float("inf"):
            raise ValueError(f"after must be a number of seconds >= 0, not {after!r}")
        super().__init__(message)
        self.after = after


class Overloaded(Busy):
    """A bounded queue is full."""


class Draining(Busy):
    """The process is stopping and takes no new work."""


class DeadlineExceeded(UponError, TimeoutError):
    """The event's deadline passed while this waited."""


class MissingExtra(UponError, ImportError):
    """An optional part is not installed; the message names the pip command."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra [{extra}]: pip install 'upon[{extra}]'")
        self.extra = extra
