"""Where a project's `func run` can be found by `func invoke` and `func events`: one small file, gone at the end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Running:
    """A `func run` of this project. kafka: bootstrap address or None; embedded: it is the development broker.

    started: the process's start as the kernel counts it, so that a pid used again is not taken for it.
    """

    pid: int
    started: str
    url: str
    kafka: str | None
    embedded: bool


def state_path(folder: Path) -> Path:
    return folder / ".upon" / "run.json"


@contextmanager
def announced(folder: Path, url: str, kafka: str | None, embedded: bool) -> Iterator[None]:
    """Say where this process listens, for as long as the block runs. A folder that can't be written is no fault."""
    path, pid = state_path(folder), os.getpid()
    before = find_running(folder)
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        _write(path, Running(pid, start_of(pid), url, kafka, embedded))
    try:
        yield
    finally:
        with suppress(OSError, ValueError, KeyError):
            if json.loads(path.read_text())["pid"] == pid:
                path.unlink()
                if before is not None and before.pid != pid and is_alive(before):
                    _write(path, before)  # it is found again


def _write(path: Path, running: Running) -> None:
    own = path.with_suffix(f".{os.getpid()}")
    own.write_text(json.dumps(asdict(running)))
    own.replace(path)


def find_running(folder: Path) -> Running | None:
    """The `func run` of this folder's project that is alive now."""
    try:
        found = Running(**json.loads(state_path(folder).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return found if is_alive(found) else None


def is_alive(running: Running) -> bool:
    try:
        os.kill(running.pid, 0)
    except (OSError, OverflowError):
        return False
    return start_of(running.pid) == running.started


def start_of(pid: int) -> str:
    """Clock ticks from boot to the process's start; empty where the system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
