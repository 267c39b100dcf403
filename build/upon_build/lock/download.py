"""One file of an index onto the disk: streamed, resumed, and shown to nobody before its hash is right."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from upon import UponError
from upon_build.lock.simple import Found
from upon_build.lock.web import IndexFault, Web, unreachable

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

CHUNK = 2**18  # bytes
MAX_BREAKS = 50  # of one file, however much came between them


class Stopped(UponError):
    """Another download failed, so this one ended."""


class Gone(IndexFault):
    """The index lists a file that it does not have."""


class Part:
    """A file that grows; `hash` is over all that stands in it."""

    def __init__(self, file: FileIO, path: Path) -> None:
        self.path = path
        self._file = file
        self.hash = hashlib.sha256()
        self.size = 0
        self._file.seek(0)
        while chunk := self._file.read(CHUNK):
            self._count(chunk)

    def write(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:  # no space: the system's own message names no file
            raise OSError(error.errno, error.strerror, str(self.path)) from None
        self._count(chunk)

    def restart(self) -> int:
        """Empty it; returns the bytes that are lost."""
        lost, self.size = self.size, 0
        self.hash = hashlib.sha256()
        self._file.seek(0)
        self._file.truncate()
        return lost

    def commit(self, target: Path) -> None:
        os.fsync(self._file.fileno())
        self.path.replace(target)

    def _count(self, chunk: bytes) -> None:
        self.hash.update(chunk)
        self.size += len(chunk)


def download(
    web: Web,
    found: Found,
    target: Path,
    sha256: str,
    size: int | None = None,
    *,
    advance: Callable[[int], None] = lambda count: None,
    stop: threading.Event | None = None,
) -> None:
    """Bring a file to `target`. size: bytes, None for unknown; advance: told of bytes, fewer than none when lost.

    What is cut off is resumed, by a later call too. Raises IndexUnavailable; IndexFault for other content than the
    hash says, also when asked again; OSError, with the file's name, for a full disk.
    """
    stop = stop or threading.Event()
    with _part(target) as part:
        advance(part.size)
        for last in (False, True):
            _fill(web, found, part, size, advance, stop)
            if part.hash.hexdigest() == sha256 and size in (None, part.size):
                part.commit(target)
                return
            got, length = part.hash.hexdigest(), part.size
            advance(-part.restart())
            if last:
                host = urlsplit(found.where).netloc.rpartition("@")[2] or "the folder"
                raise IndexFault(
                    f"what {host} gives for {found.file} is not what func.lock names: {length} bytes with SHA-256"
                    f" {got}, not {size} with {sha256}; use the index that the lock was made with"
                )


def measure(web: Web, found: Found, target: Path) -> tuple[str, int]:
    """(sha256, size) of a file that nobody states them of; target: a place for it meanwhile. Raises as `download`."""
    with _part(target) as part:
        _fill(web, found, part, None, lambda count: None, threading.Event())
        return part.hash.hexdigest(), part.size


def _fill(
    web: Web, found: Found, part: Part, size: int | None, advance: Callable[[int], None], stop: threading.Event
) -> None:
    """Read until the end, going on where it broke; a try that brought nothing counts towards the limit."""
    from urllib3.exceptions import HTTPError

    if "://" not in found.where:
        _copy(Path(found.where), part, advance)
        return
    vain = 0
    for _ in range(MAX_BREAKS):
        before = part.size
        try:
            _receive(web, found, part, size, advance, stop)
            return
        except HTTPError as error:
            vain = 0 if part.size > before else vain + 1
            if vain >= web.tries:
                raise unreachable(found.where, error) from None
        if stop.wait(web.wait(vain)):
            break
    _check(stop)
    raise IndexFault(f"{found.file} broke off {MAX_BREAKS} times: try later")


def _receive(
    web: Web, found: Found, part: Part, size: int | None, advance: Callable[[int], None], stop: threading.Event
) -> None:
    if size is not None and part.size >= size:
        return
    _check(stop)
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={part.size}-"} if part.size else {})}
    with web.get(found.where, headers) as response:
        if response.status not in (200, 206):
            raise Gone(f"{urlsplit(found.where).hostname} lists {found.file} and does not have it: try again later")
        if not _goes_on(response, part.size):
            advance(-part.restart())
        for chunk in response.stream(CHUNK, decode_content=False):
            _check(stop)
            part.write(chunk)
            advance(len(chunk))
            if size is not None and part.size > size:
                return  # something else altogether: its hash will say so


def _goes_on(response: BaseHTTPResponse, start: int) -> bool:
    if response.status == 200:
        return start == 0
    return response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _copy(path: Path, part: Part, advance: Callable[[int], None]) -> None:
    advance(-part.restart())
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            part.write(chunk)
            advance(len(chunk))


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise Stopped("the download was stopped, since another one failed")


@contextmanager
def _part(target: Path) -> Iterator[Part]:
    """The unfinished file that a later call finds again; one of our own while another process is at that."""
    shared = target.with_name(f"{target.name}.part")
    with _opened(shared) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.fstat(file.fileno()).st_ino == shared.stat().st_ino
        except (BlockingIOError, FileNotFoundError):  # in use, or finished in this moment
            ours = False
        if ours:
            yield Part(file, shared)
            return
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    with os.fdopen(handle, "w+b", buffering=0) as file:
        os.fchmod(handle, 0o644)
        try:
            yield Part(file, Path(name))
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name)


def _opened(path: Path) -> FileIO:
    """Whoever prunes the cache removes folders that are empty just now."""
    for _ in range(10):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return path.open("a+b", buffering=0)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
