"""A Kafka source under test: a broker, a handler, and what was seen."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from support.brokers import Broker, until
from support.sinks import BatchHandler, PoolSink
from upon import Event, Outcome
from upon._triggers import Batched, KafkaTrigger
from upon_triggers.kafka.source import KafkaSource
from upon_triggers.kafka.transport import Cluster
from upon_triggers.kafka.turnstile import PROCESS, Turnstile
from upon_triggers.settings import Delivery

QUICK = Delivery(retry=2, backoff_delay=0.02)

Handler = Callable[[Event[Any]], Outcome | None]


class Bench:
    """One topic and its dead letters on some broker; sources are stopped at the end."""

    def __init__(self, broker: Broker, *, partitions: int = 1) -> None:
        self.broker = broker
        self.sink: Callable[..., Any] = getattr(broker, "sink", PoolSink)  # what makes the sink under the sources
        self.topic = f"t{uuid.uuid4().hex[:8]}"
        self.out = f"{self.topic}.out"
        self.dead = f"{self.topic}.f.dead"
        self.group = f"s{self.topic}.f"
        self.seen: list[Event[Any]] = []
        self._lock = threading.Lock()
        broker.create(self.topic, partitions)
        broker.create(self.out, 1)

    def saw(self, event: Event[Any]) -> None:
        with self._lock:
            self.seen.append(event)

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """(partition, offset) of every handling, in order."""
        with self._lock:
            return [(e.kafka.partition, e.kafka.offset) for e in self.seen if e.kafka is not None]

    @contextmanager
    def running(
        self,
        handler: Handler,
        *,
        batch_handler: BatchHandler | None = None,
        batched: Batched | None = None,
        delivery: Delivery = QUICK,
        cluster: Cluster | None = None,
        turnstile: Turnstile = PROCESS,
        **trigger: Any,
    ) -> Iterator[KafkaSource]:
        """A started source whose handler is told of every event before `handler` decides."""

        def observed(event: Event[Any]) -> Outcome | None:
            self.saw(event)
            return handler(event)

        sink = self.sink(observed, batch_handler)
        source = KafkaSource(
            KafkaTrigger(self.topic, **trigger),
            function="f",
            service=f"s{self.topic}",
            sink=sink,
            cluster=cluster or self.broker.cluster(),
            publisher=self.broker.publisher(),
            delivery=delivery,
            batched=batched,
            turnstile=turnstile,
        )
        source.start()
        try:
            yield source
        finally:
            source.stop(10)
            sink.close()

    def handled(self, source: KafkaSource, count: int, timeout: float = 30.0) -> None:
        """Wait until so many records were handled or dead-lettered, and nothing is in hand."""

        def rest() -> bool:
            state = source.state()
            return state["handled"] + state["dead_letters"] >= count and state["in_flight"] == 0

        until(rest, timeout, f"{count} records: {source.state()}")

    def committed(self) -> dict[int, int]:
        return self.broker.committed(self.group, self.topic)
