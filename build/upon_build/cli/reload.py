"""`func run --reload`: a parent that keeps the development broker and one child that runs the service.

The broker lives here so that topics survive a change; the child holds the read end of a pipe and ends when the
parent does, however that dies.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Literal

from upon import MissingExtra
from upon_build.cli.exits import Exit

STOP_TIMEOUT = 15.0  # seconds for a child's drain
Happening = Literal["changed", "ended", "stop"]
Tell = Callable[[str], None]


def supervise(arguments: Sequence[str], folder: Path, tell: Tell) -> int:
    """Run `func run ARGUMENTS` again after each change under the folder, until SIGINT or SIGTERM; the exit code."""
    happenings: queue.SimpleQueue[Happening] = queue.SimpleQueue()  # its put is safe in a signal handler
    stop = threading.Event()
    watcher = _watch(folder, happenings, stop)

    def received(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(int(Exit.FAILED))
        stop.set()
        happenings.put("stop")

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, received)
    try:
        return _loop(arguments, happenings, tell)
    finally:
        stop.set()
        watcher.join(5.0)


def _loop(arguments: Sequence[str], happenings: queue.SimpleQueue[Happening], tell: Tell) -> int:
    child = Child(arguments, happenings)
    while True:
        match happenings.get():
            case "stop":
                return child.end()
            case "ended":
                if child.fell():
                    tell(f"ended with exit code {child.exit_code}; waiting for the next change")
            case "changed":
                tell("a file changed: restarting")
                child.end()
                while not happenings.empty():  # an editor writes several files at once
                    if happenings.get() == "stop":
                        return 0
                child = Child(arguments, happenings)


class Child:
    """One `func run` in a process group of its own, so that a terminal's ctrl-C reaches it through us, once."""

    def __init__(self, arguments: Sequence[str], happenings: queue.SimpleQueue[Happening]) -> None:
        read, self._write = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "upon", "run", "--parent-pipe", str(read), *arguments],
                pass_fds=[read],
                start_new_session=True,
            )
        finally:
            os.close(read)
        self._ended = False
        threading.Thread(target=self._wait, args=(happenings,), name="upon-reload-wait", daemon=True).start()

    def _wait(self, happenings: queue.SimpleQueue[Happening]) -> None:
        self._process.wait()
        happenings.put("ended")

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    def fell(self) -> bool:
        """Whether it ended without being told to; true once."""
        if self._ended or self._process.poll() is None:
            return False
        self._ended = True
        os.close(self._write)
        return True

    def end(self) -> int:
        """Let it drain, then make sure; returns its exit code."""
        if self._ended:
            return 0
        self._ended = True
        self._process.terminate()
        try:
            code = self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait(STOP_TIMEOUT)
        os.close(self._write)
        return _exit_of(code)


def _exit_of(code: int) -> int:
    """Of a child that a signal killed: it was not ready to hear SIGTERM yet, or did not end in time."""
    if code >= 0:
        return code
    return int(Exit.INTERRUPTED if code == -signal.SIGTERM else Exit.FAILED)


def end_with_parent(pipe: int) -> None:
    """In the child: drain once the parent's end of the pipe closes."""

    def wait() -> None:
        os.read(pipe, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    os.set_inheritable(pipe, False)
    threading.Thread(target=wait, name="upon-parent", daemon=True).start()


def check_extra() -> None:
    """Raise MissingExtra where files can't be watched."""
    if find_spec("watchfiles") is None:
        raise MissingExtra("--reload", "dev")


def _watch(folder: Path, happenings: queue.SimpleQueue[Happening], stop: threading.Event) -> threading.Thread:
    from watchfiles import DefaultFilter, watch

    wanted = DefaultFilter(ignore_dirs=(*DefaultFilter.ignore_dirs, ".upon"))

    def work() -> None:
        for _ in watch(folder, watch_filter=wanted, stop_event=stop, rust_timeout=500, raise_interrupt=False):
            happenings.put("changed")

    thread = threading.Thread(target=work, name="upon-watch", daemon=True)
    thread.start()
    return thread
