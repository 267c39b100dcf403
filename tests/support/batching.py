"""A model's run that a test holds in its hand: it blocks until told to go on, so interleavings are forced."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from upon_runtime.inference.request import Request

DEADLINE = 20.0


def wait_until(condition: Callable[[], object], timeout: float = DEADLINE) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"not within {timeout} s"
        time.sleep(0.001)


class HeldRun:
    """Answers each request's value; raises for those in `bad`. `hold()` blocks runs until `go()`."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.bad: set[Any] = set()
        self.running = 0
        self.most = 0
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._open.set()

    def hold(self) -> None:
        self._open.clear()

    def go(self) -> None:
        self._open.set()

    def __call__(self, batch: list[Request]) -> None:
        values = [request.arrays[0] for request in batch]
        with self._lock:
            self.batches.append(values)
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            assert self._open.wait(DEADLINE)
            guilty = self.bad.intersection(values)
            if guilty:
                raise ValueError(f"bad {sorted(guilty)}")
            for request, value in zip(batch, values, strict=True):
                request.outputs = [("answer", value)]
        finally:
            with self._lock:
                self.running -= 1


def request(value: Any, **options: Any) -> Request:
    return Request([value], **options)


class Caller(threading.Thread):
    """Calls on its own thread and keeps what came of it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self.answer: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.answer = self._call()
        except BaseException as error:
            self.error = error

    def finish(self) -> Any:
        self.join(DEADLINE)
        assert not self.is_alive(), "a caller hangs"
        if self.error is not None:
            raise self.error
        return self.answer
