"""What stands in the metadata of a commit, beside the offset: which records above it are finished, and what is known
of records that may kill their process. It is all that outlives a process, and Kafka takes 4096 bytes of it.

    u1.BASE64(crc32 of the watermark and the body, body)

Body, numbers as LEB128: open, owner, level, rest, suspects, pinned, attempts; to the end the bitmap, plain or zlib.
"""

from __future__ import annotations

import binascii
import logging
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

log = logging.getLogger("upon.kafka")

LIMIT = 4096  # bytes: the brokers' own default, offset.metadata.max.bytes
SPAN = 20_000  # offsets above the watermark that a bitmap reaches, whatever is finished of them
MOST_SUSPECTS = 32
MOST_ATTEMPTS = 32
MOST_BODY = 64 * 1024  # bytes, decompressed: what is longer was not written here
_PREFIX = "u1."
_PLAIN, _PACKED = 0, 1


@dataclass(frozen=True, slots=True)
class Notes:
    """Offsets are absolute and not below the watermark; `finished` does not hold the watermark itself.

    finished: records above the watermark that are finished. open: 0, or as many of the other records as a live owner
    may have begun. owner: names that process; for another one to find it open means that it died.
    level: 1 while the next `rest` unfinished records are suspected of killing their process, 2 while only `suspects`
    are, 0 otherwise. pinned: the suspects that ran when this was written. attempts: the number of the next try, of
    records that were tried before.
    """

    finished: frozenset[int] = frozenset()
    open: int = 0
    owner: int = 0
    level: int = 0
    rest: int = 0
    suspects: tuple[int, ...] = ()
    pinned: tuple[int, ...] = ()
    attempts: tuple[tuple[int, int], ...] = ()


NOTHING = Notes()


class NotesError(Exception):
    """Metadata that was not written by `encode`, or not for this watermark."""


def fits(watermark: int, offset: int) -> bool:
    """Whether a bitmap from the watermark on has room for this offset, whatever else is finished."""
    return offset - watermark <= SPAN


def encode(watermark: int, notes: Notes) -> str:
    """At most LIMIT bytes of ASCII; empty for nothing. Only the first MOST_ATTEMPTS attempts are kept.

    Raises ValueError for an offset that does not fit, and for more than MOST_SUSPECTS suspects or pins.
    """
    if notes == NOTHING:
        return ""
    body = bytearray()
    for number in (notes.open, notes.owner, notes.level, notes.rest):
        _put(body, number)
    for offsets in (notes.suspects, notes.pinned):
        if len(offsets) > MOST_SUSPECTS:
            raise ValueError(f"{len(offsets)} suspects are more than {MOST_SUSPECTS}")
        _put_offsets(body, watermark, offsets)
    attempts = sorted(notes.attempts)[:MOST_ATTEMPTS]
    _put_offsets(body, watermark, [offset for offset, _ in attempts])
    for _, attempt in attempts:
        _put(body, attempt)
    body += _bitmap(watermark, notes.finished)
    text = _PREFIX + urlsafe_b64encode(_checksum(watermark, body) + body).decode().rstrip("=")
    if len(text) > LIMIT:
        raise ValueError(f"the notes of offset {watermark} take {len(text)} bytes, more than {LIMIT}")
    return text


def decode(watermark: int, text: str | None) -> Notes:
    """What `encode` was given. Nothing, and a line in the log, for what is foreign or damaged; never raises."""
    if not text:
        return NOTHING
    try:
        return _decode(watermark, text)
    except NotesError as error:
        log.warning("the metadata of the commit at offset %d is ignored: %s", watermark, error)
        return NOTHING


def _decode(watermark: int, text: str) -> Notes:
    if not text.startswith(_PREFIX):
        raise NotesError("it was written by another program")
    try:
        packed = text[len(_PREFIX) :].encode("ascii")
        data = urlsafe_b64decode(packed + b"=" * (-len(packed) % 4))
    except (ValueError, binascii.Error) as error:
        raise NotesError("it is damaged") from error
    body = data[4:]
    if data[:4] != _checksum(watermark, body):
        raise NotesError("it is damaged, or belongs to another offset")
    return _Reader(watermark, body).notes()


def _checksum(watermark: int, body: bytes | bytearray) -> bytes:
    return zlib.crc32(body, zlib.crc32(b"%d" % watermark)).to_bytes(4, "big")


def _put(body: bytearray, number: int) -> None:
    while number > 0x7F:
        body.append(number & 0x7F | 0x80)
        number >>= 7
    body.append(number)


def _put_offsets(body: bytearray, watermark: int, offsets: Iterable[int]) -> None:
    """Their number, then the steps from one to the next."""
    ordered = [watermark, *sorted(offsets)]
    _put(body, len(ordered) - 1)
    for before, offset in pairwise(ordered):
        if offset < before:
            raise ValueError(f"offset {offset} is below the watermark {watermark}")
        _put(body, offset - before)


def _bitmap(watermark: int, finished: frozenset[int]) -> bytes:
    """Bit n stands for the offset n + 1 above the watermark."""
    if not finished:
        return b""
    if not (watermark < min(finished) and fits(watermark, max(finished))):
        raise ValueError(f"a bitmap from {watermark} on can't hold {min(finished)} to {max(finished)}")
    bits = bytearray((max(finished) - watermark + 7) // 8)
    first = watermark + 1
    for offset in finished:
        bit = offset - first
        bits[bit >> 3] |= 1 << (bit & 7)
    packed = zlib.compress(bits, 6)
    return bytes((_PACKED,)) + packed if len(packed) < len(bits) else bytes((_PLAIN,)) + bits


class _Reader:
    """Takes a body apart, front to back."""

    def __init__(self, watermark: int, body: bytes) -> None:
        self._watermark = watermark
        self._body = body
        self._at = 0

    def notes(self) -> Notes:
        opened, owner, level, rest = self._number(), self._number(), self._number(), self._number()
        suspects, pinned, tried = self._offsets(), self._offsets(), self._offsets()
        attempts = tuple((offset, self._number()) for offset in tried)
        if level > 2:
            raise NotesError(f"level {level} is not known")
        return Notes(self._finished(), opened, owner, level, rest, suspects, pinned, attempts)

    def _number(self) -> int:
        number = shift = 0
        while True:
            if self._at >= len(self._body) or shift > 63:
                raise NotesError("it is cut off")
            byte = self._body[self._at]
            self._at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    def _offsets(self) -> tuple[int, ...]:
        offset, found = self._watermark, []
        for _ in range(self._number()):
            offset += self._number()
            found.append(offset)
        return tuple(found)

    def _finished(self) -> frozenset[int]:
        if self._at == len(self._body):
            return frozenset()
        kind, bits = self._body[self._at], self._body[self._at + 1 :]
        if kind == _PACKED:
            bits = _unpacked(bits)
        elif kind != _PLAIN:
            raise NotesError(f"a bitmap of kind {kind} is not known")
        first = self._watermark + 1
        return frozenset(first + n for n in _set_bits(bits))


def _unpacked(data: bytes) -> bytes:
    try:
        machine = zlib.decompressobj()
        bits = machine.decompress(data, MOST_BODY)
    except zlib.error as error:
        raise NotesError("its bitmap is damaged") from error
    if not machine.eof:
        raise NotesError("its bitmap is cut off or too long")
    return bits


def _set_bits(bits: Sequence[int]) -> Iterable[int]:
    for index, byte in enumerate(bits):
        while byte:
            lowest = byte & -byte
            yield index * 8 + lowest.bit_length() - 1
            byte ^= lowest
