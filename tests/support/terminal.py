"""A program on a terminal of its own, as a person at a keyboard has it: it sees a tty, and ctrl-C is a key."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """What the program wrote so far, and the keyboard."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self._written = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # how Linux says that the last writer is gone
                return
            if not data:
                return
            self._written += data

    @property
    def text(self) -> str:
        return bytes(self._written).decode(errors="replace").replace("\r\n", "\n")

    def wait_for(self, text: str, timeout: float = 60.0) -> None:
        deadline = time.monotonic() + timeout
        while text not in self.text:
            assert self.process.poll() is None, f"ended with {self.process.returncode} before {text!r}:\n{self.text}"
            assert time.monotonic() < deadline, f"no {text!r} within {timeout} s:\n{self.text}"
            time.sleep(0.02)

    def ends_within(self, seconds: float) -> bool:
        """Wait that long for the end; False when the program still runs."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def ctrl_c(self, timeout: float = 60.0) -> int:
        """Press ctrl-C and wait for the end; returns the exit code."""
        os.write(self._master, b"\x03")
        code = self.process.wait(timeout)
        self._reader.join(5)
        return code


@contextmanager
def on_terminal(command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str]) -> Iterator[Terminal]:
    """Start a command on a terminal; killed at the end if it still runs."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, *command],
        cwd=cwd,
        env={**env, "NO_COLOR": "1"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        if process.poll() is None:
            os.killpg(os.tcgetpgrp(master), 9)
            process.kill()
            process.wait(10)
        os.close(master)
