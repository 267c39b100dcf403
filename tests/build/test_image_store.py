"""The cache: what is in it is whole, whatever happens to a process, and what is in use stays."""

from __future__ import annotations

import gc
import hashlib
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from upon_build.image.store import HASHED, Pruned, Store

HOUR = 3600.0
CHILD = """
import sys, time
from pathlib import Path
from upon_build.image.store import Store
store = Store(Path(sys.argv[1]))
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def later(store: Store, hours: float) -> Store:
    """The same cache, as another process finds it after this time."""
    return Store(store.folder, clock=lambda: time.time() + hours * HOUR)


def aged(path: Path | None, hours: float) -> Path:
    assert path is not None
    then = time.time() - hours * HOUR
    os.utime(path, (then, then))
    return path


def filled(store: Store, **hours: float) -> dict[str, Path]:
    """Blobs of 1,000 bytes by a letter, each last used so many hours ago."""
    return {name: aged(store.find(store.add(name.encode() * 1000)), ago) for name, ago in hours.items()}


def child(store: Store, code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD + code, str(store.folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def files(store: Store) -> list[str]:
    return sorted(path.name for path in store.folder.rglob("*") if path.is_file() and path.parent.name != "users")


def test_a_blob_is_found_by_its_digest(store: Store) -> None:
    digest = store.add(b"hello")
    assert "sha256:" + hashlib.sha256(b"hello").hexdigest() == digest
    path = store.find(digest)
    assert path == store.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")
    assert b"hello" == path.read_bytes()
    assert 0o644 == path.stat().st_mode & 0o777


def test_what_is_not_there_is_not_found(store: Store) -> None:
    assert store.find("sha256:" + "0" * 64) is None
    assert store.recall("a key") is None
    assert not store.folder.exists()


@pytest.mark.parametrize(
    "digest", ["", "sha256:", "sha512:" + "0" * 64, "sha256:../../../etc/passwd", "sha256:" + "G" * 64]
)
def test_no_digest(store: Store, digest: str) -> None:
    with pytest.raises(ValueError, match="is no digest"):
        store.find(digest)


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({"UPON_CACHE": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/upon/build"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/upon/build"),
        ({"HOME": "/h"}, "/h/.cache/upon/build"),
    ],
)
def test_where_the_cache_is(env: dict[str, str], folder: str) -> None:
    assert Path(folder) == Store.default(env).folder


def test_a_blob_is_written_in_pieces(store: Store) -> None:
    with store.writing() as writing:
        assert 3 == writing.write(b"abc")
        writing.write(bytearray(b"def"))
        assert 6 == writing.size
        path = writing.commit()
    assert path == store.find(writing.digest())
    assert b"abcdef" == path.read_bytes()


def test_nothing_is_left_of_what_was_not_committed(store: Store) -> None:
    with suppress(KeyboardInterrupt), store.writing() as writing:
        writing.write(b"half")
        assert 1 == len(list((store.folder / "tmp").iterdir()))
        raise KeyboardInterrupt
    assert [] == files(store)


def test_a_full_disk_is_told_with_the_files_name_and_leaves_nothing(store: Store) -> None:
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
try:
    with store.writing() as writing:
        for _ in range(3): writing.write(bytes(2**19))
        writing.commit()
except OSError as error:
    print(error.errno, error.filename)
"""
    out, error = child(store, code).communicate(timeout=60)
    assert ("27", str(store.folder / "tmp")) == (out.split()[0], os.path.dirname(out.split()[1])), error
    assert [] == files(store)


def test_a_value_is_recalled(store: Store) -> None:
    store.remember("a key", {"models": ["é"], "size": 3})
    assert {"models": ["é"], "size": 3} == store.recall("a key")
    assert store.recall("another") is None
    store.remember("a key", {})
    assert {} == store.recall("a key")


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff"])
def test_a_damaged_record_counts_as_missing(store: Store, content: bytes) -> None:
    store.remember("a key", {"size": 3})
    (store.folder / "keys" / (hashlib.sha256(b"a key").hexdigest() + ".json")).write_bytes(content)
    assert store.recall("a key") is None


def test_a_record_of_a_blob_that_is_gone_counts_as_missing(store: Store) -> None:
    digest = store.add(b"blob")
    store.remember("a key", {"digest": digest, "size": 4})
    path = store.find(digest)
    assert path is not None
    assert {"digest": digest, "size": 4} == store.recall("a key")
    path.unlink()
    assert store.recall("a key") is None


@pytest.mark.parametrize("size", [4, HASHED + 1])
def test_a_truncated_blob_is_noticed_and_made_again(store: Store, size: int) -> None:
    digest = store.add(bytes(size))
    store.remember("a key", {"digest": digest, "size": size})
    path = store.find(digest)
    assert path is not None
    path.write_bytes(bytes(size - 1))
    assert store.find(digest, size) is None
    assert store.recall("a key") is None
    store.add(bytes(size))
    assert path == store.find(digest, size)


def test_a_small_blob_with_another_content_is_noticed(store: Store) -> None:
    digest = store.add(b"blob")
    path = store.find(digest)
    assert path is not None
    path.write_bytes(b"blub")
    assert store.find(digest) is None


def test_finding_marks_as_used(store: Store) -> None:
    digest = store.add(b"blob")
    path = aged(store.find(digest), 5)
    store.find(digest)
    assert time.time() - path.stat().st_mtime < HOUR


def test_prune_removes_what_was_not_used_for_longest(store: Store) -> None:
    paths = filled(store, a=9, b=7, c=8, d=6)
    assert Pruned(freed=2000, left=2000, removed=2) == store.prune(2500)
    assert {"b", "d"} == {name for name, path in paths.items() if path.exists()}
    assert Pruned(freed=0, left=2000, removed=0) == store.prune(2000)


def test_prune_keeps_what_was_used_in_the_last_hour(store: Store) -> None:
    paths = filled(store, a=9, b=0.5)
    assert Pruned(freed=1000, left=1000, removed=1) == store.prune(0)
    assert ["b"] == [name for name, path in paths.items() if path.exists()]


def test_everything_can_be_pruned_once_nobody_uses_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    filled(store, a=0, b=0)
    store.remember("a key", {})
    assert Pruned(0, 2002, 0) == Store(tmp_path, clock=lambda: time.time() + 1).prune(0, keep=0)
    del store
    gc.collect()
    assert Pruned(2002, 0, 3) == Store(tmp_path, clock=lambda: time.time() + 1).prune(0, keep=0)


def test_prune_keeps_what_a_process_uses_however_long_it_runs(store: Store) -> None:
    paths = filled(store, a=9)
    with child(store, "print(store.add(b'mine'), flush=True); input()") as process:
        assert process.stdout is not None
        mine = store.find(process.stdout.readline().strip())
        assert mine is not None
        assert 1 == later(store, 50).prune(0).removed
        assert (False, True) == (paths["a"].exists(), mine.exists())
        process.kill()


def test_the_lock_of_a_killed_process_goes_with_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with child(store, "print(store.add(b'mine'), flush=True); input()") as process:
        assert process.stdout is not None
        digest = process.stdout.readline().strip()
        process.kill()
    assert Pruned(4, 0, 1) == later(store, 2).prune(0)
    assert [] == list((tmp_path / "users").iterdir())
    assert store.find(digest) is None


def test_what_a_crash_left_unfinished_is_pruned_when_it_is_old(tmp_path: Path) -> None:
    store = Store(tmp_path)
    code = "with store.writing() as writing: writing.write(b'half'); print(1, flush=True); input()"
    with child(store, code) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert Pruned(0, 4, 0) == later(store, 2).prune()
        process.kill()
    assert Pruned(0, 4, 0) == store.prune()
    assert Pruned(4, 0, 1) == later(store, 2).prune()


def test_prune_takes_wheels_with_their_folders(store: Store) -> None:
    folder = store.folder / "wheels" / ("0" * 64)
    folder.mkdir(parents=True)
    (folder / "demo.whl").write_bytes(bytes(10))
    aged(folder / "demo.whl", 5)
    assert Pruned(10, 0, 1) == store.prune(5)
    assert not folder.exists()


def test_items_are_listed_by_when_they_were_used(store: Store) -> None:
    filled(store, a=1, b=3, c=2)
    store.remember("a key", {})
    found = [(item.kind, item.size) for item in store.items()]
    assert [("blobs", 1000)] * 3 + [("keys", 2)] == found
    assert sorted(item.used for item in store.items()) == [item.used for item in store.items()]


def test_processes_that_write_the_same_while_others_prune(store: Store) -> None:
    work = """
for number in range(60):
    content = bytes([number]) * 50_000
    digest = store.add(content)
    store.remember(f"key {number}", {"digest": digest, "size": len(content)})
    path = store.find(digest, len(content))
    assert path is not None and path.read_bytes() == content
    assert store.recall(f"key {number}") is not None
"""
    prune = "\nfor _ in range(60): store.prune(10_000)\n"
    processes = [child(store, code) for code in (work, work, work, prune)]
    errors = [process.communicate(timeout=100)[1] for process in processes]
    assert [""] * 4 == errors
    assert 120 == len(files(store)) - 1  # with the lock
