"""One blob on its way to a registry: mounted, in one piece, or in chunks that go on where a connection broke."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlencode

from upon_build.image.oci import Descriptor
from upon_build.registry.body import Part
from upon_build.registry.errors import DigestMismatch, RegistryError
from upon_build.registry.failures import Transient
from upon_build.registry.progress import Progress
from upon_build.registry.response import Response
from upon_build.registry.session import Ask, Attempts, Session

CHUNK = 32 * 2**20  # bytes: a blob up to this goes in one piece
LARGEST_CHUNK = 256 * 2**20
OCTETS = "application/octet-stream"
CHUNKS_REFUSED = frozenset({400, 404, 405, 411, 416, 501})  # some registries take whole blobs only


class Lost(Exception):
    """The registry does not know this upload any more: begin anew."""


@dataclass(frozen=True, slots=True)
class Sent:
    """bytes: handed to the connection, again where it had to be; mounted: it came from another repository."""

    bytes: int
    mounted: bool = False


def mount(session: Session, digest: str, source: str) -> bool:
    """Have the registry take a blob over from another of its repositories; False where it does not."""
    return begin(session, digest, source, threading.Event(), keep=False) is None


def begin(session: Session, digest: str, source: str | None, stop: threading.Event, *, keep: bool = True) -> str | None:
    """Where to upload to, or None where the registry took the blob over from `source`.

    keep: False where nothing will be uploaded: the registry is told to forget what it began.
    """
    if source is not None and source != session.reference.repository:
        query = urlencode({"mount": digest, "from": source})
        response = session.ask(Ask("POST", f"blobs/uploads/?{query}", mounting=source, body=bytes), stop)
        if response.status == 201:
            return None
        if response.status == 202:
            location = session.location(response)
            if not keep:
                _forget(session, location)
            return location
    if not keep:  # it does not let us read there
        return ""
    response = session.ask(Ask("POST", "blobs/uploads/", body=bytes), stop)
    if response.status != 202:
        raise session.refused(response)
    return session.location(response)


def _forget(session: Session, location: str) -> None:
    try:
        session.once(Ask("DELETE", location)).discard()
    except (Transient, RegistryError):
        return  # it forgets by itself, later


class Upload:
    """One blob from a file. there: whether the registry has the blob, asked where an answer was lost."""

    def __init__(
        self,
        session: Session,
        descriptor: Descriptor,
        path: Path,
        *,
        progress: Progress,
        there: Callable[[str], bool],
        stop: threading.Event,
        chunk: int = CHUNK,
    ) -> None:
        self._session = session
        self._descriptor = descriptor
        self._path = path
        self._progress = progress
        self._there = there
        self._stop = stop
        self._chunk = chunk
        self._attempts = Attempts(session, stop)
        self._sent = 0
        self._counted = 0
        self._task = 0

    def run(self, source: str | None = None) -> Sent:
        """Returns once the registry has it. source: a repository of the same registry that may have it."""
        size = self._path.stat().st_size
        if size != self._descriptor.size:
            said = f"{self._path} has {size} bytes, not {self._descriptor.size}"
            raise DigestMismatch(f"{said}: the cache is damaged: `func cache prune --all`")
        location = begin(self._session, self._descriptor.digest, source, self._stop)
        if location is None:
            return Sent(0, mounted=True)
        self._task = self._progress.begin(f"pushing {self._descriptor.digest[7:19]}", size)
        try:
            with self._path.open("rb") as file:
                self._send(file, location)
        finally:
            self._progress.end(self._task)
        return Sent(self._sent)

    def _send(self, file: BinaryIO, location: str) -> None:
        in_chunks = self._descriptor.size > self._chunk
        while True:
            try:
                if in_chunks and not self._chunks(file, location):
                    in_chunks = False
                    raise Lost
                if not in_chunks:
                    self._whole(file, location)
                return
            except Transient as error:
                self._attempts.failed(error)
                if self._there(self._descriptor.digest):
                    return
            except Lost:
                pass
            again = begin(self._session, self._descriptor.digest, None, self._stop)
            assert again is not None
            location = again
            self._at(0)

    def _whole(self, file: BinaryIO, location: str) -> None:
        self._finish(location, lambda: self._part(file, 0, self._descriptor.size), self._descriptor.size)

    def _chunks(self, file: BinaryIO, location: str) -> bool:
        """False where the registry does not take chunks."""
        offset = 0
        while offset < self._descriptor.size:
            try:
                response = self._patch(file, location, offset)
            except Transient as error:
                self._attempts.failed(error)
                before = offset
                location, offset = self._status(location)
                if offset > before:
                    self._attempts.progressed()
                continue
            if response.status != 202:
                if offset == 0 and response.status in CHUNKS_REFUSED:
                    response.discard()
                    return False
                if response.status in (404, 416):
                    raise self._lost(response)
                raise self._session.refused(response)
            response.discard()
            location = self._session.location(response)
            taken = _taken(response)
            offset = min(offset + self._chunk, self._descriptor.size) if taken is None else taken
            self._attempts.progressed()
            self._at(offset)
        self._finish(location, None, 0)
        return True

    def _patch(self, file: BinaryIO, location: str, offset: int) -> Response:
        length = min(self._chunk, self._descriptor.size - offset)
        headers = {
            "Content-Type": OCTETS,
            "Content-Length": str(length),
            "Content-Range": f"{offset}-{offset + length - 1}",
        }
        return self._session.once(
            Ask("PATCH", location, headers, lambda: self._part(file, offset, length), wait=self._session.limits.finish)
        )

    def _status(self, location: str) -> tuple[str, int]:
        """Where the upload goes on, and from which byte."""
        response = self._session.ask(Ask("GET", location), self._stop)
        if response.status not in (202, 204):
            raise self._lost(response)
        offset = _taken(response) or 0
        if offset > self._descriptor.size:
            raise Lost
        self._at(offset)
        moved = response.headers.get("Location")
        return (self._session.location(response) if moved else location), offset

    def _finish(self, location: str, body: Callable[[], Part] | None, length: int) -> None:
        query = urlencode({"digest": self._descriptor.digest})
        target = f"{location}{'&' if '?' in location else '?'}{query}"
        headers = {"Content-Type": OCTETS, "Content-Length": str(length)}
        ask = Ask("PUT", target, headers, body or bytes, wait=self._session.limits.finish)
        response = self._session.once(ask)
        if response.status == 404:
            raise self._lost(response)
        if response.status not in (201, 204):
            raise self._session.refused(response)
        response.discard()
        said = response.headers.get("Docker-Content-Digest", self._descriptor.digest)
        if said.startswith("sha256:") and said != self._descriptor.digest:
            raise DigestMismatch(
                f"{self._session.reference.registry} says that it stored {said}, where {self._descriptor.digest} was"
                " sent: do not trust it"
            )

    def _part(self, file: BinaryIO, start: int, length: int) -> Part:
        self._at(start)
        return Part(file, start, length, self._count, self._stop)

    def _count(self, count: int) -> None:
        self._sent += count
        self._counted += count
        self._progress.advance(self._task, count)

    def _at(self, offset: int) -> None:
        """The progress shown is what the registry has, whatever was sent."""
        if offset != self._counted:
            self._progress.advance(self._task, offset - self._counted)
            self._counted = offset

    def _lost(self, response: Response) -> Exception:
        """Lost, or the refusal once patience is over."""
        error = self._session.refused(response)
        self._attempts.failed(Transient(error))
        return Lost()


def _taken(response: Response) -> int | None:
    """Bytes that the registry has, by its header Range: `0-99` are 100; `0-0` is what it says of none."""
    first, dash, last = response.headers.get("Range", "").removeprefix("bytes=").partition("-")
    if not dash or first != "0" or not last.isdecimal():
        return None
    return int(last) + 1 if int(last) else 0
