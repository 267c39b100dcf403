"""A dead letter as it is read again: what its headers say, which letters somebody wants, what is written back."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from upon_triggers.kafka import dead_letter as told
from upon_triggers.kafka.transport import Headers, Record

_PLACE = re.compile(r"([A-Za-z0-9._-]{1,249})/(\d{1,10})/(\d{1,19})(?:@(\d{1,19}))?")
_NOT_THE_RECORDS = told.OWN | {told.REPLAY_ORIGIN, told.REPLAYS}


class Place(NamedTuple):
    """Where a record stands, and its timestamp in milliseconds since 1970 where that is known."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None = None

    @classmethod
    def parse(cls, text: str | None) -> Place | None:
        """`topic/partition/offset`, or None where it is not that."""
        found = _PLACE.fullmatch(text or "")
        if found is None:
            return None
        return cls(found[1], int(found[2]), int(found[3]), int(found[4]) if found[4] else None)

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def header(self) -> bytes:
        """As upon-replay-origin says it."""
        return (str(self) if self.timestamp is None else f"{self}@{self.timestamp}").encode()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of a dead-letter topic; what its headers do not say is None. time: when it was given up.

    origin: where the record stood when it failed. omitted: why there is no value, in a letter that only points at its
    origin. replays: how often the record was replayed before it failed this time.
    """

    partition: int
    record: Record
    kind: str | None
    error: str | None
    attempts: int | None
    function: str | None
    group: str | None
    origin: Place | None
    omitted: str | None
    replays: int
    time: datetime | None

    @classmethod
    def read(cls, partition: int, record: Record) -> DeadLetter:
        """Any record can be read; a foreign one says nothing about itself."""
        said = {name: value.decode("utf-8", "replace") for name, value in record.headers if value is not None}
        origin = Place.parse(said.get(told.ORIGIN))
        if origin is not None:
            origin = origin._replace(timestamp=_number(said.get(told.ORIGIN_TIME)))
        return cls(
            partition,
            record,
            said.get(told.KIND),
            said.get(told.ERROR),
            _number(said.get(told.ATTEMPTS)),
            said.get(told.FUNCTION),
            said.get(told.GROUP) or None,
            origin,
            said.get(told.OMITTED),
            _number(said.get(told.REPLAYS)) or 0,
            _moment(said.get(told.TIME)) or _written(record),
        )

    @property
    def offset(self) -> int:
        return self.record.offset

    @property
    def id(self) -> str:
        """Its place in the dead-letter topic: `partition/offset`."""
        return f"{self.partition}/{self.record.offset}"

    @property
    def is_foreign(self) -> bool:
        """A record that nobody of ours has given up."""
        return self.kind is None and self.origin is None

    @property
    def is_pointer(self) -> bool:
        return self.omitted is not None


def plain_headers(headers: Headers) -> list[tuple[str, bytes | None]]:
    """The record's own headers, without any that dead letters and replays add."""
    return [header for header in headers if header[0] not in _NOT_THE_RECORDS]


def replay_headers(
    letter: DeadLetter, headers: Headers, began: Place | None, group: str | None
) -> list[tuple[str, bytes | None]]:
    """What goes back with a record: its own headers, its first place, how often it was replayed, and for whom.

    headers: those of the record that is written. began: where it stands, unless an earlier replay says otherwise.
    """
    first = dict(headers).get(told.REPLAY_ORIGIN) or (began.header if began is not None else None)
    replay: list[tuple[str, bytes | None]] = [] if first is None else [(told.REPLAY_ORIGIN, first)]
    replay.append((told.REPLAYS, str(letter.replays + 1).encode()))
    if group is not None:
        replay.append((told.REPLAY_GROUP, group.encode()))
    return [*plain_headers(headers), *replay]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are wanted; what is None or empty says nothing. error: a part of its text, in any case.

    since, until: the time of giving up, the second one excluded. ids: (partition, offset).
    """

    functions: Collection[str] = ()
    kinds: Collection[str] = ()
    keys: Collection[bytes] = ()
    since: datetime | None = None
    until: datetime | None = None
    partition: int | None = None
    ids: Collection[tuple[int, int]] = ()
    error: str | None = None

    def spans(self, bounds: Mapping[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
        """The offsets that have to be read of each partition: (first, end)."""
        wanted = {n: span for n, span in bounds.items() if self.partition in (None, n)}
        if not self.ids:
            return wanted
        found: dict[int, tuple[int, int]] = {}
        for number, (first, end) in wanted.items():
            offsets = [offset for partition, offset in self.ids if partition == number and first <= offset < end]
            if offsets:
                found[number] = (min(offsets), max(offsets) + 1)
        return found

    def matches(self, letter: DeadLetter) -> bool:
        if self.ids and (letter.partition, letter.offset) not in self.ids:
            return False
        if self.partition not in (None, letter.partition):
            return False
        if (self.functions and letter.function not in self.functions) or (self.kinds and letter.kind not in self.kinds):
            return False
        if self.keys and letter.record.key not in self.keys:
            return False
        if self.error is not None and self.error.lower() not in (letter.error or "").lower():
            return False
        return self._fits_time(letter.time)

    def _fits_time(self, time: datetime | None) -> bool:
        if self.since is None and self.until is None:
            return True
        if time is None:
            return False
        return (self.since is None or time >= self.since) and (self.until is None or time < self.until)


def _number(text: str | None) -> int | None:
    return int(text) if text and len(text) < 20 and text.isascii() and text.isdigit() else None


def _moment(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _written(record: Record) -> datetime | None:
    try:
        return datetime.fromtimestamp(record.timestamp / 1000, UTC) if record.timestamp >= 0 else None
    except (OverflowError, ValueError, OSError):
        return None
