"""Real `func` processes for tests: one that ends, and one that serves; every wait has a deadline."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

FUNC = [sys.executable, "-m", "upon"]
DEADLINE = 60.0


def func(*arguments: str, cwd: Path, timeout: float = DEADLINE, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `func ARGUMENTS` to its end."""
    return subprocess.run(
        [*FUNC, *arguments], cwd=cwd, env=environment(env), capture_output=True, text=True, timeout=timeout, check=False
    )


def environment(more: Mapping[str, str] = {}) -> dict[str, str]:
    """This process's environment without what would change `func`'s settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FUNC_") and name != "PORT"}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


class Running:
    """A `func run -o json` or `func serve` that has told where it listens."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: queue.Queue[str] = queue.Queue()
        self.error_lines: queue.Queue[str] = queue.Queue()
        self.errors: list[str] = []
        assert process.stdout is not None
        assert process.stderr is not None
        self._readers = [
            _reading(process.stdout, self.lines.put),
            _reading(process.stderr, self._error),
        ]
        self.ready: dict[str, Any] = {}

    def _error(self, line: str) -> None:
        self.errors.append(line)
        self.error_lines.put(line)

    @property
    def url(self) -> str:
        return str(self.ready["url"])

    def event(self, wanted: str, timeout: float = DEADLINE) -> dict[str, Any]:
        """The next line on stdout with this `event`."""
        while True:
            try:
                line = self.lines.get(timeout=timeout)
            except queue.Empty:
                raise AssertionError(f"no {wanted!r} line within {timeout} s; stderr: {self.stderr}") from None
            if line == "":
                raise AssertionError(f"ended with {self.process.wait(10)} before {wanted!r}; stderr: {self.stderr}")
            found = json.loads(line)
            if found.get("event") == wanted:
                return dict(found)

    @property
    def stderr(self) -> str:
        return "".join(self.errors)

    def stdout_is_empty(self) -> bool:
        """Whether the process ended without a line on stdout that was not read."""
        return self.lines.get(timeout=DEADLINE) == ""

    def stop(self, number: int = signal.SIGTERM, timeout: float = 30.0) -> int:
        """Send the signal and wait; returns the exit code."""
        self.process.send_signal(number)
        return self.wait(timeout)

    def wait(self, timeout: float = 30.0) -> int:
        code = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(5)
        return code


def _reading(stream: IO[str], put: Any) -> threading.Thread:
    def work() -> None:
        with stream:
            for line in stream:
                put(line)
        put("")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@contextmanager
def started(*arguments: str, cwd: Path, ready: str = "ready", **env: str) -> Iterator[Running]:
    """`func ARGUMENTS` in the background, ready; killed at the end if it still runs."""
    process = subprocess.Popen(
        [*FUNC, *arguments],
        cwd=cwd,
        env=environment(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    running = Running(process)
    try:
        if ready:
            running.ready = running.event(ready)
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        running.wait()


@contextmanager
def running(*arguments: str, cwd: Path, **env: str) -> Iterator[Running]:
    """`func run` on a free port, ready."""
    with started("run", "--port", "0", "-o", "json", *arguments, cwd=cwd, **env) as found:
        yield found
