"""The delivery of one Kafka trigger: a loop body without threads, clocks or sockets of its own.

One thread calls `step`. Everything that comes from other threads (outcomes, confirmations) goes through an inbox
and wakes the consumer's poll. Per record the order of acts is: handled, reply or dead letter confirmed, finished,
committed. Polling never stops: a partition with enough records in hand is paused instead.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any

from upon import DataError, Done, Event, Failed, MalformedEvent, Outcome, TooLarge
from upon._kafka_codec import read_record
from upon._sink import Sink
from upon._triggers import Batched, KafkaTrigger
from upon_triggers.kafka.assignment import Assignment, Lane
from upon_triggers.kafka.run import BatchRun, Run, reply_of
from upon_triggers.kafka.settle import Letter, Settler
from upon_triggers.kafka.transport import Batch, Consumer, Partition, Position, Record, RecordPublisher
from upon_triggers.retry import Again, busy_delay, decide
from upon_triggers.settings import Delivery

log = logging.getLogger("upon.kafka")

COMMIT_EVERY = 1.0  # seconds
COMMIT_RECORDS = 1000  # finished records of all partitions, whichever comes first
LONGEST_WAIT = 1.0
PARALLEL_RUNS = 64  # submissions at once, where the order allows several


class Revocation:
    """Partitions on their way to another member, held until what is in hand is finished or the time is over."""

    def __init__(self, assignments: Sequence[Assignment], deadline: float) -> None:
        self.assignments = assignments
        self.deadline = deadline


class Engine:
    """Records in, events to the sink, commits out. Its Consumer is given by `attach` and may be replaced."""

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
        drain_timeout: float,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.trigger = trigger
        self.function = function
        self.delivery = delivery
        self.batched = batched
        self.held = False
        self.handled = 0
        self.dead_letters = 0
        self.retries = 0
        self.busy_since: float | None = None
        self.assignments: dict[Partition, Assignment] = {}
        self._event_source = event_source
        self._sink = sink
        self._drain_timeout = drain_timeout
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
        self._inbox: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._woken = False
        self._timers: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._serial = count()
        self._ready: deque[Lane] = deque()
        self._ready_since = 0.0
        self._runs: set[Run] = set()
        self._submitted = 0
        self._revocations: list[Revocation] = []
        self._unpublished = 0  # publish failures in a row
        self._finished = 0
        self._committing = False
        self._next_commit = 0.0
        self._consumer: Consumer | None = None

    # The loop

    def attach(self, consumer: Consumer) -> None:
        self._consumer = consumer

    def step(self, wait: float = 0.0) -> bool:
        """One round; waits up to `wait` seconds for records or outcomes. False when there was nothing to do.

        Raises TransportError when the consumer is beyond help; `abandon` and `attach` another.
        """
        assert self._consumer is not None
        records = self._consumer.poll(0.0 if self._inbox else wait)
        now = self._clock()
        moved = self._take(records, now)
        moved = self._read_inbox() or moved
        moved = self._fire(now) or moved
        moved = self._dispatch(now) or moved
        self._pace()
        self._release(now)
        self._commit(now)
        return moved

    def wait(self) -> float:
        """Seconds until time alone makes something due."""
        now = self._clock()
        due = now + LONGEST_WAIT
        if self._timers:
            due = min(due, self._timers[0][0])
        if self._ready and self.batched is not None and not self.held and self._submitted < PARALLEL_RUNS:
            due = min(due, self._ready_since + self.batched.max_wait)
        if (self._runs or self._finished) and not self._committing:
            due = min(due, self._next_commit)
        for revocation in self._revocations:
            due = min(due, revocation.deadline)
        return max(due - now, 0.0)

    def next_due(self) -> float | None:
        """When the next retry is due, by the clock; None without one."""
        return self._timers[0][0] if self._timers else None

    @property
    def in_flight(self) -> int:
        return sum(assignment.in_hand for assignment in list(self.assignments.values()))

    @property
    def retrying(self) -> int:
        return len(self._timers)

    def _post(self, act: Callable[..., None], *arguments: Any) -> None:
        """From any thread: have the loop do it."""
        self._inbox.append((act, arguments))
        if not self._woken:
            self._woken = True
            if self._consumer is not None:
                self._consumer.wake()

    def _read_inbox(self) -> bool:
        self._woken = False
        inbox = self._inbox
        found = bool(inbox)
        while inbox:
            act, arguments = inbox.popleft()
            act(*arguments)
        return found

    def _at(self, due: float, act: Callable[..., None], *arguments: Any) -> None:
        heappush(self._timers, (due, next(self._serial), act, arguments))

    def _fire(self, now: float) -> bool:
        fired = False
        while self._timers and self._timers[0][0] <= now:
            _, _, act, arguments = heappop(self._timers)
            act(*arguments)
            fired = True
        return fired

    # Records come in

    def _take(self, batch: Batch, now: float) -> bool:
        for partition, records in batch.items():
            assignment = self.assignments.get(partition)
            if assignment is None:
                continue
            for lane in assignment.take(records):
                self._make_ready(lane, now)
        return bool(batch)

    def _make_ready(self, lane: Lane, now: float | None = None) -> None:
        if not lane.assignment.live:
            return
        if not lane.queue:
            lane.assignment.rest(lane)
            return
        if not self._ready:
            self._ready_since = self._clock() if now is None else now
        self._ready.append(lane)

    # Events go out

    def _dispatch(self, now: float) -> bool:
        if self.held:
            return False
        submitted = False
        while self._ready and self._submitted < PARALLEL_RUNS:
            if self.batched is not None:
                if not self._batch_is_due(self.batched, now):
                    break
                self._submit_batch(self.batched.max_size)
            else:
                self._submit_run(self._ready.popleft(), now)
            submitted = True
        return submitted

    def _batch_is_due(self, batched: Batched, now: float) -> bool:
        if now >= self._ready_since + batched.max_wait:
            return True
        return sum(len(lane.queue) for lane in self._ready) >= batched.max_size

    def _submit_run(self, lane: Lane, now: float) -> None:
        if not _may_begin(lane):
            return
        records, events = self._read(lane, lane.take(lane.run_limit))
        if not records:
            self._make_ready(lane)
            return
        run = Run(lane, records, events, began=now, answer=self._answer, ended=self._on_run_ended)
        self._runs.add(run)
        self._submitted += 1
        if len(events) == 1:
            self._sink.submit(events[0], run.on_done, function=self.function)
        else:
            self._sink.submit_run(events, run.on_item, function=self.function)

    def _submit_batch(self, most: int) -> None:
        items: list[tuple[Lane, Record]] = []
        events: list[Event[Any]] = []
        while self._ready and len(items) < most:
            lane = self._ready[0]
            if not _may_begin(lane):
                self._ready.popleft()
                continue
            alone = lane.head_is_retried()  # it may be what failed its whole batch
            if alone and items:
                break
            self._ready.popleft()
            records, read = self._read(lane, self._fresh(lane, 1 if alone else most - len(items)))
            if not records:
                self._make_ready(lane)
                continue
            items += [(lane, record) for record in records]
            events += read
            if alone:
                break
        if items:
            self._submitted += 1
            batch = BatchRun(items, events, self._on_batch_ended)
            self._sink.submit_batch(events, batch.on_batch, function=self.function)

    def _fresh(self, lane: Lane, most: int) -> list[Record]:
        """The next records, up to the first that was tried before."""
        attempts = lane.assignment.attempts
        if attempts:
            tried = (index for index, record in enumerate(lane.queue) if record.offset in attempts)
            most = min(most, max(next(tried, most), 1))
        return lane.take(most)

    def _read(self, lane: Lane, records: Sequence[Record]) -> tuple[Sequence[Record], list[Event[Any]]]:
        """Records as events; one that is none goes to the dead letter at once."""
        assignment = lane.assignment
        topic, number = assignment.partition
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
                    value_format=self.trigger.value,
                    source=self._event_source,
                )
            except (MalformedEvent, DataError) as error:
                self._bury(assignment, record, Failed("malformed", str(error), cause=error))
                continue
            attempt = assignment.attempts.get(record.offset) if assignment.attempts else None
            events.append(event if attempt is None else event._copy(attempt=attempt))
            good.append(record)
        return good, events

    # Outcomes come back

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
            self._answered(lane)
            lane.ran(run.handled, self._clock() - run.began)
        rest = run.records[run.handled :]
        if failure is None:
            self._make_ready(lane)
            return
        delay = self._failed(lane, rest[0], failure)
        lane.put_back(rest if delay is not None else rest[1:])
        self._resume_lane(lane, delay)

    def _batch_ended(self, batch: BatchRun, outcomes: Sequence[Outcome]) -> None:
        self._submitted -= 1
        again: dict[Lane, list[Record]] = {lane: [] for lane in batch.lanes if lane.assignment.live}
        delays: dict[Lane, float] = {}
        for (lane, record), event, outcome in zip(batch.items, batch.events, outcomes, strict=True):
            if not lane.assignment.live:
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
            self._resume_lane(lane, delays.get(lane))

    def _resume_lane(self, lane: Lane, delay: float | None) -> None:
        if delay is None:
            self._make_ready(lane)
        else:
            self._at(self._clock() + delay, self._make_ready, lane)

    def _done(self, lane: Lane, record: Record, event: Event[Any], outcome: Done) -> None:
        self._answered(lane)
        self.handled += 1
        reply = reply_of(outcome)
        if reply is not None and self._answer is not None:
            self._answer(lane.assignment, record, event, reply)
        else:
            self._finish(lane.assignment, record)

    def _answered(self, lane: Lane) -> None:
        """The function is there: whoever was busy is not any more."""
        lane.busy = 0
        if self._unpublished == 0:
            self.busy_since = None

    def _failed(self, lane: Lane, record: Record, failure: Failed, *, first: bool = True) -> float | None:
        """Seconds until the record's next try; None when it is out of the lane's hands."""
        assignment = lane.assignment
        attempt = assignment.attempts.get(record.offset, 1)
        decision = decide(failure, attempt, self.delivery, self._rng, busy=lane.busy)
        if not isinstance(decision, Again):
            self._bury(assignment, record, failure)
            return None
        if decision.counts:
            assignment.attempts[record.offset] = attempt + 1
            self.retries += 1
        elif first:
            lane.busy += 1
            self._is_busy()
        return decision.delay

    def _is_busy(self) -> None:
        if self.busy_since is None:
            self.busy_since = self._clock()

    def _bury(self, assignment: Assignment, record: Record, failure: Failed) -> None:
        self.dead_letters += 1
        if not self._settler.bury(assignment, record, failure, assignment.attempts.get(record.offset, 1)):
            self._finish(assignment, record)

    def _published(self, letter: Letter, error: BaseException | None) -> None:
        if not letter.assignment.live:
            return
        if error is None:
            self._unpublished = 0
            self._finish(letter.assignment, letter.record)
        elif isinstance(error, (TooLarge, DataError)):
            if letter.kind == "reply":
                self._bury(letter.assignment, letter.record, Failed("rejected", str(error), cause=error))
            else:
                self._settler.bury_pointer(letter)
        else:
            if self._unpublished == 0:
                log.warning("%s: %s can't be written, trying on: %s", self.function, letter.topic, error)
            self._unpublished += 1
            self._is_busy()
            streak = min(self._unpublished // 64, 16)  # many letters fail at once in one outage
            self._at(self._clock() + busy_delay(streak, self._rng), self._write_again, letter)

    def _write_again(self, letter: Letter) -> None:
        if letter.assignment.live:
            self._settler.write(letter)

    def _finish(self, assignment: Assignment, record: Record) -> None:
        self._finished += 1
        assignment.finish(record.offset)

    def _collect(self, run: Run) -> None:
        if run.lane.assignment.live:
            fresh = run.handled - run.collected
            self.handled += fresh
            self._finished += fresh
            run.collect()

    # Flow

    def _pace(self) -> None:
        """Pause partitions with enough in hand, resume those with room."""
        most = self.delivery.max_in_flight
        for partition, assignment in self.assignments.items():
            waiting = len(assignment.window)
            if assignment.paused:
                if not self.held and not assignment.revoked and waiting <= most // 2:
                    assignment.paused = False
                    self._consumer_now.resume((partition,))
            elif self.held or waiting >= most:
                assignment.paused = True
                self._consumer_now.pause((partition,))

    def _commit(self, now: float) -> None:
        if self._committing or (now < self._next_commit and self._finished < COMMIT_RECORDS):
            return
        for run in self._runs:
            self._collect(run)
        self._next_commit = now + COMMIT_EVERY
        self._finished = 0
        positions = self._positions(self.assignments.values())
        if positions:
            self._committing = True
            epochs = {partition: self.assignments[partition] for partition in positions}
            self._consumer_now.commit(positions, partial(self._post, self._committed, epochs, positions))

    def _committed(
        self, epochs: dict[Partition, Assignment], positions: dict[Partition, Position], error: BaseException | None
    ) -> None:
        self._committing = False
        if error is not None:
            log.info("%s: a commit failed and will be repeated: %s", self.function, error)
            self._finished += 1
            return
        for partition, position in positions.items():
            epochs[partition].committed = position.offset

    def positions(self) -> dict[Partition, Position]:
        """What a last commit has to say."""
        for run in self._runs:
            self._collect(run)
        return self._positions(self.assignments.values())

    def _positions(self, assignments: Iterable[Assignment]) -> dict[Partition, Position]:
        return {a.partition: position for a in assignments if (position := a.to_commit()) is not None}

    @property
    def _consumer_now(self) -> Consumer:
        assert self._consumer is not None
        return self._consumer

    # The assignment changes

    def on_assigned(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            self.assignments[partition] = Assignment(partition, self.trigger.ordering)

    def on_revoked(self, partitions: Iterable[Partition]) -> None:
        leaving = [self.assignments[p] for p in partitions if p in self.assignments]
        for assignment in leaving:
            assignment.revoked = True
        self._revocations.append(Revocation(leaving, self._clock() + self._drain_timeout))

    def on_lost(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            self._forget(partition)

    def _release(self, now: float) -> None:
        for revocation in list(self._revocations):
            if now < revocation.deadline and any(a.live and a.in_hand for a in revocation.assignments):
                continue
            self._revocations.remove(revocation)
            for run in self._runs:
                self._collect(run)
            leaving = [a for a in revocation.assignments if a.live]
            late = sum(a.in_hand for a in leaving)
            if late:
                log.warning("%s: %d records outlived the revocation and come again elsewhere", self.function, late)
            positions = self._positions(leaving)
            for assignment in leaving:
                self._forget(assignment.partition)
            self._consumer_now.release([a.partition for a in revocation.assignments], positions)

    def _forget(self, partition: Partition) -> None:
        assignment = self.assignments.pop(partition, None)
        if assignment is not None:
            assignment.live = False

    def abandon(self) -> None:
        """Drop everything: what is not committed comes again."""
        self.on_lost(list(self.assignments))
        self._revocations.clear()
        self._ready.clear()
        self._timers.clear()
        self._committing = False
        self._consumer = None


def _may_begin(lane: Lane) -> bool:
    return lane.assignment.live and not lane.assignment.revoked
