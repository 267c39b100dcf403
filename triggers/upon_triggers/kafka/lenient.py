"""Header names that are not UTF-8: kafka-python gives up on them, and their partition would stand still for ever.

They are read as Python reads file names: a byte that is no text becomes a lone surrogate, and the name knows how to
become the same bytes again, so that a dead letter carries it unchanged.
"""

from __future__ import annotations

from typing import Any

ESCAPE = "surrogateescape"


class EscapedName(str):
    """A header's name with bytes that are not text. Written as it was read."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = ESCAPE) -> bytes:
        return super().encode(encoding, ESCAPE)


class _Part(bytearray):
    def decode(self, encoding: str = "utf-8", errors: str = ESCAPE) -> str:
        try:
            return super().decode(encoding)
        except UnicodeDecodeError:
            return EscapedName(super().decode(encoding, ESCAPE))


class _Batch(bytearray):
    """A batch whose parts decode as file names do. Slow: only for batches that need it."""

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return _Part(found) if isinstance(index, slice) else found


def read_any_header(batch: Any) -> None:
    """Teach it to kafka-python's DefaultRecordBatch (given as the class), once."""
    read = batch._read_msg

    def read_leniently(self: Any) -> Any:
        try:
            return read(self)
        except UnicodeDecodeError:  # nothing but a header's name is decoded; the position has not moved
            self._buffer = _Batch(self._buffer)
            return read(self)

    batch._read_msg = read_leniently
