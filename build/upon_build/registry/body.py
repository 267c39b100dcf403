"""A part of a file as a request's body: read in blocks, counted, and given up when another transfer failed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import BinaryIO

from upon_build.registry.errors import DigestMismatch
from upon_build.registry.response import BLOCK
from upon_build.registry.retry import check


class Part:
    """`length` bytes of a file from `start`. sent: told of every block that is handed to the connection."""

    def __init__(
        self, file: BinaryIO, start: int, length: int, sent: Callable[[int], None], stop: threading.Event
    ) -> None:
        self._file = file
        self._left = length
        self._sent = sent
        self._stop = stop
        file.seek(start)

    def read(self, amount: int = -1) -> bytes:
        check(self._stop)
        wanted = min(self._left, BLOCK if amount < 0 else amount)
        block = self._file.read(wanted)
        if len(block) < wanted:
            raise DigestMismatch(
                f"{self._file.name} ended before its time: the cache is damaged: `func cache prune --all`"
            )
        self._left -= len(block)
        self._sent(len(block))
        return block
