"""Dead letters back to where they came from: confirmed first, noted as replayed then, in small steps.

Whoever kills a replay repeats at most what was written since the last note: WINDOW letters, or those of WINDOW_SECONDS.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple, Protocol

from upon import UponError
from upon_triggers.kafka import dead_letter as told
from upon_triggers.kafka.dead_letters import Archive, Span, letters, original
from upon_triggers.kafka.letter import DeadLetter, Filter, Place, replay_headers
from upon_triggers.kafka.replayed import Replayed
from upon_triggers.kafka.transport import Headers, Record
from upon_triggers.source import SourceError

WINDOW = 100
WINDOW_SECONDS = 1.0
LONGEST_NAP = 0.2  # seconds, after which a wait for the rate looks whether it should stop
CATCH_UP_SECONDS = 0.05  # how far a late letter may hasten the next


class Outgoing(NamedTuple):
    """A record to write. partition: None leaves the choice to the key."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers


class Writer(Protocol):
    def write(self, records: Sequence[Outgoing]) -> list[UponError | None]:
        """Write and wait for the confirmations: for each record None, or why it can never be written.

        Raises SourceError or TimeoutError where the brokers can't be had.
        """
        ...


class Ledger(Protocol):
    """What was replayed, for as long as nobody else replays the same topic."""

    replayed: dict[int, Replayed]

    def save(self, partition: int) -> None:
        """Keep it. Raises SourceError where that can't be done, or the partition was taken over."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What to replay and how. limit: letters. to: a topic in place of the origin. again: what was replayed, too.

    everyone: any group that reads the topic is to handle it, not only the one that gave it up. rate: letters a second,
    0 without limit.
    """

    filter: Filter = Filter()  # noqa: RUF009 - frozen
    limit: int | None = None
    to: str | None = None
    everyone: bool = False
    again: bool = False
    rate: float = 100.0


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of one letter. outgoing: what is written; reason: why it stays where it is."""

    letter: DeadLetter
    outgoing: Outgoing | None
    reason: str = ""

    @property
    def status(self) -> Literal["replayed", "left"]:
        return "left" if self.outgoing is None else "replayed"


@dataclass(slots=True)
class Result:
    """replayed, left: numbers of letters; left are those that can't be replayed. ended: why before the end.

    full_at: the letter for which there is no room in the notes.
    """

    replayed: int = 0
    left: int = 0
    ended: Literal["", "stopped", "limit", "full"] = ""
    full_at: str = ""


class Planner:
    """Decides for each letter what is written where; reads, and writes nothing."""

    def __init__(self, archive: Archive, wish: Wish) -> None:
        self._archive = archive
        self._wish = wish
        self._partitions: dict[str, int] = {}
        self._groups: dict[tuple[str, str], bool] = {}
        self._known = archive.topics()

    def step(self, letter: DeadLetter) -> Step:
        origin = letter.origin
        topic = self._wish.to or (origin.topic if origin is not None else None)
        if topic is None:
            return Step(letter, None, "it does not say where it came from: name a topic with --to")
        if topic not in self._known:
            return Step(letter, None, f"there is no topic {topic!r} any more: make it, or name another with --to")
        record: Record | None = letter.record
        if letter.is_pointer:
            record = original(self._archive, origin) if origin is not None else None
        if record is None:
            return Step(letter, None, f"it only points at {origin}, and that record is gone")
        group = self._group(letter)
        if group is not None and not self._is_there(group, topic):
            return Step(
                letter,
                None,
                f"the group {group!r} has never committed in {topic!r}, all others would pass it over:"
                " start it, or use --all-groups",
            )
        return Step(letter, self._outgoing(letter, record, topic, group))

    def _is_there(self, group: str, topic: str) -> bool:
        if (group, topic) not in self._groups:
            try:
                self._groups[group, topic] = bool(self._archive.committed(group, topic))
            except SourceError:  # without the right to look, the letter's word has to do
                self._groups[group, topic] = True
        return self._groups[group, topic]

    def _outgoing(self, letter: DeadLetter, record: Record, topic: str, group: str | None) -> Outgoing:
        origin = letter.origin
        if letter.is_pointer and origin is not None and record.timestamp >= 0:
            origin = origin._replace(timestamp=record.timestamp)
        headers = replay_headers(letter, record.headers, origin, group)
        return Outgoing(topic, self._partition(origin, topic), record.key, record.value, headers)

    def _group(self, letter: DeadLetter) -> str | None:
        """Groups that read another topic are other groups: there, everyone handles it."""
        return None if self._wish.everyone or self._wish.to is not None else letter.group

    def _partition(self, origin: Place | None, topic: str) -> int | None:
        if origin is None or origin.topic != topic:
            return None
        if topic not in self._partitions:
            self._partitions[topic] = len(self._archive.bounds(topic))
        return origin.partition if origin.partition < self._partitions[topic] else None


def preview(
    archive: Archive, topic: str, bounds: Mapping[int, Span], replayed: Mapping[int, Replayed], wish: Wish
) -> Iterator[Step]:
    """What a replay would do now; nothing is written."""
    planner = Planner(archive, wish)
    pending = {n: (span[0] if wish.again else replayed[n].pending, span[1]) for n, span in bounds.items()}
    wanted = (
        letter
        for letter in letters(archive, topic, wish.filter.spans(pending))
        if wish.filter.matches(letter) and (wish.again or letter.offset not in replayed[letter.partition])
    )
    return map(planner.step, islice(wanted, wish.limit))


@dataclass(slots=True)
class Replay:
    """One run over a dead-letter topic. bounds: what it held when the run began; later letters wait for the next.

    stop: asked between letters. told: of every letter, once it is settled. nap: waits, for the rate.
    """

    archive: Archive
    topic: str
    bounds: dict[int, Span]
    wish: Wish
    planner: Planner
    writer: Writer
    ledger: Ledger
    stop: Callable[[], bool] = lambda: False
    told: Callable[[Step], None] = lambda step: None
    clock: Callable[[], float] = time.monotonic
    nap: Callable[[float], object] = time.sleep
    result: Result = field(default_factory=Result)
    _window: list[Step] = field(default_factory=list)
    _began: float = 0.0
    _due: float = 0.0

    def run(self) -> Result:
        """Raises SourceError and TimeoutError; what was confirmed before is noted then, too."""
        for number, span in sorted(self.wish.filter.spans(self.bounds).items()):
            self._partition(number, span)
            if self.result.ended:
                break
        return self.result

    def _partition(self, number: int, span: Span) -> None:
        replayed = self.ledger.replayed[number]
        first, end = span
        if not self.wish.again:
            first = max(first, replayed.pending)
        expected = first
        try:
            for record in self.archive.read(self.topic, number, (first, end)):
                replayed.skip(expected, record.offset)  # no letters: markers of transactions, or compacted away
                expected = record.offset + 1
                if not self._letter(DeadLetter.read(number, record), replayed):
                    return
            replayed.skip(expected, end)
        finally:
            self._flush()
            self.ledger.save(number)  # also where nothing was written: of what is no letter

    def _letter(self, letter: DeadLetter, replayed: Replayed) -> bool:
        """False where the run has to end before it."""
        if letter.offset in replayed and not self.wish.again:
            return True
        if not self.wish.filter.matches(letter):
            return True
        if self.stop() or self._count == self.wish.limit:
            return self._end("limit" if self._count == self.wish.limit else "stopped")
        step = self.planner.step(letter)
        if step.outgoing is None:
            self._settle(step)
            return True
        if not replayed.has_room_for(letter.offset):
            self._flush()  # the letters in hand may be the first pending ones
            if not replayed.has_room_for(letter.offset):
                self.result.full_at = letter.id
                return self._end("full")
        if not self._wait_for_turn():
            return self._end("stopped")
        self._take(step)
        return True

    def _end(self, why: Literal["stopped", "limit", "full"]) -> bool:
        self.result.ended = why
        return False

    @property
    def _count(self) -> int:
        return self.result.replayed + self.result.left + len(self._window)

    def _wait_for_turn(self) -> bool:
        """Keep to the rate; False where the wait was called off."""
        if self.wish.rate <= 0:
            return True
        if self._due > self.clock() + WINDOW_SECONDS:
            self._flush()
        while (left := self._due - self.clock()) > 0:
            if self.stop():
                return False
            self.nap(min(left, LONGEST_NAP))
        self._due = max(self._due, self.clock() - CATCH_UP_SECONDS) + 1 / self.wish.rate
        return True

    def _take(self, step: Step) -> None:
        if not self._window:
            self._began = self.clock()
        self._window.append(step)
        if len(self._window) >= WINDOW or self.clock() >= self._began + WINDOW_SECONDS:
            self._flush()

    def _flush(self) -> None:
        steps, self._window = self._window, []
        if not steps:
            return
        errors = self.writer.write([step.outgoing for step in steps if step.outgoing is not None])
        for step, error in zip(steps, errors, strict=True):
            if error is None:
                self.ledger.replayed[step.letter.partition].add(step.letter.offset)
            self._settle(step if error is None else Step(step.letter, None, str(error)))
        self.ledger.save(steps[0].letter.partition)

    def _settle(self, step: Step) -> None:
        if step.outgoing is None:
            self.result.left += 1
        else:
            self.result.replayed += 1
        self.told(step)


def group_of(step: Step) -> str | None:
    """The only group that is to handle it."""
    assert step.outgoing is not None
    value = dict(step.outgoing.headers).get(told.REPLAY_GROUP)
    return value.decode("utf-8", "replace") if value else None
