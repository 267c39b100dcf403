"""From triggers to sources, and from a Kafka connection to the clients that they share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING

from upon import UsageError
from upon._triggers import Batched, CronTrigger, KafkaTrigger, Trigger
from upon_runtime.service import Service
from upon_runtime.spec import FunctionSpec
from upon_triggers.cron import CronSource
from upon_triggers.settings import KafkaConnection
from upon_triggers.source import Source

if TYPE_CHECKING:
    from upon_triggers.kafka.client import KafkaCluster
    from upon_triggers.kafka.publisher import KafkaPublisher

CLOSE_TIMEOUT = 5.0  # seconds for what the producer still holds


class Kafka:
    """Cluster and publisher of a connection, or neither; closed at the end of the block."""

    def __init__(self, connection: KafkaConnection | None) -> None:
        self.cluster: KafkaCluster | None = None
        self.publisher: KafkaPublisher | None = None
        if connection is not None:
            from upon_triggers.kafka.client import KafkaCluster
            from upon_triggers.kafka.publisher import KafkaPublisher

            self.cluster = KafkaCluster(connection)
            self.publisher = KafkaPublisher(connection)

    def open(self) -> None:
        """Connect now instead of at the first record. Raises SourceError when no broker answers."""
        if self.publisher is not None:
            self.publisher.open()

    def __enter__(self) -> Kafka:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.publisher is not None:
            self.publisher.close(CLOSE_TIMEOUT)


def make_sources(service: Service, kafka: Kafka) -> Sequence[Source]:
    """A source for each Kafka and cron trigger of the service."""
    return [
        source
        for function in service.spec.functions
        for trigger in function.function.triggers
        if (source := _source(service, function, trigger, kafka)) is not None
    ]


def _source(service: Service, function: FunctionSpec, trigger: Trigger, kafka: Kafka) -> Source | None:
    match trigger:
        case KafkaTrigger():
            return _kafka_source(service, function, trigger, kafka)
        case CronTrigger():
            return CronSource(
                trigger,
                function.name,
                service.dispatcher,
                service.publisher,
                service=service.spec.name,
                namespace=service.spec.namespace,
                delivery=function.delivery,
            )
    return None


def _kafka_source(service: Service, function: FunctionSpec, trigger: KafkaTrigger, kafka: Kafka) -> Source:
    if kafka.cluster is None or kafka.publisher is None:
        raise UsageError(
            f"{function.name} reads the topic {trigger.topic!r}, and no Kafka is configured: set"
            " kafka.bootstrap in func.yaml"
        )
    from upon_triggers.kafka.source import KafkaSource

    spec, bound = service.spec, service.dispatcher.functions[function.name]
    return KafkaSource(
        trigger,
        function=function.name,
        service=spec.name,
        sink=service.dispatcher,
        cluster=kafka.cluster,
        publisher=kafka.publisher,
        delivery=function.delivery,
        batched=(function.function.batched or Batched()) if bound.is_batch else None,
        namespace=spec.namespace,
        group_suffix=spec.group_suffix,
    )


def fire_all(service: Service) -> list[str]:
    """Fire each cron trigger once, now; the names of the functions."""
    sources = [source for source in service.sources if isinstance(source, CronSource)]
    for source in sources:
        source.fire(datetime.now(UTC))
    return [source.function for source in sources]
