"""From records to outcomes: lanes that are ready go to the sink, and what comes back decides how they go on."""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from upon import DataError, Done, Event, Failed, MalformedEvent, Outcome, TooLarge
from upon._kafka_codec import read_record
from upon._sink import Sink
from upon._triggers import Batched, KafkaTrigger
from upon_triggers.kafka.assignment import Assignment, Lane
from upon_triggers.kafka.run import BatchRun, Run, reply_of
from upon_triggers.kafka.settle import Letter, Settler
from upon_triggers.kafka.transport import Record, RecordPublisher
from upon_triggers.kafka.turns import Inbox, Timers
from upon_triggers.retry import Again, busy_delay, decide
from upon_triggers.settings import Delivery

log = logging.getLogger("upon.kafka")

PARALLEL_RUNS = 64  # submissions at once, where the order allows several


class Handling:
    """All records of one trigger, of whatever partition. Everything but the callbacks is for the loop's thread.

    held: begin nothing new. finished: records since the last commit. busy_since: by the clock, while the function
    or the brokers can't be had.
    """

    def __init__(
        self,
        trigger: KafkaTrigger,
        *,
        function: str,
        event_source: str,
        sink: Sink,
        publisher: RecordPublisher,
        dead_topic: str | None,
        delivery: Delivery,
        batched: Batched | None,
        inbox: Inbox,
        timers: Timers,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.held = False
        self.handled = 0
        self.dead_letters = 0
        self.retries = 0
        self.finished = 0
        self.busy_since: float | None = None
        self._trigger = trigger
        self._function = function
        self._event_source = event_source
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
            reply_to=trigger.reply_to,
            dead_topic=dead_topic,
        )
        self._answer = self._settler.answer if trigger.reply_to is not None else None
        self._ready: deque[Lane] = deque()
        self._ready_since = 0.0
        self._runs: set[Run] = set()
        self._submitted = 0
        self._unpublished = False

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
        if not lane.may_begin:
            return
        records, events = self._read(lane, lane.take(lane.run_limit))
        if not records:
            self.make_ready(lane)
            return
        run = Run(lane, records, events, began=now, answer=self._answer, ended=self._on_run_ended)
        self._runs.add(run)
        self._submitted += 1
        if len(events) == 1:
            self._sink.submit(events[0], run.on_done, function=self._function)
        else:
            self._sink.submit_run(events, run.on_item, function=self._function)

    def _batch_is_due(self, batched: Batched, now: float) -> bool:
        if now >= self._ready_since + batched.max_wait:
            return True
        return sum(len(lane.queue) for lane in self._ready) >= batched.max_size

    def _submit_batch(self, most: int) -> None:
        items, events = self._gather(most)
        if items:
            self._submitted += 1
            batch = BatchRun(items, events, self._on_batch_ended)
            self._sink.submit_batch(events, batch.on_batch, function=self._function)

    def _gather(self, most: int) -> tuple[list[tuple[Lane, Record]], list[Event[Any]]]:
        """From as many lanes as it takes; but one that was tried before goes alone, for it may have failed the rest."""
        items: list[tuple[Lane, Record]] = []
        events: list[Event[Any]] = []
        while self._ready and len(items) < most:
            lane = self._ready[0]
            alone = lane.may_begin and lane.head_is_retried
            if alone and items:
                break
            self._ready.popleft()
            if not lane.may_begin:
                continue
            records, read = self._read(lane, lane.take(1 if alone else lane.fresh(most - len(items))))
            if not records:
                self.make_ready(lane)
                continue
            items += [(lane, record) for record in records]
            events += read
            if alone:
                break
        return items, events

    def _read(self, lane: Lane, records: Sequence[Record]) -> tuple[list[Record], list[Event[Any]]]:
        """Records as events; one that is none goes to the dead letter at once."""
        assignment = lane.assignment
        topic, number = assignment.partition
        attempts = assignment.attempts
        events: list[Event[Any]] = []
        good: list[Record] = []
        for record in records:
            try:
                event = read_record(
                    topic=topic,
                    partition=number,
                    offset=record.offset,
                    key=record.key,
                    value=record.value,
                    headers=record.headers,
                    timestamp_ms=record.timestamp,
                    value_format=self._trigger.value,
                    source=self._event_source,
                )
            except (MalformedEvent, DataError) as error:
                self._bury(assignment, record, Failed("malformed", str(error), cause=error))
                continue
            if attempts and record.offset in attempts:
                event = event._copy(attempt=attempts[record.offset])
            events.append(event)
            good.append(record)
        return good, events

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

    def _done(self, lane: Lane, record: Record, event: Event[Any], outcome: Done) -> None:
        self._had_an_answer(lane)
        self.handled += 1
        reply = reply_of(outcome)
        if reply is not None and self._answer is not None:
            self._answer(lane.assignment, record, event, reply)
        else:
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
        if not self._unpublished:
            self.busy_since = None

    # Replies and dead letters

    def _bury(self, assignment: Assignment, record: Record, failure: Failed) -> None:
        self.dead_letters += 1
        if not self._settler.bury(assignment, record, failure, assignment.attempts.get(record.offset, 1)):
            self._finish(assignment, record)

    def _published(self, letter: Letter, error: BaseException | None) -> None:
        if not letter.assignment.live:
            return
        if error is None:
            if self._unpublished:
                self._unpublished, self.busy_since = False, None
            self._finish(letter.assignment, letter.record)
        elif not isinstance(error, (TooLarge, DataError)):
            self._write_later(letter, error)
        elif letter.kind == "reply":
            self._bury(letter.assignment, letter.record, Failed("rejected", str(error), cause=error))
        else:
            self._settler.bury_pointer(letter)

    def _write_later(self, letter: Letter, error: BaseException) -> None:
        if not self._unpublished:
            log.warning("%s: %s can't be written, trying on: %s", self._function, letter.topic, error)
        self._unpublished = True
        self._is_busy()
        due = self._clock() + busy_delay(letter.tries, self._rng)
        self._timers.at(due, self._write_again, replace(letter, tries=letter.tries + 1))

    def _write_again(self, letter: Letter) -> None:
        if letter.assignment.live:
            self._settler.write(letter)

    def _finish(self, assignment: Assignment, record: Record) -> None:
        self.finished += 1
        assignment.finish(record.offset)
