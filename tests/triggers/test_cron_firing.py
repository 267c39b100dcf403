"""What every store of schedules' records promises, and what the one in a file adds."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.leases import lease_server
from upon_triggers.firing import Firing, FiringError, FiringStore, MemoryFirings
from upon_triggers.firing_file import FileFirings

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
FIRST = Firing("a", 12.0, NOON)
FULL = Firing("b", 1.5, NOON, 7, (NOON, NOON + timedelta(minutes=1)), NOON)


@pytest.fixture(params=["memory", "file", "lease"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FiringStore]:
    with ExitStack() as stack:
        match request.param:
            case "memory":
                found: FiringStore = MemoryFirings()
            case "file":
                found = FileFirings(tmp_path / "state")
            case _:
                found = stack.enter_context(lease_server(tmp_path)).store()
        found.open()
        yield found
        found.close()


def test_what_was_written_is_read(store: FiringStore) -> None:
    assert store.read("s") is None
    version = store.write("s", FULL, None)
    assert version is not None
    assert (FULL, version) == store.read("s")
    assert store.read("other") is None


def test_only_the_record_of_the_version_is_replaced(store: FiringStore) -> None:
    first = store.write("s", FIRST, None)
    second = store.write("s", FULL, first)
    assert second not in (None, first)
    assert store.write("s", FIRST, first) is None
    assert (FULL, second) == store.read("s")


def test_only_one_is_first(store: FiringStore) -> None:
    version = store.write("s", FIRST, None)
    assert version is not None
    assert store.write("s", FULL, None) is None
    assert (FIRST, version) == store.read("s")


def test_a_version_of_nothing_replaces_nothing(store: FiringStore) -> None:
    version = store.write("other", FIRST, None)
    assert store.write("s", FIRST, version) is None
    assert store.read("s") is None


def test_a_record_is_a_line_of_text() -> None:
    berlin = datetime.fromisoformat("2025-01-01T13:00:00+01:00")
    assert FULL == Firing.load(replace(FULL, until=berlin).dump())
    assert FIRST == Firing.load(FIRST.dump())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"holder": "a", "duration": "x"}', FIRST.dump()[:-5]])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(FiringError, match="the state of a schedule can't be read"):
        Firing.load(text)


def test_a_file_outlasts_its_store_and_is_shared(tmp_path: Path) -> None:
    one, other = FileFirings(tmp_path), FileFirings(tmp_path)
    for store in (one, other):
        store.open()
    version = one.write("s", FIRST, None)
    assert (FIRST, version) == other.read("s")
    assert other.write("s", FULL, version) is not None
    assert one.write("s", FIRST, version) is None
    one.close()
    other.close()
    one.open()
    assert (FULL, "2") == one.read("s")
    one.close()


def test_the_last_of_its_users_closes_it(tmp_path: Path) -> None:
    store = FileFirings(tmp_path)
    store.open()
    store.open()
    store.close()
    assert store.read("s") is None
    store.close()
    with pytest.raises(FiringError, match=r"cron\.sqlite is not open"):
        store.read("s")


def test_the_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    store = FileFirings(tmp_path / "a" / "b")
    store.open()
    store.close()
    assert 0o700 == stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode)


def test_a_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    """Or else this process would go on with a file that no other one sees."""
    store, other = FileFirings(tmp_path / "state"), FileFirings(tmp_path / "state")
    store.open()
    version = store.write("s", FIRST, None)
    shutil.rmtree(tmp_path / "state")
    assert store.write("s", FULL, version) is None
    assert store.write("s", FULL, None) is not None
    other.open()
    assert (FULL, "1") == other.read("s")
    store.close()
    other.close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        FiringError, match=r"the folder .*file/state can't be made \(Not a directory\): name one in run"
    ):
        FileFirings(tmp_path / "file" / "state").open()


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "cron.sqlite").mkdir()
    with pytest.raises(FiringError, match=r"fired last .unable to open database file.: let this user write to"):
        FileFirings(tmp_path).open()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "cron.sqlite").write_text("not what it should be, " * 100)
    with pytest.raises(FiringError, match=r"it is damaged: remove the file, and what was fired last is forgotten"):
        FileFirings(tmp_path).open()


def test_a_record_that_cannot_be_read(tmp_path: Path) -> None:
    store = FileFirings(tmp_path)
    store.open()
    store.write("s", FIRST, None)
    store._opened().execute("UPDATE firing SET record = 'nonsense'")
    with pytest.raises(FiringError, match=r"can't be read: 'nonsense' .*: remove the file, and"):
        store.read("s")
    store.close()
