"""How long each stage of a build takes, and threads for what need not wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from types import TracebackType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

AT_ONCE = 4


class Stopwatch:
    """seconds: by stage, in the order of their beginnings; a stage in several threads counts its longest run."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._lock = Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        with self._lock:
            self.seconds.setdefault(name, 0.0)
        began = self._clock()
        try:
            yield
        finally:
            took = round(self._clock() - began, 3)
            with self._lock:
                self.seconds[name] = max(self.seconds[name], took)


class Workers:
    """A few threads whose work is timed. Left by an exception they finish what they do, and nobody waits for them."""

    def __init__(self, watch: Stopwatch, at_once: int = AT_ONCE) -> None:
        self._watch = watch
        self._pool = ThreadPoolExecutor(at_once, "upon-build")

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=error is None, cancel_futures=error is not None)

    def start(self, stage: str, work: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> Future[R]:
        """Do the work in a thread, as part of this stage."""

        def timed() -> R:
            with self._watch.stage(stage):
                return work(*arguments, **named)

        return self._pool.submit(timed)
