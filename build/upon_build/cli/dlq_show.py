"""A dead letter for people, in a few lines, and for scripts, as one object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from upon import _http_codec
from upon_build.cli.records import event_of
from upon_triggers.kafka.letter import DeadLetter
from upon_triggers.kafka.transport import Headers

MOST_SHOWN = 1000  # characters of a value or an error, for people


class Shown(NamedTuple):
    """The record as it was when it failed."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int


@dataclass(slots=True)
class Count:
    """The letters of one topic."""

    total: int = 0
    replayed: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def pending(self) -> int:
        return self.total - self.replayed

    def add(self, letter: DeadLetter, replayed: bool) -> None:
        self.total += 1
        self.replayed += replayed
        self.kinds[letter.kind or "unknown"] += 1
        if letter.time is not None:
            self.oldest = min(self.oldest or letter.time, letter.time)
            self.newest = max(self.newest or letter.time, letter.time)

    def as_dict(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "pending": self.pending,
            "replayed": self.replayed,
            "oldest": rfc3339(self.oldest),
            "newest": rfc3339(self.newest),
            "kinds": dict(self.kinds.most_common()),
        }

    def as_line(self) -> str:
        if not self.total:
            return "empty"
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self.kinds.most_common())
        times = f"  {local(self.oldest)} to {local(self.newest)}" if self.oldest is not None else ""
        return f"{self.pending:,} pending, {self.replayed:,} replayed  {kinds}{times}"


def as_dict(topic: str, letter: DeadLetter, replayed: bool) -> dict[str, Any]:
    """`event` as the function saw it, or null; then `value` is there, as text."""
    event = None if letter.is_pointer else event_of(_record(topic, letter))
    shown: dict[str, Any] = {
        "topic": topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "id": letter.id,
        "key": text_of(letter.record.key),
        "kind": letter.kind,
        "error": letter.error,
        "attempts": letter.attempts,
        "function": letter.function,
        "group": letter.group,
        "origin": None if letter.origin is None else letter.origin._asdict(),
        "time": rfc3339(letter.time),
        "replays": letter.replays,
        "replayed": replayed,
        "omitted": letter.omitted,
        "event": None if event is None else _http_codec.to_dict(event),
    }
    return shown if event is not None else {**shown, "value": text_of(letter.record.value)}


def as_lines(letter: DeadLetter, replayed: bool) -> Iterable[str]:
    """Its place and fate, its error, its value."""
    key = f"  key={plain(text_of(letter.record.key))}" if letter.record.key is not None else ""
    attempts = f" after {letter.attempts} attempt{'s' * (letter.attempts != 1)}" if letter.attempts is not None else ""
    again = f", replayed before ({letter.replays})" if letter.replays else ""
    state = "replayed" if replayed else "pending"
    whose = f"{letter.function or 'an unknown function'} of {letter.origin or 'an unknown place'}"
    yield f"{letter.id}  {local(letter.time)}  {state}  {letter.kind or 'unknown'}{attempts}{again}  {whose}{key}"
    if letter.error is not None:
        yield f"    {plain(letter.error)}"
    if letter.is_pointer:
        yield f"    too large to be kept here: {letter.omitted} {letter.origin}"
    else:
        yield f"    {plain(text_of(letter.record.value))}"


def _record(topic: str, letter: DeadLetter) -> Shown:
    from upon_triggers.kafka.dead_letter import OWN, REPLAYS

    record = letter.record
    headers = [(name, value) for name, value in record.headers if name not in OWN and name != REPLAYS]
    place = letter.origin
    if place is None:
        return Shown(topic, letter.partition, letter.offset, record.key, record.value, headers, record.timestamp)
    timestamp = record.timestamp if place.timestamp is None else place.timestamp
    return Shown(place.topic, place.partition, place.offset, record.key, record.value, headers, timestamp)


def counted(number: int) -> str:
    return f"{number:,} letter{'s' * (number != 1)}"


def text_of(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "replace")


def plain(text: str | None) -> str:
    """On one line, of bearable length, and harmless to a terminal."""
    if text is None:
        return "null"
    kept = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:MOST_SHOWN])
    return kept if len(text) <= MOST_SHOWN else f"{kept}… ({len(text):,} characters)"


def rfc3339(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local(moment: datetime | None) -> str:
    return "at an unknown time" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")
