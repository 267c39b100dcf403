"""The Kafka source: one thread that turns an engine, and opens another consumer when one is beyond help."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from upon import UponError
from upon._sink import Sink
from upon._triggers import Batched, KafkaTrigger
from upon_triggers.kafka.assignment import Assignment
from upon_triggers.kafka.dead_letter import dead_letter_topic
from upon_triggers.kafka.engine import Engine
from upon_triggers.kafka.transport import Cluster, Consumer, RecordPublisher
from upon_triggers.kafka.turnstile import PROCESS, Turnstile
from upon_triggers.settings import Delivery

log = logging.getLogger("upon.kafka")

OPEN_TIMEOUT = 10.0  # seconds for a broker to answer at the start
REOPEN_AFTER = 1.0  # seconds between two consumers
LEAVE_TIMEOUT = 5.0  # seconds for the last commit and the farewell, on top of the drain


class KafkaSource:
    """Records of one topic, for one function.

    cluster: where the topics live: a KafkaCluster or a MemoryBroker. publisher: writes replies and dead letters.
    batched: how a batch handler gets its records, None for a handler of one event. drain_timeout: seconds that
    work in hand may take when a partition is revoked. turnstile: stands for the process; all its sources share it.

    Without `start`, a test calls `open` and then `step` until it returns False: the same logic, without threads.
    """

    def __init__(
        self,
        trigger: KafkaTrigger,
        *,
        function: str,
        service: str,
        sink: Sink,
        cluster: Cluster,
        publisher: RecordPublisher,
        delivery: Delivery = Delivery(),  # noqa: B008 - frozen
        batched: Batched | None = None,
        namespace: str = "default",
        group_suffix: str = "",
        drain_timeout: float = 30.0,
        turnstile: Turnstile = PROCESS,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.name = f"kafka {trigger.topic} -> {function}"
        self.trigger = trigger
        self.group = (trigger.group or f"{service}.{function}") + group_suffix
        self.dead_topic = dead_letter_topic(trigger.topic, function, delivery.dead_letter)
        self.error: str | None = None
        self._transactor = cluster.open_transactor(self.group) if delivery.guarantee == "exactly-once" else None
        self.engine = Engine(
            trigger,
            function=function,
            event_source=(f"/apis/v1/namespaces/{namespace}/kafkasources/{service}-{function}#{trigger.topic}"),
            group=self.group,
            sink=sink,
            publisher=publisher,
            dead_topic=self.dead_topic,
            delivery=delivery,
            batched=batched,
            drain_timeout=drain_timeout,
            clock=clock,
            rng=rng or random.Random(),
            turnstile=turnstile,
            transactor=self._transactor,
        )
        self._cluster = cluster
        self._clock = clock
        self._consumer: Consumer | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._stop_by = 0.0

    # Life

    def open(self) -> None:
        """Make missing topics and join the group. Raises SourceError, after at most about OPEN_TIMEOUT seconds."""
        topics = (self.trigger.topic, self.trigger.reply_to, self.dead_topic)
        named = [topic for topic in topics if topic is not None]
        self._cluster.ensure_topics(named, OPEN_TIMEOUT, read=self.trigger.topic, group=self.group)
        self._join()

    def start(self) -> None:
        self.open()
        self._thread = threading.Thread(target=self._run, name=f"upon-{self.name}", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        self.engine.handling.held = True
        self._wake()

    def stop(self, timeout: float) -> None:
        """Begin nothing new, wait for what is in hand, commit and leave; safe to call twice."""
        self._stop_by = self._clock() + timeout
        self.engine.handling.held = True
        self._stopping.set()
        self._wake()
        if self._thread is None:
            self._leave()
        elif self._thread is not threading.current_thread():
            self._thread.join(timeout + 2 * LEAVE_TIMEOUT)

    def step(self, wait: float = 0.0) -> bool:
        """One round of the loop, for who drives it without a thread; False when there was nothing to do."""
        return self.engine.step(wait)

    def next_due(self) -> float | None:
        """When the next retry is due, by the source's clock; None without one."""
        return self.engine.timers.next_due

    def state(self) -> dict[str, Any]:
        handling, consumer = self.engine.handling, self._consumer
        assignments = list(self.engine.ownership.assignments.values())
        busy = handling.busy_since
        return {
            "connected": consumer is not None and consumer.connected,
            "group": self.group,
            "partitions": sorted(a.partition.number for a in assignments),
            "paused": sorted(a.partition.number for a in assignments if a.paused),
            "suspicious": {str(a.partition.number): a.guard.level for a in assignments if a.guard is not None},
            "suspicion": max((a.guard.level for a in assignments if a.guard is not None), default=0),
            "notes_size": max((a.notes_size for a in assignments), default=0),
            "in_flight": sum(a.in_hand for a in assignments),
            "lag": self._lag(consumer, assignments),
            "retrying": len(self.engine.timers),
            "busy_since": None if busy is None else self._wall_time(busy),
            "handled": handling.handled,
            "retries": handling.retries,
            "dead_letters": handling.dead_letters,
            "skipped": handling.skipped,
            "error": self.error
            or (consumer and consumer.problem)
            or handling.unpublished
            or self.engine.ownership.commits.problem,
        }

    def _lag(self, consumer: Consumer | None, assignments: Sequence[Assignment]) -> int | None:
        """Records that wait in the topic or in here, as far as is known."""
        if consumer is None:
            return None
        known = [(lag, a) for a in assignments if (lag := consumer.lag(a.partition)) is not None]
        waiting = sum(lag + a.window.unfinished + len(a.backlog) - a.unread_finished for lag, a in known)
        return max(waiting, 0) if known else None

    def _wall_time(self, moment: float) -> str:
        passed = timedelta(seconds=self._clock() - moment)
        return (datetime.now(UTC) - passed).isoformat(timespec="seconds").replace("+00:00", "Z")

    # The thread

    def _join(self) -> None:
        listener = self.engine.ownership
        self._consumer = self._cluster.open_consumer(self.group, self.trigger.topic, self.trigger.start, listener)
        self.engine.attach(self._consumer)
        self.error = None

    def _wake(self) -> None:
        if self._consumer is not None:
            self._consumer.wake()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if self._consumer is None:
                    self._join()
                self._turn()
            except UponError as error:
                self._give_up_consumer(str(error))
                self._stopping.wait(REOPEN_AFTER)
            except Exception as error:
                log.exception("%s: an unexpected error; what is not committed comes again", self.name)
                self._give_up_consumer(f"{type(error).__name__}: {error}")
                self._stopping.wait(REOPEN_AFTER)
        try:
            self._leave()
        except Exception:
            log.exception("%s: could not leave its group in good order", self.name)

    def _turn(self) -> None:
        while not self._stopping.is_set():
            self.engine.step(self.engine.wait())

    def _give_up_consumer(self, why: str) -> None:
        log.error("%s: %s", self.name, why)
        self.error = why
        self.engine.abandon()
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        try:
            consumer.close({}, LEAVE_TIMEOUT)
        except Exception:  # it is beyond help: the thread must live to open another
            log.exception("%s: its consumer could not be closed", self.name)

    def _leave(self) -> None:
        """In this order: work in hand ends, finished work is committed, late outcomes lose their lease."""
        consumer = self._consumer
        if consumer is None:
            return
        ownership = self.engine.ownership
        while ownership.in_flight and (left := self._stop_by - self._clock()) > 0:
            self.engine.step(min(left, self.engine.wait()))
        settle_by = self._clock() + LEAVE_TIMEOUT
        while ownership.commits.holds_up_release and (left := settle_by - self._clock()) > 0:
            self.engine.step(min(left, self.engine.wait()))
        self._consumer = None
        positions = self.engine.finish(LEAVE_TIMEOUT)
        self.engine.abandon()
        consumer.close(positions, LEAVE_TIMEOUT)
        if self._transactor is not None:
            self._transactor.close(LEAVE_TIMEOUT)
