"""The lines of `func run`: readable ones for people, one JSON object each for scripts."""

from __future__ import annotations

import json
import os
import re
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import click

from upon_build.cli.activity import Failure, Summary

_OWN_CODE = r"/functions/upon/_|/upon_(runtime|triggers|build)/"
_FOREIGN = re.compile(rf"{_OWN_CODE}|/site-packages/|/lib/python3\.")
COLOURS = {"kafka": "cyan", "cron": "magenta", "http": "blue", "event": "blue"}


class Console:
    """Writes whole lines to one stream, from any thread; colours only on a terminal, and not with NO_COLOR."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.time) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = threading.Lock()
        self._colours = stream.isatty() and not os.environ.get("NO_COLOR")

    def line(self, text: str, colour: str | None = None, *, stamped: bool = True) -> None:
        """Print one line; a stream that went away is no reason to fail."""
        stamp = time.strftime("%H:%M:%S  ", time.localtime(self._clock())) if stamped else ""
        if colour is not None:
            text = self.paint(text, colour)
        with self._lock:
            try:
                self._stream.write(f"{stamp}{text}\n")
                self._stream.flush()
            except (OSError, ValueError):
                return

    def paint(self, text: str, colour: str) -> str:
        return click.style(text, fg=colour) if self._colours else text


class TextReport:
    """Summaries as lines. replies: (function, topic) -> the topic that takes its replies."""

    def __init__(self, console: Console, replies: Mapping[tuple[str, str], str]) -> None:
        self._console = console
        self._replies = replies
        self._width = 0

    def __call__(self, summary: Summary) -> None:
        key = summary.key
        self._width = max(self._width, len(key.function))
        head = f"{self._console.paint(f'{key.trigger:<5}', COLOURS[key.trigger])}  {key.function:<{self._width}}  "
        if summary.done:
            self._console.line(head + self._done(summary))
        for failure in summary.failures.values():
            self._console.line(head + self._console.paint(_failure(failure), "red"))
            for frame in frames_of(failure.cause if failure.kind == "error" else None):
                self._console.line(" " * 10 + frame, stamped=False)
        if summary.more_failures:
            self._console.line(head + self._console.paint(f"{summary.more_failures:,} more failed", "red"))
        if summary.busy:
            self._console.line(head + self._console.paint(f"busy: {summary.busy:,} put off", "yellow"))

    def _done(self, summary: Summary) -> str:
        times = f"{summary.seconds * 1000:.0f} ms" + (" at most" if summary.calls > 1 else "")
        reply = self._replies.get((summary.key.function, summary.key.where))
        tail = f" → {reply}" if reply and summary.replies else ""
        repeated = f" ({summary.repeated:,} repeated)" if summary.repeated else ""
        return f"{where_of(summary)}  done{repeated}  {times}{tail}"


class JsonReport:
    """Summaries as one JSON object a line: `handled`, and `failed` for each reason."""

    def __init__(self, write: Callable[[Mapping[str, Any]], None], replies: Mapping[tuple[str, str], str]) -> None:
        self._write = write
        self._replies = replies

    def __call__(self, summary: Summary) -> None:
        base = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "trigger": summary.key.trigger,
            "function": summary.key.function,
            "where": summary.key.where,
        }
        if summary.done:
            reply = self._replies.get((summary.key.function, summary.key.where))
            self._write(
                {
                    "event": "handled",
                    **base,
                    "count": summary.done,
                    **({"repeated": summary.repeated} if summary.repeated else {}),
                    "calls": summary.calls,
                    "maxMs": round(summary.seconds * 1000, 3),
                    "replyTo": reply if summary.replies else None,
                }
            )
        for failure in summary.failures.values():
            self._write(
                {
                    "event": "failed",
                    **base,
                    "outcome": failure.kind,
                    "error": failure.error,
                    "what": failure.what,
                    "count": failure.count,
                }
            )
        if summary.more_failures:
            self._write(
                {
                    "event": "failed",
                    **base,
                    "outcome": None,
                    "error": "more reasons than are told here",
                    "what": None,
                    "count": summary.more_failures,
                }
            )


def json_writer(stream: TextIO) -> Callable[[Mapping[str, Any]], None]:
    """Writes one JSON object a line, from any thread."""
    lock = threading.Lock()

    def write(value: Mapping[str, Any]) -> None:
        with lock:
            try:
                stream.write(json.dumps(value, ensure_ascii=False) + "\n")
                stream.flush()
            except (OSError, ValueError):
                return

    return write


def where_of(summary: Summary) -> str:
    """`uploads[0] 0-11 (12 records)`, `POST /score (3 requests)`, `3 ticks`."""
    key, count = summary.key, summary.events
    if key.trigger == "kafka":
        noun = f"({count:,} record{'s' * (count != 1)})"
        if len(summary.partitions) == 1:
            ((partition, (first, last, _)),) = summary.partitions.items()
            return f"{key.where}[{partition}] {first if first == last else f'{first}-{last}'} {noun}"
        return f"{key.where}[{','.join(map(str, sorted(summary.partitions)))}] {noun}"
    if key.trigger == "cron":
        return "tick" if count == 1 else f"{count:,} ticks"
    return key.where if count == 1 else f"{key.where} ({count:,} requests)"


def frames_of(cause: BaseException | None, most: int = 3) -> list[str]:
    """Where the handler raised: the innermost lines of the person's own code, outermost first."""
    frames = traceback.extract_tb(cause.__traceback__) if cause is not None else []
    own = [frame for frame in frames if not _FOREIGN.search(frame.filename)]
    return [f"{frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in own[-most:]]


def _failure(failure: Failure) -> str:
    times = f" ({failure.count:,} times)" if failure.count > 1 else ""
    return f"{failure.what}  {failure.kind}  {failure.error}{times}"
