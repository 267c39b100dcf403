"""The processes under test: each place is filled again whenever its process is gone, as a cluster would."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias

from support.guard import Guard

State: TypeAlias = Literal["down", "starting", "up", "frozen", "leaving", "gone"]

START_AGAIN = (0.5, 2.0)  # seconds after a start that failed
LEAVE_TIMEOUT = 60.0
START_TIMEOUT = 90.0


class Member:
    """One place. told: what happened, counted. troubles: what must not happen."""

    def __init__(
        self, name: str, arguments: Sequence[str], cwd: Path, env: Mapping[str, str], rng: random.Random
    ) -> None:
        self.name = name
        self.state: State = "down"
        self.told = Counter[str]()
        self.troubles: list[str] = []
        self.due = 0.0  # when to start
        self.ready: dict[str, object] = {}
        self._arguments = [sys.executable, "-m", "upon", *arguments]
        self._cwd = cwd
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **env}
        self._rng = rng
        self._log = cwd / f"{name}.log"
        self._log.touch()
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None
        self._until = 0.0
        self._read = 0

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace").strip().rpartition("\n")[2][:500]

    def state_of_sources(self) -> str:
        """The readiness body, where it answers."""
        if self.state != "up" or "url" not in self.ready:
            return self.state
        try:
            with urllib.request.urlopen(f"{self.ready['url']}/health/readiness", timeout=3) as answer:
                return str(answer.read().decode())
        except OSError as error:
            return str(error)

    # What is done to it

    def start(self) -> None:
        self._read = self._log.stat().st_size
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._arguments,
                cwd=self._cwd,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._guard = Guard(self._process.pid)
        self.state, self._until = "starting", time.monotonic() + START_TIMEOUT

    def kill(self, back_in: float) -> None:
        """kill -9; started again so many seconds later."""
        self._signal(signal.SIGKILL)
        self._reap()
        self.told["killed"] += 1
        self.state, self.due = "down", time.monotonic() + back_in

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)
        self.told["frozen"] += 1
        self.state = "frozen"

    def thaw(self) -> None:
        if self.state == "frozen":
            self._signal(signal.SIGCONT)
            self.state = "up"

    def leave(self, back_in: float | None) -> None:
        """SIGTERM; started again so many seconds after its end, or never."""
        self._signal(signal.SIGTERM)
        self.told["asked to leave"] += 1
        self.state, self._until = "leaving", time.monotonic() + LEAVE_TIMEOUT
        self.due = float("inf") if back_in is None else back_in

    # What it does

    def tick(self, now: float) -> None:
        """Notice a start or an end, and start what is due."""
        code = None if self._process is None else self._process.poll()
        if code is not None:
            self._ended(code, now)
        elif self.state == "starting" and self._is_ready():
            self.state = "up"
        elif self.state in ("starting", "leaving") and now > self._until:
            self.troubles.append(f"{self.name}: {self.state} for too long")
            self.kill(1.0)
        if self.state == "down" and now >= self.due:
            self.start()

    def _is_ready(self) -> bool:
        with self._log.open("rb") as log:
            log.seek(self._read)
            for line in log:
                if b'"ready"' in line:
                    with suppress(ValueError):
                        self.ready = json.loads(line)
                        return True
        return False

    def _ended(self, code: int, now: float) -> None:
        before = self.state
        self._reap()
        if before == "leaving":
            self.told[f"left with {code}"] += 1
            self.state, self.due = ("gone", 0.0) if self.due == float("inf") else ("down", now + self.due)
            return
        # A member can't start without a broker: whoever runs it tries again.
        self.told["could not start"] += before == "starting"
        if before != "starting":
            self.troubles.append(f"{self.name} ended by itself with {code}: see {self._log}")
        self.state, self.due = "down", now + self._rng.uniform(*START_AGAIN)

    def end(self) -> None:
        """Leave nothing behind."""
        if self._process is not None and self._process.poll() is None:
            self.kill(float("inf"))
        self._reap()
        self.state = "gone"

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait(20)
            self._process = None
        if self._guard is not None:
            self._guard.dismiss()
            self._guard = None


def left_over(marker: str) -> list[int]:
    """Processes that carry this text in their environment, except this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        pid = int(path.parent.name)
        with suppress(OSError):
            if pid != os.getpid() and marker.encode() in path.read_bytes():
                found.append(pid)
    return found
