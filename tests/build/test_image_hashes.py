"""What was read is not read again, unless it may be something else by now."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from upon_build.image.layers.hashes import HASHED_AGAIN, Hashes, Seen, digest_only
from upon_build.image.store import Store
from upon_build.project import ProjectError

LONG_AGO = time.time() - 1000


class Counting:
    """An `Examine` that remembers how many files it was given."""

    def __init__(self) -> None:
        self.read = 0

    def __call__(self, file: BinaryIO) -> tuple[str, Any]:
        self.read += 1
        return digest_only(file)[0], {"length": self.read}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.py"
    path.write_text("one")
    return path


def later(seconds: float = 10) -> float:
    return time.time() + seconds


def see(store: Store | None, path: Path, examine: Counting, *, clock: Any = later, version: int = 0) -> Seen:
    hashes = Hashes(store, "a test", clock)
    seen = hashes.see(path.name, str(path), examine, version)
    hashes.save()
    return seen


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_file_is_read_once(store: Store, file: Path) -> None:
    count = Counting()
    first, second = see(store, file, count), see(store, file, count)
    assert 1 == count.read
    assert (digest("one"), 3, {"length": 1}) == (first.sha256, first.size, first.found)
    assert first == second


def test_without_a_store_every_time(file: Path) -> None:
    count = Counting()
    assert see(None, file, count).sha256 == see(None, file, count).sha256
    assert 2 == count.read


def test_a_file_of_the_last_two_seconds_is_not_remembered(store: Store, file: Path) -> None:
    count = Counting()
    see(store, file, count, clock=time.time)
    see(store, file, count, clock=time.time)
    assert 2 == count.read


def test_but_read_once_by_one_object(store: Store, file: Path) -> None:
    count = Counting()
    hashes = Hashes(store, "a test", time.time)
    assert hashes.see("a.py", str(file), count) == hashes.see("a.py", str(file), count)
    assert 1 == count.read


def test_a_time_in_the_future_is_not_trusted(store: Store, file: Path) -> None:
    count = Counting()
    os.utime(file, (later(1000), later(1000)))
    see(store, file, count)
    see(store, file, count)
    assert 2 == count.read


def test_a_change_of_the_same_size_with_the_old_time(store: Store, file: Path) -> None:
    """Whoever sets the time back can't set back the inode's."""
    os.utime(file, (LONG_AGO, LONG_AGO))
    see(store, file, Counting())
    before = file.stat().st_ctime_ns
    while file.stat().st_ctime_ns == before:  # the clock of the file system has ticks
        file.write_text("two")
        os.utime(file, (LONG_AGO, LONG_AGO))
    assert digest("two") == see(store, file, Counting()).sha256


def test_another_file_of_that_name(store: Store, file: Path, tmp_path: Path) -> None:
    see(store, file, Counting())
    (tmp_path / "b.py").write_text("two")
    (tmp_path / "b.py").replace(file)
    assert digest("two") == see(store, file, Counting()).sha256


def test_another_version_of_the_examination(store: Store, file: Path) -> None:
    count = Counting()
    see(store, file, count, version=1)
    see(store, file, count, version=2)
    assert 2 == count.read


def test_what_is_gone_is_forgotten(store: Store, file: Path) -> None:
    see(store, file, Counting())
    Hashes(store, "a test", later).save()
    count = Counting()
    see(store, file, count)
    assert 1 == count.read


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"files": 3}', b'{"files": {"a.py": 3}}', b'{"files": {"a.py": []}}']
)
def test_a_damaged_memory(store: Store, file: Path, content: bytes) -> None:
    see(store, file, Counting())
    (record,) = (store.folder / "keys").iterdir()
    record.write_bytes(content)
    assert digest("one") == see(store, file, Counting()).sha256


def test_a_file_that_changes_while_it_is_examined(store: Store, file: Path) -> None:
    def examine(opened: BinaryIO) -> tuple[str, Any]:
        file.write_text("longer than before")
        return digest_only(opened)

    with pytest.raises(ProjectError, match=r"^a.py: the file changed while it was read: build again when nothing"):
        Hashes(store, "a test").see("a.py", str(file), examine)


def test_a_file_that_is_gone(file: Path) -> None:
    status = file.stat()
    file.unlink()
    with pytest.raises(ProjectError, match=r"^a.py: the file can't be read: No such file or directory: make it"):
        Hashes(None, "a test").see("a.py", str(file), status=status)


# Opened again


def test_the_content_once_more(file: Path) -> None:
    with Hashes(None, "a test").see("a.py", str(file)).open() as opened:
        assert [b"on", b"e", b""] == [opened.read(2), opened.read(2), opened.read(2)]


def test_an_empty_file(file: Path) -> None:
    file.write_bytes(b"")
    with Hashes(None, "a test").see("a.py", str(file)).open() as opened:
        assert b"" == opened.read()


@pytest.mark.parametrize("content", ["two", "three", ""])
def test_it_is_another_by_then(file: Path, content: str) -> None:
    seen = Hashes(None, "a test").see("a.py", str(file))
    file.unlink()
    file.write_text(content)
    with pytest.raises(ProjectError, match="changed while it was read"), seen.open() as opened:
        opened.read()


def test_the_times_say_nothing_but_the_content_does(file: Path) -> None:
    seen = Hashes(None, "a test").see("a.py", str(file))
    lying = Seen(seen.path, seen.stamp, digest("two"))
    with pytest.raises(ProjectError, match="changed while it was read"), lying.open() as opened:
        opened.read()


def test_it_changes_while_it_is_read(file: Path) -> None:
    file.write_bytes(bytes(2**20))
    with Hashes(None, "a test").see("a.py", str(file)).open() as opened:
        assert 2**18 == len(opened.read(2**18))
        with file.open("r+b") as writing:
            writing.truncate(2**19)
        with pytest.raises(ProjectError, match="changed while it was read"):
            opened.read()


def test_a_large_file_is_compared_by_its_times(file: Path) -> None:
    with file.open("wb") as sparse:
        sparse.truncate(HASHED_AGAIN + 1)
    seen = Hashes(None, "a test").see("a.py", str(file))
    with Seen(seen.path, seen.stamp, "").open() as opened:
        while opened.read(2**20):
            pass
    os.utime(file, (LONG_AGO, LONG_AGO))
    with pytest.raises(ProjectError, match="changed while it was read"):
        seen.open()
