"""What was handed to the sink in one call, and how its outcomes find their way back to the source's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from upon import Done, Event, Failed, Outcome
from upon._outcome import DONE
from upon_triggers.kafka.assignment import Assignment
from upon_triggers.kafka.lane import Lane
from upon_triggers.kafka.transport import Record

Answer: TypeAlias = Callable[[Assignment, Record, Event[Any], Done], bool]


class Run:
    """Records of one lane, handled one after another.

    handled: how many were handled, written by the sink's thread. collected: how many of these the source has
    taken note of. answered: indices whose reply has to be confirmed first.
    """

    __slots__ = ("_answer", "_ended", "answered", "began", "collected", "events", "handled", "lane", "records")

    def __init__(
        self,
        lane: Lane,
        records: Sequence[Record],
        events: Sequence[Event[Any]],
        *,
        began: float,
        answer: Answer | None,
        ended: Callable[[Run, Failed | None], None],
    ) -> None:
        self.lane = lane
        self.records = records
        self.events = events
        self.began = began
        self.handled = 0
        self.collected = 0
        self.answered: set[int] = set()
        self._answer = answer
        self._ended = ended

    def on_item(self, index: int, outcome: Outcome) -> None:
        """The sink's callback: any thread, in order, nothing after the first that is not Done."""
        if outcome is DONE:  # most of them, and nothing to answer
            self.handled = index + 1
            if self.handled == len(self.records):
                self._ended(self, None)
            return
        if isinstance(outcome, Failed):
            self._ended(self, outcome)
            return
        assignment = self.lane.assignment
        if (
            self._answer is not None
            and assignment.live
            and self._answer(assignment, self.records[index], self.events[index], outcome)
        ):
            self.answered.add(index)
        self.handled = index + 1
        if self.handled == len(self.records):
            self._ended(self, None)

    def on_done(self, outcome: Outcome) -> None:
        """The same for a run of one."""
        self.on_item(0, outcome)

    def collect(self) -> None:
        """Finish what was handled and needs no reply. For the source's thread."""
        first, upto, answered = self.collected, self.handled, self.answered
        records = self.records[first:upto]
        if answered:
            records = [record for index, record in enumerate(records, first) if index not in answered]
        self.lane.assignment.finish_all(records)
        self.collected = upto


class BatchRun:
    """Records of one or more lanes that a batch handler gets at once: `parts` follow each other as `events` do."""

    __slots__ = ("_ended", "events", "parts")

    def __init__(
        self,
        parts: Sequence[tuple[Lane, Sequence[Record]]],
        events: Sequence[Event[Any]],
        ended: Callable[[BatchRun, Sequence[Outcome]], None],
    ) -> None:
        self.parts = parts
        self.events = events
        self._ended = ended

    def on_batch(self, outcomes: Sequence[Outcome]) -> None:
        """The sink's callback, from any thread."""
        self._ended(self, outcomes)

    @property
    def lanes(self) -> list[Lane]:
        return list(dict.fromkeys(lane for lane, _ in self.parts))

    @property
    def items(self) -> Iterator[tuple[Lane, Record]]:
        return ((lane, record) for lane, records in self.parts for record in records)
