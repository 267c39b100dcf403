"""The delivery of one Kafka trigger: a loop body without threads, clocks or sockets of its own.

One thread calls `step`. Everything from other threads (outcomes, confirmations) goes through an inbox and wakes the
consumer's poll. Per record the order of acts is: handled, reply or dead letter confirmed, finished, committed.
A partition's records are begun once it is known what the group has committed, and a commit says that we have it.
Polling never stops: a partition with enough records in hand is paused instead.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from upon._sink import Sink
from upon._triggers import Batched, KafkaTrigger
from upon_triggers.kafka.commits import Commits
from upon_triggers.kafka.handling import Handling
from upon_triggers.kafka.ownership import BEHIND, COMMIT_EVERY, Ownership
from upon_triggers.kafka.transacted import TransactedCommits
from upon_triggers.kafka.transaction import Transactor
from upon_triggers.kafka.transport import Consumer, Partition, Position, RecordPublisher
from upon_triggers.kafka.turns import Inbox, Timers
from upon_triggers.kafka.turnstile import Turnstile
from upon_triggers.settings import Delivery

LONGEST_WAIT = 1.0
TRANSACT_EVERY = 0.1  # seconds


class Engine:
    """Records in, events to the sink, commits out. Its Consumer is given by `attach` and may be replaced."""

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
        drain_timeout: float,
        clock: Callable[[], float],
        rng: random.Random,
        turnstile: Turnstile,
        transactor: Transactor | None = None,
    ) -> None:
        self.timers = Timers()
        self._clock = clock
        self._inbox = Inbox()
        self._consumer: Consumer | None = None
        self.handling = Handling(
            trigger,
            function=function,
            event_source=event_source,
            group=group,
            sink=sink,
            publisher=publisher,
            dead_topic=dead_topic,
            delivery=delivery,
            batched=batched,
            inbox=self._inbox,
            timers=self.timers,
            clock=clock,
            rng=rng,
            transacted=transactor is not None,
        )
        common: dict[str, Any] = {
            "name": function,
            "owner": turnstile.id,
            "begun": delivery.max_in_flight + BEHIND,
            "inbox": self._inbox,
        }
        self.ownership = Ownership(
            self.handling,
            name=function,
            ordering=trigger.ordering,
            max_in_flight=delivery.max_in_flight,
            drain_timeout=drain_timeout,
            inbox=self._inbox,
            clock=clock,
            turnstile=turnstile,
            commits=(
                Commits(**common)
                if transactor is None
                else TransactedCommits(transactor, self.handling.refuse, **common)
            ),
            # What a transaction writes is seen when it is committed: waiting for it is latency.
            commit_every=COMMIT_EVERY if transactor is None else TRANSACT_EVERY,
        )

    def attach(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._inbox.wake = consumer.wake

    def step(self, wait: float = 0.0) -> bool:
        """One round; waits up to `wait` seconds for records or outcomes. False when there was nothing to do.

        Raises TransportError when the consumer is beyond help; `abandon` and `attach` another.
        """
        consumer = self._consumer
        assert consumer is not None
        records = consumer.poll(0.0 if self._inbox else wait)
        now = self._clock()
        moved = self.ownership.take(consumer, records)
        moved = self._inbox.read() or moved
        moved = self.timers.fire(now) or moved
        self.ownership.ask(consumer, now)
        self.ownership.admit()
        moved = self.handling.dispatch(now) or moved
        self.ownership.watch(consumer)
        self.ownership.pace(consumer)
        self.ownership.release(consumer, now)
        self.ownership.commit(consumer, now)
        return moved or bool(self._inbox)

    def wait(self) -> float:
        """Seconds until time alone makes something due."""
        now = self._clock()
        moments = (self.timers.next_due, self.handling.next_due, self.ownership.next_due, now + LONGEST_WAIT)
        return max(min(moment for moment in moments if moment is not None) - now, 0.0)

    def finish(self, timeout: float) -> Mapping[Partition, Position]:
        """The last commit, within `timeout` seconds; what of it is left to the consumer's end."""
        assert self._consumer is not None
        return self.ownership.finish(self._consumer, timeout)

    def abandon(self) -> None:
        """Drop everything: what is not committed comes again."""
        self.ownership.abandon()
        self.handling.clear()
        self.timers.clear()
        self._inbox.wake = None
        self._consumer = None
