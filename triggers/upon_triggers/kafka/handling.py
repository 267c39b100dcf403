"""From records to outcomes: lanes that are ready go to the sink, and what comes back decides how they go on."""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from upon import DataError, Done, Event, Failed, MalformedEvent, Outcome, TooLarge, UponError
from upon._kafka_codec import PartitionReader
from upon._outcome import all_plain
from upon._sink import Sink
from upon._triggers import Batched, KafkaTrigger
from upon_triggers.kafka.assignment import Assignment
from upon_triggers.kafka.dead_letter import is_for_another
from upon_triggers.kafka.lane import Lane
from upon_triggers.kafka.run import BatchRun, Run
from upon_triggers.kafka.settle import Letter, Settler
from upon_triggers.kafka.suspicion import DEATHS
from upon_triggers.kafka.transport import Partition, Record, RecordPublisher
from upon_triggers.kafka.turns import Inbox, Timers
from upon_triggers.retry import Again, busy_delay, decide
from upon_triggers.settings import Delivery

log = logging.getLogger("upon.kafka")

PARALLEL_RUNS = 64  # submissions at once, where the order allows several

_headers_of = attrgetter("headers")


class Handling:
    """All records of one trigger, of whatever partition. Everything but the callbacks is for the loop's thread.

    held: begin nothing new. finished: records since the last commit. busy_since: by the clock, while the function
    or the brokers can't be had. unpublished: why replies or dead letters can't be written, as long as that lasts.
    """

    def __init__(
        self,
        trigger: KafkaTrigger,
        *,
        function: str,
        event_source: str,
        group: str | None = None,
        sink: Sink,
        publisher: RecordPublisher,
        dead_topic: str | None,
        delivery: Delivery,
        batched: Batched | None,
        inbox: Inbox,
        timers: Timers,
        clock: Callable[[], float],
        rng: random.Random,
        transacted: bool = False,
    ) -> None:
        self.held = False
        self.handled = 0
        self.dead_letters = 0
        self.retries = 0
        self.skipped = 0
        self.finished = 0
        self.busy_since: float | None = None
        self._trigger = trigger
        self._function = function
        self._event_source = event_source
        self._group = group
        self._sink = sink
        self._delivery = delivery
        self._batched = batched
        self._post = inbox.post
        self._timers = timers
        self._clock = clock
        self._rng = rng
        self._settler = Settler(
            publisher,
            lambda letter, error: self._post(self._published, letter, error),
            function=function,
            group=group,
            reply_to=trigger.reply_to,
            dead_topic=dead_topic,
            hold=(lambda letters: self._post(self._held_back, letters)) if transacted else None,
        )
        self._answer = self._settler.answer if transacted or trigger.reply_to is not None else None
        self._ready: deque[Lane] = deque()
        self._ready_since = 0.0
        self._runs: set[Run] = set()
        self._readers: dict[Partition, PartitionReader] = {}
        self._submitted = 0
        self.unpublished: str | None = None

    # Lanes

    def make_ready(self, lane: Lane) -> None:
        """The lane may go on: with its next record, or to rest."""
        if not lane.assignment.live:
            return
        if not lane.queue:
            lane.assignment.rest(lane)
            return
        if not self._ready:
            self._ready_since = self._clock()
        self._ready.append(lane)

    def _after(self, delay: float | None, lane: Lane) -> None:
        if delay is None:
            self.make_ready(lane)
        else:
            self._timers.at(self._clock() + delay, self.make_ready, lane)

    def clear(self) -> None:
        self._ready.clear()

    @property
    def next_due(self) -> float | None:
        """When a batch is taken as it is."""
        if self._batched is None or self.held or not self._ready or self._submitted >= PARALLEL_RUNS:
            return None
        return self._ready_since + self._batched.max_wait

    @property
    def under_way(self) -> bool:
        """Whether records may have been handled that nobody has taken note of."""
        return bool(self._runs)

    def collect(self) -> None:
        """Take note of what runs have handled so far."""
        for run in self._runs:
            self._collect(run)

    def _collect(self, run: Run) -> None:
        if run.lane.assignment.live:
            fresh = run.handled - run.collected
            self.handled += fresh
            self.finished += fresh
            run.collect()

    # To the sink

    def dispatch(self, now: float) -> bool:
        """Submit what is ready; False when nothing was."""
        submitted = False
        while self._ready and not self.held and self._submitted < PARALLEL_RUNS:
            if self._batched is None:
                self._submit_run(self._ready.popleft(), now)
            elif self._batch_is_due(self._batched, now):
                self._submit_batch(self._batched.max_size)
            else:
                break
            submitted = True
        return submitted

    def _submit_run(self, lane: Lane, now: float) -> None:
        if not lane.may_begin or not (most := lane.admitted(lane.run_limit)):
            return
        records, events = self._read(lane, lane.take(most))
        if not records:
            self.make_ready(lane)
            return
        lane.began(records)
        run = Run(lane, records, events, began=now, answer=self._answer, ended=self._on_run_ended)
        self._runs.add(run)
        self._submitted += 1
        if len(events) == 1:
            self._sink.submit(events[0], run.on_done, function=self._function)
        else:
            self._sink.submit_run(events, run.on_item, function=self._function)

    def _batch_is_due(self, batched: Batched, now: float) -> bool:
        if now >= self._ready_since + batched.max_wait or self._ready[0].is_guarded:
            return True
        return sum(len(lane.queue) for lane in self._ready) >= batched.max_size

    def _submit_batch(self, most: int) -> None:
        parts, events = self._gather(most)
        if parts:
            self._submitted += 1
            batch = BatchRun(parts, events, self._on_batch_ended)
            self._sink.submit_batch(events, batch.on_batch, function=self._function)

    def _gather(self, most: int) -> tuple[list[tuple[Lane, Sequence[Record]]], list[Event[Any]]]:
        """From as many lanes as it takes; but one that was tried before goes alone, for it may have failed the rest.

        Suspects of killing the process share a batch with nothing else.
        """
        parts: list[tuple[Lane, Sequence[Record]]] = []
        events: list[Event[Any]] = []
        while self._ready and len(events) < most:
            lane = self._ready[0]
            alone = lane.may_begin and lane.head_is_retried
            if parts and (alone or lane.assignment.guard is not parts[0][0].assignment.guard):
                break
            self._ready.popleft()
            if not lane.may_begin or not (allowed := lane.admitted(1 if alone else lane.fresh(most - len(events)))):
                continue
            records, read = self._read(lane, lane.take(allowed))
            if not records:
                self.make_ready(lane)
                continue
            lane.began(records)
            parts.append((lane, records))
            events += read
            if alone:
                break
        return parts, events

    def _read(self, lane: Lane, records: Sequence[Record]) -> tuple[Sequence[Record], list[Event[Any]]]:
        """Records as events; one that is none goes to the dead letter at once, another group's replay nowhere."""
        assignment = lane.assignment
        attempts = assignment.attempts
        read = self._reader_of(assignment.partition).read
        if not attempts and not any(map(_headers_of, records)):  # nothing of what follows can happen
            return records, list(map(read, records))
        events: list[Event[Any]] = []
        good: list[Record] = []
        for record in records:
            if record.headers and is_for_another(record.headers, self._group):
                self.skipped += 1
                self._finish(assignment, record)
                continue
            try:
                event = read(record)
            except (MalformedEvent, DataError) as error:
                self._bury(assignment, record, Failed("malformed", str(error), cause=error))
                continue
            if attempts and record.offset in attempts:
                event = event._copy(attempt=attempts[record.offset])
            events.append(event)
            good.append(record)
        return good, events

    def _reader_of(self, partition: Partition) -> PartitionReader:
        reader = self._readers.get(partition)
        if reader is None:
            reader = PartitionReader(*partition, value_format=self._trigger.value, source=self._event_source)
            self._readers[partition] = reader
        return reader

    # Back from the sink

    def _on_run_ended(self, run: Run, failure: Failed | None) -> None:
        self._post(self._run_ended, run, failure)

    def _on_batch_ended(self, batch: BatchRun, outcomes: Sequence[Outcome]) -> None:
        self._post(self._batch_ended, batch, outcomes)

    def _run_ended(self, run: Run, failure: Failed | None) -> None:
        self._runs.discard(run)
        self._submitted -= 1
        lane = run.lane
        if not lane.assignment.live:
            return
        self._collect(run)
        lane.ended(run.records, failed=failure is not None)
        if run.handled:
            self._had_an_answer(lane)
            lane.ran(run.handled, self._clock() - run.began)
        delay = None
        if failure is not None:
            rest = run.records[run.handled :]
            delay = self._failed(lane, rest[0], failure)
            lane.put_back(rest if delay is not None else rest[1:])
        self._after(delay, lane)

    def _batch_ended(self, batch: BatchRun, outcomes: Sequence[Outcome]) -> None:
        self._submitted -= 1
        plain = all_plain(outcomes)
        for lane, records in batch.parts:
            lane.ended(records, failed=not plain)
        if plain:
            self._all_done(batch)
            return
        again: dict[Lane, list[Record]] = {lane: [] for lane in batch.lanes if lane.assignment.live}
        delays: dict[Lane, float] = {}
        for (lane, record), event, outcome in zip(batch.items, batch.events, outcomes, strict=True):
            if lane not in again:
                continue
            if isinstance(outcome, Done):
                self._done(lane, record, event, outcome)
                continue
            delay = self._failed(lane, record, outcome, first=lane not in delays)
            if delay is not None:
                again[lane].append(record)
                delays[lane] = max(delay, delays.get(lane, 0.0))
        for lane, records in again.items():
            lane.put_back(records)
            self._after(delays.get(lane), lane)

    def _all_done(self, batch: BatchRun) -> None:
        """The same, for many at once, without replies."""
        for lane, records in batch.parts:
            if lane.assignment.live:
                self._had_an_answer(lane)
                self.handled += len(records)
                self.finished += len(records)
                lane.assignment.finish_all(records)
        for lane in batch.lanes:
            self.make_ready(lane)

    def _done(self, lane: Lane, record: Record, event: Event[Any], outcome: Done) -> None:
        self._had_an_answer(lane)
        self.handled += 1
        if self._answer is None or not self._answer(lane.assignment, record, event, outcome):
            self._finish(lane.assignment, record)

    def _failed(self, lane: Lane, record: Record, failure: Failed, *, first: bool = True) -> float | None:
        """Seconds until the record's next try; None when it is out of the lane's hands.

        first: of several records of the lane that come back at once.
        """
        attempts = lane.assignment.attempts
        attempt = attempts.get(record.offset, 1)
        decision = decide(failure, attempt, self._delivery, self._rng, busy=lane.busy)
        if not isinstance(decision, Again):
            self._bury(lane.assignment, record, failure)
            return None
        if decision.counts:
            attempts[record.offset] = attempt + 1
            self.retries += 1
        elif first:
            lane.busy += 1
            self._is_busy()
        return decision.delay

    def _is_busy(self) -> None:
        if self.busy_since is None:
            self.busy_since = self._clock()

    def _had_an_answer(self, lane: Lane) -> None:
        lane.busy = 0
        if self.unpublished is None:
            self.busy_since = None

    # Replies and dead letters

    def give_up(self, assignment: Assignment, record: Record) -> None:
        """The record has killed its process again and again: to the dead letter, without another try."""
        self._bury(assignment, record, Failed("crashed", f"the process died {DEATHS} times while it had this record"))

    def _bury(self, assignment: Assignment, record: Record, failure: Failed) -> None:
        self.dead_letters += 1
        if not self._settler.bury(assignment, record, failure, assignment.attempts.get(record.offset, 1)):
            self._finish(assignment, record)

    def _published(self, letter: Letter, error: BaseException | None) -> None:
        if not letter.assignment.live:
            return
        if error is None:
            if self.unpublished is not None:
                self.unpublished = self.busy_since = None
            self._finish(letter.assignment, letter.record)
        elif not isinstance(error, (TooLarge, DataError)):
            self._write_later(letter, error)
        elif letter.kind == "reply":
            self._bury(letter.assignment, letter.record, Failed("rejected", str(error), cause=error))
        else:
            self._settler.bury_pointer(letter)

    def _held_back(self, letters: list[Letter]) -> None:
        """A record's letters wait for the transaction that covers it; as far as we are concerned it is finished."""
        assignment = letters[0].assignment
        if assignment.live:
            assignment.outputs += letters
            if not letters[0].is_late:
                self._finish(assignment, letters[0].record)

    def refuse(self, letter: Letter, error: UponError) -> None:
        """No transaction can write this letter: its record, finished already, gets a dead letter instead."""
        assignment = letter.assignment
        if not assignment.live or not any(waiting is letter for waiting in assignment.outputs):
            return  # another letter of the same record was refused as well
        assignment.outputs = [waiting for waiting in assignment.outputs if waiting.record is not letter.record]
        if letter.kind in ("dead", "pointer"):
            self._settler.bury_pointer(replace(letter, is_late=True))
            return
        self.dead_letters += 1
        self._settler.bury(assignment, letter.record, Failed("rejected", str(error), cause=error), 1, is_late=True)

    def _write_later(self, letter: Letter, error: BaseException) -> None:
        if self.unpublished is None:
            log.warning("%s: %s can't be written, trying on: %s", self._function, letter.topic, error)
        self.unpublished = str(error)
        self._is_busy()
        due = self._clock() + busy_delay(letter.tries, self._rng)
        self._timers.at(due, self._write_again, replace(letter, tries=letter.tries + 1))

    def _write_again(self, letter: Letter) -> None:
        if letter.assignment.live:
            self._settler.write(letter)

    def _finish(self, assignment: Assignment, record: Record) -> None:
        self.finished += 1
        assignment.finish(record.offset)
