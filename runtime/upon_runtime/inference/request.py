"""One call on its way through the queue."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from upon_runtime.inference.waiters import Waiter

# A request is queued, then either leads a batch or is claimed for another's, then is done (or gone: nobody waits).
QUEUED, LEADING, CLAIMED, DONE = range(4)


class Request:
    """Rows that travel together. outputs: of the whole batch; this request's rows begin at `offset`.

    key: requests of equal keys may share a batch. lengths: true sizes of padded axes by their symbol.
    deadline: time.monotonic() or None.
    """

    __slots__ = (
        "arrays",
        "arrived",
        "deadline",
        "error",
        "key",
        "lengths",
        "offset",
        "outputs",
        "rows",
        "state",
        "waiter",
    )

    def __init__(
        self,
        arrays: list[Any],
        rows: int = 1,
        key: Hashable = (),
        deadline: float | None = None,
        lengths: Mapping[str, int] | None = None,
    ) -> None:
        self.arrays = arrays
        self.rows = rows
        self.key = key
        self.deadline = deadline
        self.lengths = lengths
        self.state = QUEUED
        self.arrived = 0.0
        self.offset = 0
        self.outputs: list[Any] | None = None
        self.error: BaseException | None = None
        self.waiter: Waiter | None = None
