"""Content hashes of a folder's files, remembered between builds by what the file system says of each file.

As in git's index, a file that changed within the last two seconds is not remembered: it may change once more without
a new time. What is read later for a layer is compared with its hash again, so that no layer is kept under a wrong key.
"""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, cast

from upon_build.project.problems import ProjectError, fail

if TYPE_CHECKING:
    from upon_build.image.store import Store

Stamp: TypeAlias = list[int]  # size, mtime, inode, ctime; nanoseconds
Examine: TypeAlias = Callable[[BinaryIO], tuple[str, Any]]  # -> sha256 and whatever else is to be remembered

RACY = 2.0  # seconds
HASHED_AGAIN = 2**26  # bytes; of a larger file, only size and times are compared when it is read for its layer
_VERSION = 1
_FIELDS = 4  # of what is remembered of a file: stamp, sha256, found, version


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was read. sha256: hexadecimal; size: bytes; found: what `examine` said besides."""

    path: str
    stamp: Stamp
    sha256: str
    found: Any = None

    @property
    def size(self) -> int:
        return self.stamp[0]

    def open(self) -> BinaryIO:
        """The content once more. Reading raises ProjectError where it is no longer what was seen."""
        return cast("BinaryIO", io.BufferedReader(_Same(self), 2**18))


def digest_only(file: BinaryIO) -> tuple[str, Any]:
    """The plainest `Examine`."""
    return hashlib.file_digest(file, "sha256").hexdigest(), None  # type: ignore[arg-type]


class Hashes:
    """Files by name within what `about` names (`code of /home/me/reviews`). Without a store, nothing is remembered.

    clock: seconds since 1970.
    """

    def __init__(self, store: Store | None, about: str, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._key = f"hashes v{_VERSION}: {about}"
        self._clock = clock
        self._known = self._load()
        self._kept: dict[str, Any] = {}
        self._read: dict[str, Any] = {}  # by this object, so that what may not be remembered is read once at least

    def see(
        self,
        name: str,
        path: str,
        examine: Examine = digest_only,
        version: int = 0,
        status: os.stat_result | None = None,
    ) -> Seen:
        """Read a file, or recall it. version: of `examine`; status: the file's, where it is known already.

        Raises ProjectError that names the file.
        """
        try:
            seen = self.recall(name, path, version, status)
            return seen or self._examine(name, path, examine, version)
        except OSError as error:
            raise _unreadable(name, error) from None

    def recall(self, name: str, path: str, version: int = 0, status: os.stat_result | None = None) -> Seen | None:
        """What is remembered of a file that did not change. Raises OSError where there is none."""
        known = self._read.get(name) or self._known.get(name)
        if known is None or known[3] != version or known[0] != stamp_of(status or os.stat(path)):
            return None
        if name not in self._read:
            self._kept[name] = known
        return Seen(path, known[0], known[1], known[2])

    def save(self) -> None:
        """Remember what was seen since the start, and forget the rest."""
        if self._store is not None and self._kept != self._known:
            self._store.remember(self._key, {"files": self._kept})

    def _examine(self, name: str, path: str, examine: Examine, version: int) -> Seen:
        with open(path, "rb", buffering=0) as raw:
            began = self._clock()
            stamp = stamp_of(os.fstat(raw.fileno()))
            sha256, found = examine(cast("BinaryIO", raw))
            if stamp_of(os.fstat(raw.fileno())) != stamp:
                raise _changed(name)
        self._read[name] = [stamp, sha256, found, version]
        if max(stamp[1], stamp[3]) / 1e9 < began - RACY:
            self._kept[name] = self._read[name]
        return Seen(path, stamp, sha256, found)

    def _load(self) -> Mapping[str, Any]:
        said = None if self._store is None else self._store.recall(self._key)
        files = (said or {}).get("files")
        if not isinstance(files, dict):
            return {}
        return {name: known for name, known in files.items() if isinstance(known, list) and len(known) == _FIELDS}


def stamp_of(status: os.stat_result) -> Stamp:
    return [status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns]


class _Same(io.RawIOBase):
    """A file that must be what was seen: compared by its times when opened, and by its hash at its end."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._left = seen.size
        self._hash = hashlib.sha256() if seen.size <= HASHED_AGAIN else None
        try:
            self._file = io.FileIO(seen.path)
        except OSError as error:
            raise _unreadable(seen.path, error) from None
        self._check_stamp()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        read = self._file.readinto(view)
        self._left -= read
        if self._hash is not None:
            self._hash.update(view[:read])
        if self._left < 0 or (read == 0 and self._left and len(view)):
            self._refuse()
        if self._left == 0:
            self._check_stamp()
            if self._hash is not None and self._hash.hexdigest() != self._seen.sha256:
                self._refuse()
        return read

    def close(self) -> None:
        self._file.close()
        super().close()

    def _check_stamp(self) -> None:
        if stamp_of(os.fstat(self._file.fileno())) != self._seen.stamp:
            self._refuse()

    def _refuse(self) -> None:
        self.close()
        raise _changed(self._seen.path)


def _changed(name: str) -> ProjectError:
    return fail(name, "the file changed while it was read", "build again when nothing writes to it")


def _unreadable(name: str, error: OSError) -> ProjectError:
    why = error.strerror or type(error).__name__
    return fail(name, f"the file can't be read: {why}", "make it readable, or leave it out")
