"""The cache of what was made before: blobs by their digest, and what is known under a key, as files that stay whole.

    blobs/sha256/HEX   keys/HEX.json   wheels/HEX/FILE   tmp/ (unfinished)   users/ (one locked file for each user)

A file is written under another name and renamed, so that processes at the same work do not meet, and a crash leaves
nothing but rubbish in tmp/. A file's mtime says when it was used last.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upon_build.image.writing import Writing

DEFAULT_LIMIT = 20 * 2**30  # bytes
RECENT = 3600.0  # seconds for which something counts as in use
HASHED = 2**20  # bytes; a blob up to this size is hashed whenever it is found
FOLDERS = ("blobs", "keys", "wheels", "tmp")


@dataclass(frozen=True, slots=True)
class Pruned:
    """freed and left: bytes; removed: files."""

    freed: int
    left: int
    removed: int


@dataclass(frozen=True, slots=True)
class Item:
    """A file of the cache. kind: the folder, one of FOLDERS; size: bytes; used: seconds since 1970."""

    path: Path
    kind: str
    size: int
    used: float


class Store:
    """A cache in this folder, which is made when something is written. clock: seconds since 1970."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._clock = clock
        self._user: int | None = None

    @classmethod
    def default(cls, env: Mapping[str, str] = os.environ) -> Store:
        """At UPON_CACHE, else below XDG_CACHE_HOME, else below ~/.cache."""
        own, shared = env.get("UPON_CACHE", ""), env.get("XDG_CACHE_HOME", "")
        if own:
            return cls(Path(own).expanduser().absolute())
        home = Path(env["HOME"]) if env.get("HOME") else Path.home()
        base = Path(shared) if os.path.isabs(shared) else home / ".cache"  # the specification ignores a relative one
        return cls(base / "upon" / "build")

    def find(self, digest: str, size: int | None = None) -> Path | None:
        """The blob's file, which this marks as used, or None. digest: `sha256:` and 64 hexadecimal digits.

        size: the bytes that it must have. A blob that has others was damaged and counts as missing, until it is written
        again; so does a small one whose content has another digest.
        """
        path = self._blob(digest)
        with self._lock(fcntl.LOCK_SH):
            try:
                there = path.stat().st_size
            except FileNotFoundError:
                return None
            self._mark(path)
        if size not in (None, there) or (there <= HASHED and _digest(path) != digest):
            return None
        return path

    def add(self, content: bytes) -> str:
        """Keep these bytes; returns their digest. Raises OSError with a file's name."""
        with self.writing() as writing:
            writing.write(content)
            writing.commit()
            return writing.digest()

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """A blob to be written. What is not committed when the block ends is removed. Raises OSError with its name."""
        writing = Writing(*self._temporary(), self._blob)
        try:
            yield writing
        finally:
            writing.close()

    def recall(self, key: str) -> dict[str, Any] | None:
        """What was remembered under this key; None where the blob that it names is gone or damaged.

        It names one by an entry `digest`, and its bytes by `size`.
        """
        path = self._record(key)
        try:
            value = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(value, dict):
            return None
        digest = value.get("digest")
        if digest is not None and self.find(str(digest), value.get("size")) is None:
            return None
        self._mark(path)
        return value

    def remember(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a value that JSON can say. Raises OSError with a file's name."""
        with Writing(*self._temporary(), lambda digest: self._record(key)) as writing:
            writing.write(json.dumps(value, ensure_ascii=False, sort_keys=True).encode())
            writing.commit()

    def items(self) -> list[Item]:
        """Every file of the cache, the one that was not used for longest first."""
        found = [item for kind in FOLDERS for item in _files(self.folder / kind, kind)]
        return sorted(found, key=lambda item: (item.used, item.path))

    def prune(self, limit: int = DEFAULT_LIMIT, *, keep: float = RECENT) -> Pruned:
        """Remove what was not used for longest until `limit` bytes are left, and what crashes left unfinished.

        What was used in the last `keep` seconds stays, and so does what any process used that has the cache open still:
        each one holds a lock on a file of its own in users/, whose mtime says since when.
        """
        since = min([self._clock() - keep, *self._users()])
        items = self.items()
        left = sum(item.size for item in items)
        freed = removed = 0
        for item in items:
            if (left > limit or item.kind == "tmp") and item.used < since and self._remove(item, since):
                left, freed, removed = left - item.size, freed + item.size, removed + 1
        return Pruned(freed, left, removed)

    def _blob(self, digest: str) -> Path:
        algorithm, _, name = digest.partition(":")
        if algorithm != "sha256" or len(name) != 64 or not set(name) <= set("0123456789abcdef"):
            raise ValueError(f"{digest!r} is no digest: it must be sha256: and 64 hexadecimal digits")
        return self.folder / "blobs" / algorithm / name

    def _record(self, key: str) -> Path:
        return self.folder / "keys" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"

    def _temporary(self) -> tuple[int, Path]:
        self._enter()
        folder = self.folder / "tmp"
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder)
        return handle, Path(name)

    def _mark(self, path: Path) -> None:
        now = self._clock()
        with suppress(OSError):  # pruned just now, or the cache may only be read
            self._enter()
            os.utime(path, (now, now))

    def _enter(self) -> None:
        """Be one of the users until this object goes, or the process ends, however that happens."""
        if self._user is not None:
            return
        folder = self.folder / "users"
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder)
        fcntl.flock(handle, fcntl.LOCK_SH)
        now = self._clock()
        os.utime(name, (now, now))
        self._user = handle
        weakref.finalize(self, _leave, handle, name, os.getpid())

    def _users(self) -> Iterator[float]:
        """Since when each of them has been there, this one too; the files of those that are gone are removed."""
        for item in _files(self.folder / "users", "users"):
            with suppress(FileNotFoundError), open(item.path, "rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield item.used
                    continue
                if item.used < self._clock() - RECENT:  # a new one takes its lock a moment after it made its file
                    item.path.unlink()

    def _remove(self, item: Item, since: float) -> bool:
        with self._lock(fcntl.LOCK_EX), suppress(FileNotFoundError):
            if item.path.stat().st_mtime >= since:
                return False
            item.path.unlink()
            if item.path.parent.parent.parent == self.folder:
                with suppress(OSError):  # not empty
                    item.path.parent.rmdir()
            return True
        return False

    @contextmanager
    def _lock(self, how: int) -> Iterator[None]:
        """Between finding a file with marking it as used, and removing it."""
        try:
            handle = os.open(self.folder / "lock", os.O_RDONLY | os.O_CREAT, 0o644)
        except OSError:  # no cache yet, or one that may only be read: then nobody prunes it
            yield
            return
        try:
            fcntl.flock(handle, how)
            yield
        finally:
            os.close(handle)


def _leave(handle: int, name: str, process: int) -> None:
    os.close(handle)
    if os.getpid() == process:  # a fork ends without taking it from its parent
        with suppress(OSError):
            os.unlink(name)


def _digest(path: Path) -> str | None:
    try:
        return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _files(folder: Path, kind: str) -> Iterator[Item]:
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where, name)
            with suppress(FileNotFoundError):
                status = path.stat(follow_symlinks=False)
                yield Item(path, kind, status.st_size, status.st_mtime)
