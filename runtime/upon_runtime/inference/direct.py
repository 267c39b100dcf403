"""Runs each request at once, without a queue: for pytest and notebooks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from upon import DeadlineExceeded, Draining
from upon_runtime.inference.request import Request


class Direct:
    """The Batcher's interface without batching."""

    depth = 0

    def __init__(self, name: str, infer: Callable[[list[Request]], None], *, max_rows: int) -> None:
        self.name = name
        self.max_rows = max_rows
        self._infer = infer
        self._closed = False

    def submit(self, request: Request) -> None:
        if self._closed:
            raise Draining(f"model {self.name!r} is closed and takes no more calls")
        if request.deadline is not None and request.deadline <= time.monotonic():
            raise DeadlineExceeded(f"model {self.name!r}: the deadline passed before the call")
        self._infer([request])

    async def asubmit(self, request: Request) -> None:
        await asyncio.to_thread(self.submit, request)

    def close(self, timeout: float) -> bool:
        self._closed = True
        return True
