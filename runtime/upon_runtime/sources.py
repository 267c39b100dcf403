"""From triggers to sources: one place that knows which settings each kind needs."""

from __future__ import annotations

from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from upon import UsageError
from upon._triggers import Batched, CronTrigger, KafkaTrigger
from upon_runtime.service import Service
from upon_runtime.spec import FunctionSpec, ServiceSpec
from upon_triggers.cron import CronSource
from upon_triggers.settings import KafkaConnection
from upon_triggers.source import Source

if TYPE_CHECKING:
    from upon_triggers.kafka.client import KafkaCluster
    from upon_triggers.kafka.publisher import KafkaPublisher
    from upon_triggers.kafka.source import KafkaSource
    from upon_triggers.kafka.transport import Cluster, RecordPublisher

TOPICS_TIMEOUT = 10.0  # seconds for a broker to answer at the start
CLOSE_TIMEOUT = 5.0  # seconds for what the producer still holds


class KafkaClients:
    """Cluster and publisher of a connection, or neither; closed at the end of the block."""

    def __init__(self, connection: KafkaConnection | None) -> None:
        self.cluster: KafkaCluster | None = None
        self.publisher: KafkaPublisher | None = None
        if connection is not None:
            from upon_triggers.kafka.client import KafkaCluster
            from upon_triggers.kafka.publisher import KafkaPublisher

            self.cluster = KafkaCluster(
                connection,
                max_poll_interval=connection.max_poll_interval,
                session_timeout=connection.session_timeout,
            )
            self.publisher = KafkaPublisher(connection)

    def ensure_topics(self, topics: list[str]) -> None:
        """Make those that do not exist. Raises SourceError, with the command, where that can't be done."""
        if self.cluster is not None and topics:
            self.cluster.ensure_topics(topics, TOPICS_TIMEOUT)

    def __enter__(self) -> KafkaClients:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.publisher is not None:
            self.publisher.close(CLOSE_TIMEOUT)


def make_sources(service: Service, kafka: KafkaClients) -> list[Source]:
    """A source for each Kafka and cron trigger of the service. Raises UsageError for Kafka that is not configured."""
    made: list[Source] = []
    for function in service.spec.functions:
        for trigger in function.function.triggers:
            if isinstance(trigger, CronTrigger):
                made.append(cron_source(service, function, trigger))
            elif isinstance(trigger, KafkaTrigger):
                if kafka.cluster is None or kafka.publisher is None:
                    raise UsageError(
                        f"{function.name} reads the topic {trigger.topic!r}, and no Kafka is configured: set"
                        " kafka.bootstrap in func.yaml"
                    )
                made.append(kafka_source(service, function, trigger, cluster=kafka.cluster, publisher=kafka.publisher))
    return made


def written_topics(spec: ServiceSpec) -> list[str]:
    """The topics that functions write to without reading them; a Kafka source sees to its own."""
    replies = {
        trigger.reply_to
        for function in spec.functions
        for trigger in function.function.triggers
        if trigger.reply_to is not None and not isinstance(trigger, KafkaTrigger)
    }
    return sorted(replies | {topic.name for topic in spec.topics})


def kafka_source(
    service: Service,
    function: FunctionSpec,
    trigger: KafkaTrigger,
    *,
    cluster: Cluster,
    publisher: RecordPublisher,
    **given: Any,
) -> KafkaSource:
    """given: what a test sets otherwise: sink, clock, rng, batched."""
    from upon_triggers.kafka.source import KafkaSource

    is_batch = service.dispatcher.functions[function.name].is_batch
    settings = {"sink": service.dispatcher, "batched": (function.function.batched or Batched()) if is_batch else None}
    return KafkaSource(
        trigger,
        function=function.name,
        service=service.spec.name,
        cluster=cluster,
        publisher=publisher,
        delivery=function.delivery,
        namespace=service.spec.namespace,
        group_suffix=service.spec.group_suffix,
        **{**settings, **given},
    )


def cron_source(service: Service, function: FunctionSpec, trigger: CronTrigger, **given: Any) -> CronSource:
    """given: what a test sets otherwise: sink, clock, rng."""
    return CronSource(
        trigger,
        function.name,
        given.pop("sink", service.dispatcher),
        service.publisher,
        service=service.spec.name,
        namespace=service.spec.namespace,
        delivery=function.delivery,
        **given,
    )


def fire_all(service: Service) -> list[str]:
    """Fire each cron trigger once, now; the names of the functions."""
    sources = [source for source in service.sources if isinstance(source, CronSource)]
    for source in sources:
        source.fire(datetime.now(UTC))
    return [source.function for source in sources]
