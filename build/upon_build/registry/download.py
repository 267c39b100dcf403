"""One blob on its way from a registry into the store: resumed where a connection broke, verified before it counts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from upon_build.image.oci import Descriptor
from upon_build.registry.errors import DigestMismatch, RegistryError
from upon_build.registry.failures import Transient, cut_off
from upon_build.registry.progress import Progress
from upon_build.registry.response import Response
from upon_build.registry.retry import check
from upon_build.registry.session import Ask, Attempts, Session

if TYPE_CHECKING:
    from upon_build.image.store import Store
    from upon_build.image.writing import Writing


class Download:
    """A blob into the store. Nothing of it is seen there before its digest is right."""

    def __init__(
        self, session: Session, descriptor: Descriptor, store: Store, *, progress: Progress, stop: threading.Event
    ) -> None:
        self._session = session
        self._descriptor = descriptor
        self._store = store
        self._progress = progress
        self._stop = stop

    def run(self) -> Path:
        descriptor = self._descriptor
        task = self._progress.begin(f"pulling {descriptor.digest[7:19]}", descriptor.size)
        attempts = Attempts(self._session, self._stop)
        try:
            with self._store.writing() as writing:
                while writing.size < descriptor.size:
                    before = writing.size
                    try:
                        self._receive(writing, lambda count: self._progress.advance(task, count))
                    except Transient as error:
                        if writing.size > before:
                            attempts.progressed()
                        attempts.failed(error)
                self._verify(writing)
                return writing.commit()
        finally:
            self._progress.end(task)

    def _receive(self, writing: Writing, advance: Callable[[int], None]) -> None:
        have = writing.size
        headers = {"Range": f"bytes={have}-"} if have else {}
        response = self._session.once(Ask("GET", f"blobs/{self._descriptor.digest}", headers))
        skip = self._skipped(response, have)
        with closing(response.blocks()) as blocks:
            for block in blocks:
                check(self._stop)
                kept = block[skip:]
                skip -= len(block) - len(kept)
                writing.write(kept)
                advance(len(kept))
                if writing.size > self._descriptor.size:
                    raise self._lie(f"more than {self._descriptor.size} bytes")
        if writing.size < self._descriptor.size and not response.header("Content-Length"):
            raise cut_off(response.host, "broke the connection off in the middle of a download")
        if writing.size < self._descriptor.size:
            raise self._lie(f"only {writing.size} of {self._descriptor.size} bytes")

    def _skipped(self, response: Response, have: int) -> int:
        """Bytes at the beginning of the body that are here already."""
        if response.status == 200:
            return have
        begins = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
        if response.status == 206 and begins.isdecimal() and int(begins) <= have:
            return have - int(begins)
        if response.status == 206:
            response.close()
            raise RegistryError(f"{self._session.reference.registry} sent another part than was asked for: try again")
        raise self._session.refused(response)

    def _verify(self, writing: Writing) -> None:
        if writing.digest() != self._descriptor.digest:
            raise self._lie(f"content with the digest {writing.digest()}")

    def _lie(self, what: str) -> DigestMismatch:
        name, digest = self._session.reference.name, self._descriptor.digest
        return DigestMismatch(
            f"{name} gave {what} for {digest}: the registry or a proxy damages content: do not use it"
        )
