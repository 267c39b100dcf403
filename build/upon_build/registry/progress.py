"""How far a transfer is: one interface of three methods, silent, as bars on a terminal, as plain lines elsewhere."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

EVERY = 5.0  # seconds between two lines about one transfer


class Progress(Protocol):
    """Told from several threads at once."""

    def begin(self, what: str, total: int) -> int:
        """A transfer of `total` bytes begins; returns its number."""
        ...

    def advance(self, task: int, done: int) -> None:
        """So many bytes more; fewer than none where a part has to be sent again."""
        ...

    def end(self, task: int) -> None:
        """It is over, whole or not."""
        ...


class Silent:
    """Says nothing."""

    def begin(self, what: str, total: int) -> int:
        return 0

    def advance(self, task: int, done: int) -> None:
        pass

    def end(self, task: int) -> None:
        pass


@dataclass(slots=True)
class _Line:
    what: str
    total: int
    said: float
    done: int = 0


class Lines:
    """A plain line about what takes long, every few seconds; what is over before that is not spoken of."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._tasks: dict[int, _Line] = {}

    def begin(self, what: str, total: int) -> int:
        with self._lock:
            task = next(self._numbers)
            self._tasks[task] = _Line(what, total, self._clock())
        return task

    def advance(self, task: int, done: int) -> None:
        with self._lock:
            line = self._tasks[task]
            line.done += done
            if self._clock() - line.said >= EVERY:
                line.said = self._clock()
                self._stream.write(f"{line.what}: {shown(line.done)} of {shown(line.total)}\n")
                self._stream.flush()

    def end(self, task: int) -> None:
        with self._lock:
            self._tasks.pop(task, None)


class Bars:
    """rich's bars, one for each transfer under way."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars

    def begin(self, what: str, total: int) -> int:
        return int(self._bars.add_task(what, total=total))

    def advance(self, task: int, done: int) -> None:
        self._bars.advance(task, done)

    def end(self, task: int) -> None:
        self._bars.remove_task(task)


@contextmanager
def progress_on(stream: TextIO) -> Iterator[Progress]:
    """Bars if the stream is a terminal and rich is installed, else lines."""
    bars = _bars(stream) if stream.isatty() else None
    if bars is None:
        yield Lines(stream)
    else:
        with bars:
            yield Bars(bars)


def _bars(stream: TextIO) -> Any:
    try:
        from rich import progress
        from rich.console import Console
    except ImportError:
        return None
    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(binary_units=True),
        progress.TransferSpeedColumn(),
    )
    return progress.Progress(*columns, console=Console(file=stream), transient=True)


def shown(count: float) -> str:
    """Bytes for people: `1.5 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
