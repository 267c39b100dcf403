"""Several processes that share what schedules fired last, in a folder, and the journal of what they fired."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

TESTS = Path(__file__).resolve().parents[1]
DEADLINE = 60.0

Line: TypeAlias = dict[str, Any]


class Replicas:
    """schedules: one function each. speed: of their clock; lease: real seconds; work: of a handler, real seconds."""

    def __init__(
        self,
        folder: Path,
        *,
        schedules: tuple[str, ...] = ("* * * * *",),
        speed: float = 60.0,
        lease: float = 1.5,
        work: float = 0.01,
        catch_up: int = 100,
    ) -> None:
        self.journal = folder / "journal"
        self.journal.touch()
        self.base = time.time()
        self.speed = speed
        self.interruptions: list[tuple[int, float]] = []
        self._given = {
            "folder": str(folder / "state"),
            "journal": str(self.journal),
            "base": self.base,
            "speed": speed,
            "lease": lease,
            "work": work,
            "catch_up": catch_up,
            "schedules": schedules,
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, str(TESTS / "support/cron_child.py"), json.dumps(self._given)],
            env={**os.environ, "PYTHONPATH": str(TESTS)},
        )
        self.processes.append(process)
        return process

    def send(self, process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        """A signal; SIGKILL and SIGSTOP are remembered as what may double a tick."""
        if number in (signal.SIGKILL, signal.SIGSTOP):
            self.interruptions.append((process.pid, time.time()))
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait(10)

    def lines(self, what: str) -> list[Line]:
        found = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return [line for line in found if line["what"] == what]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, f"not within {DEADLINE:g} s: {what}"
            time.sleep(0.02)

    def firing(self, pid: int, more: int = 1) -> None:
        """Wait until this process has finished so many more ticks."""

        def ended() -> int:
            return sum(line["pid"] == pid for line in self.lines("end"))

        wanted = ended() + more
        self.until(lambda: ended() >= wanted, f"{more} ticks by {pid}")

    def doubled(self) -> dict[str, list[Line]]:
        """Ticks that were begun more than once, each with its beginnings, by id."""
        begun = defaultdict(list)
        for line in self.lines("begin"):
            begun[line["id"]].append(line)
        return {id: lines for id, lines in begun.items() if len(lines) > 1}

    def unexplained(self) -> list[Line]:
        """Doubled ticks of which an earlier beginning was not cut short by a signal."""
        given_up = {(line["pid"], line["id"]) for line in self.lines("left")}
        ends = {(line["pid"], line["id"]): line["at"] for line in self.lines("end")}
        found = []
        for lines in self.doubled().values():
            for line in lines[:-1]:
                key = (line["pid"], line["id"])
                end = ends.get(key, float("inf")) + 0.5  # the end is recorded a little after it
                cut = any(pid == line["pid"] and line["at"] - 0.1 <= at <= end for pid, at in self.interruptions)
                if not cut and key not in given_up:
                    found.append(line)
        return found

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait(10)
