"""Real processes that share a store, and one that is killed while it handles an event."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.http import TESTS
from support.idempotent_child import MARGIN, TIMEOUT
from support.postgresql import postgresql_server as postgresql_server
from support.redis import redis_server as redis_server
from support.stores import schema_at

pytestmark = pytest.mark.slow
DATABASES = itertools.count()  # of the Redis that all tests share


class Note(NamedTuple):
    what: str
    process: int
    when: float


class Children:
    """Processes that all want to handle the same event."""

    def __init__(self, where: str, journal: Path) -> None:
        self._where = where
        self._journal = journal
        self._made: list[subprocess.Popen[str]] = []

    def start(self, seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "support.idempotent_child", self._where, str(self._journal), str(seconds)]
        env = {**os.environ, "PYTHONPATH": str(TESTS)}
        self._made.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=TESTS))
        return self._made[-1]

    def notes(self) -> list[Note]:
        lines = self._journal.read_text().splitlines() if self._journal.exists() else []
        return [Note(what, int(process), float(when)) for what, process, when in (line.split() for line in lines)]

    def wait_for(self, what: str) -> Note:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for note in self.notes():
                if note.what == what:
                    return note
            time.sleep(0.01)
        raise AssertionError(f"no {what} in {self.notes()}")

    def close(self) -> None:
        for child in self._made:
            child.kill()
            child.communicate()


def said(child: subprocess.Popen[str]) -> list[str]:
    return child.communicate(timeout=60)[0].split()


@pytest.fixture(params=["sqlite", "redis", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def children(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Children]:
    where = str(tmp_path / "state")
    if kind != "sqlite":
        server: Any = request.getfixturevalue(f"{kind}_server")
        where = schema_at(server.url) if kind == "postgresql" else f"{server.url[:-1]}{next(DATABASES)}"
    made = Children(where, tmp_path / "journal")
    yield made
    made.close()


def test_after_a_kill_the_event_is_handled_again_and_never_twice_at_once(kind: str, children: Children) -> None:
    killed = children.start(600)
    begun = children.wait_for("begin")
    others = [children.start(0.3) for _ in range(2)]
    killed.kill()
    died = time.time()
    found = sorted(said(other) for other in others)
    notes = children.notes()
    assert ["begin", "begin", "end"] == [note.what for note in notes]
    assert begun.process == killed.pid
    handler = notes[1].process
    assert notes[2].process == handler != killed.pid
    assert [["Done", str(handler)], ["Repeated", str(handler)]] == found
    if kind == "sqlite":  # on one machine the end of a process is seen
        assert notes[1].when >= died - 0.5
    else:
        assert notes[1].when >= begun.when + TIMEOUT + MARGIN - 0.5


def test_a_handler_that_is_late_is_never_joined_by_another(children: Children) -> None:
    """It runs for longer than its lease would be, and keeps it."""
    late = children.start(TIMEOUT + MARGIN + 2)
    children.wait_for("begin")
    other = children.start(0.1)
    assert ["Repeated", str(late.pid)] == said(other)
    assert ["Repeated", str(late.pid)] == said(late)
    assert ["begin", "end"] == [note.what for note in children.notes()]
