"""The SQLite file: who may read it, who shares it, and what happens when it can't be used."""

from __future__ import annotations

import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from upon import UponError
from upon_runtime.idempotency import Finished, Fresh, Held, StoreUnavailable
from upon_runtime.idempotency.sqlite import FILE, SqliteStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "state")
    made.open()
    yield made
    made.close()


def test_only_its_owner_may_look(store: SqliteStore) -> None:
    assert 0o700 == stat.S_IMODE(store.path.parent.stat().st_mode)
    assert 0o600 == stat.S_IMODE(store.path.stat().st_mode)


def test_replies_outlast_the_process(store: SqliteStore) -> None:
    store.begin(["k"], "mine", 30)
    store.finish({"k": b"reply"}, "mine", 60)
    store.close()
    again = SqliteStore(store.path.parent)
    again.open()
    assert [Finished(b"reply")] == again.begin(["k"], "theirs", 30)
    again.close()


def test_a_damaged_file_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("this is no database, and long enough to be seen as such" * 100)
    with pytest.raises(UponError, match="which can't be used: file is not a database; name a folder"):
        SqliteStore(tmp_path).open()


def test_a_folder_that_can_not_be_made_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UponError, match="Not a directory"):
        SqliteStore(tmp_path / "file" / "state").open()


def test_another_process_that_keeps_the_file_locked_makes_it_unavailable(store: SqliteStore) -> None:
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="database is locked"):
        store.begin(["k"], "mine", 30)
    other.execute("ROLLBACK")
    other.close()
    assert [Fresh()] == store.begin(["k"], "mine", 30)


def test_a_full_disk_makes_it_unavailable_until_there_is_room(store: SqliteStore) -> None:
    store.begin(["k"], "mine", 30)
    store._connection.execute("PRAGMA max_page_count = 1").fetchall()  # type: ignore[union-attr]
    with pytest.raises(StoreUnavailable, match="full"):
        store.finish({"k": b"x" * 100_000}, "mine", 30)
    assert {"k"} == store.finish({"k": b"x" * 100_000}, "mine", 30)  # a new connection has no such limit


def test_closed_means_closed(store: SqliteStore) -> None:
    store.close()
    with pytest.raises(StoreUnavailable, match="is closed"):
        store.begin(["k"], "mine", 30)


HOLD = """
import sys, time
from pathlib import Path
from upon_runtime.idempotency.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
store.open()
print(store.begin(["k"], "theirs", 3600), flush=True)
time.sleep(600)
"""


def test_the_markers_of_a_killed_process_are_free_at_once(store: SqliteStore) -> None:
    command = [sys.executable, "-c", HOLD, str(store.path.parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert "[Fresh()]" == holder.stdout.readline().strip()
        [begun] = store.begin(["k"], "mine", 30)
        assert isinstance(begun, Held)
        holder.send_signal(signal.SIGKILL)
        holder.wait(30)
    assert [Fresh()] == store.begin(["k"], "mine", 30)
    assert set() == store.finish({"k": b"late"}, "theirs", 30)


ASK = """
import sys
from pathlib import Path
from upon_runtime.idempotency import Fresh
from upon_runtime.idempotency.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
store.open()
print("ready", flush=True)
sys.stdin.readline()
print("".join("01"[store.begin([f"k{turn}"], sys.argv[2], 30) == [Fresh()]] for turn in range(200)), flush=True)
sys.stdin.readline()  # a holder that has ended holds nothing
"""


def test_two_processes_share_the_file(tmp_path: Path) -> None:
    """As two `func run` of one project on one laptop do."""
    commands = [[sys.executable, "-c", ASK, str(tmp_path), token] for token in ("first", "second")]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(commands[0], **pipes) as one, subprocess.Popen(commands[1], **pipes) as two:
        assert ["ready\n"] * 2 == [process.stdout.readline() for process in (one, two)]
        for process in (one, two):
            process.stdin.write("\n")
            process.stdin.flush()
        first, second = (process.stdout.readline().strip() for process in (one, two))
        for process in (one, two):
            process.communicate("\n", timeout=30)
    assert [1] * 200 == [int(a) + int(b) for a, b in zip(first, second, strict=True)]
