"""Whether a consumer's topic, and its place in it, are still what they were: kafka-python moves on without a word."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from upon_triggers.kafka.transport import Partition, TransportError
from upon_triggers.kafka.troubles import Troubles

log = logging.getLogger("upon.kafka")


class Place:
    """Watches one KafkaConsumer.

    on_lost: called, from any thread, where the next records may lie before those that were read.
    """

    def __init__(
        self, consumer: Any, topic: str, troubles: Troubles, on_lost: Callable[[TransportError], None]
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._troubles = troubles
        self._on_lost = on_lost
        self._read: set[Partition] = set()  # since they were assigned
        self._topic_id: Any = None
        self._watch_resets()

    def assigned(self, partitions: Iterable[Partition]) -> None:
        self._read.difference_update(partitions)

    def read(self, partitions: Iterable[Partition]) -> None:
        self._read.update(partitions)

    def check(self) -> None:
        """Raises TransportError once the topic is another: our place in the old one means nothing there."""
        now = self._consumer._cluster._topic_ids.get(self._topic)
        before, self._topic_id = self._topic_id, now or self._topic_id
        if before is not None and before != self._topic_id:
            raise TransportError(f"topic {self._topic!r} was deleted and made again: its group begins anew")

    @property
    def problem(self) -> str | None:
        cluster = self._consumer._cluster
        if self._topic in cluster.unauthorized_topics:  # then nothing is fetched, and no fetch says so
            return self._troubles.about_refusal()
        if cluster.partitions_for_topic(self._topic) is None:
            return f"topic {self._topic!r} does not exist any more: make it again"
        return None

    def _watch_resets(self) -> None:
        subscription = self._consumer._subscription
        reset = subscription.request_offset_reset

        def request_offset_reset(foreign: Any, *strategy: Any) -> None:
            self._lost(Partition(*foreign), subscription.assignment[foreign].position)
            reset(foreign, *strategy)

        subscription.request_offset_reset = request_offset_reset

    def _lost(self, partition: Partition, position: Any) -> None:
        log.warning("%s", self._troubles.about_reset(partition, position and position.offset))
        if partition in self._read:
            self._on_lost(TransportError(f"the position in {partition} was lost"))
