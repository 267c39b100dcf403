"""A response whose body is still to be read: in blocks or whole, bounded in bytes and in time."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING

from upon_build.registry.errors import RegistryError
from upon_build.registry.failures import HTTPError, Transient, cut_off, host_of
from upon_build.registry.limits import Limits, Pace

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, HTTPHeaderDict

BLOCK = 2**18  # bytes handed to a socket, and taken from it, at a time
LARGEST_MANIFEST = 4 * 2**20  # bytes, as registries have it
LARGEST_ANSWER = 2**20  # bytes of anything else that is read whole


class Response:
    """url: of the request that it answers, after redirects."""

    def __init__(self, raw: BaseHTTPResponse, url: str, limits: Limits) -> None:
        self.url = url
        self._raw = raw
        self._limits = limits
        self._content: bytes | None = None

    @property
    def status(self) -> int:
        return self._raw.status

    @property
    def headers(self) -> HTTPHeaderDict:
        return self._raw.headers

    @property
    def host(self) -> str:
        return host_of(self.url)

    def header(self, name: str, default: str = "") -> str:
        return str(self._raw.headers.get(name, default))

    def blocks(self) -> Generator[bytes, None, None]:
        """The body as it comes; an end before the announced one, or a trickle, is Transient."""
        pace = Pace(self._limits)
        whole = False
        try:
            while block := self._raw.read1(BLOCK):
                if not pace.is_kept(len(block)):
                    raise cut_off(self.host, "sends too slowly")
                yield block
            whole = True
        except (HTTPError, OSError):
            raise cut_off(self.host, "broke the connection off in the middle of an answer") from None
        finally:
            if whole:
                self._raw.release_conn()
            self._raw.close()  # with the connection, unless that was released

    def content(self, most: int = LARGEST_ANSWER) -> bytes:
        """The whole body, within `limits.answer` seconds; a RegistryError where it is over `most` bytes.

        It is kept: another call gives it again.
        """
        if self._content is None:
            self._content = self._read(most)
        return self._content

    def _read(self, most: int) -> bytes:
        end = time.monotonic() + self._limits.answer
        content = bytearray()
        with closing(self.blocks()) as blocks:
            for block in blocks:
                content += block
                if len(content) > most:
                    raise RegistryError(f"{self.host} sent more than {most} bytes: it is no answer of a registry")
                if time.monotonic() > end:
                    raise cut_off(self.host, "did not answer in time")
        return bytes(content)

    def close(self) -> None:
        """Give up the body, and the connection with it."""
        self._raw.close()

    def discard(self) -> None:
        """Read to its end, so that the connection serves again; a failure costs no more than the connection."""
        try:
            self.content()
        except (Transient, RegistryError):
            return
