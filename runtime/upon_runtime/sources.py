"""From triggers to sources: one place that knows which settings each kind needs."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from upon import UsageError
from upon._engine import Publisher
from upon._signature import analyse
from upon._sink import Sink
from upon._triggers import Batched, CronTrigger, KafkaTrigger
from upon_runtime.service import Service
from upon_runtime.spec import FunctionSpec, ServiceSpec
from upon_triggers.cron import CronSource
from upon_triggers.firing import FiringError, FiringStore, MemoryFirings
from upon_triggers.firing_file import FileFirings
from upon_triggers.firing_lease import LeaseFirings
from upon_triggers.settings import KafkaConnection
from upon_triggers.source import Source, SourceError

if TYPE_CHECKING:
    from upon_triggers.kafka.client import KafkaCluster
    from upon_triggers.kafka.publisher import KafkaPublisher
    from upon_triggers.kafka.source import KafkaSource
    from upon_triggers.kafka.transport import Cluster, RecordPublisher

log = logging.getLogger("upon.cron")

CRON_STORE = "UPON_CRON_STORE"
LABELS = {"app.kubernetes.io/managed-by": "upon"}  # of the Leases
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


class Feeds(Protocol):
    """What sources are for: a Service in this process, or one that is reached otherwise."""

    @property
    def spec(self) -> ServiceSpec: ...
    @property
    def sink(self) -> Sink: ...
    @property
    def publisher(self) -> Publisher | None: ...


def make_sources(service: Feeds, kafka: KafkaClients) -> list[Source]:
    """A source for each Kafka and cron trigger of the service.

    Raises UsageError for Kafka that is not configured, SourceError where `catch_up` has nowhere to remember ticks.
    """
    made: list[Source] = []
    store = cron_store(service.spec)
    for function in service.spec.functions:
        for trigger in function.function.triggers:
            if isinstance(trigger, CronTrigger):
                made.append(cron_source(service, function, trigger, store=store))
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
    service: Feeds,
    function: FunctionSpec,
    trigger: KafkaTrigger,
    *,
    cluster: Cluster,
    publisher: RecordPublisher,
    **given: Any,
) -> KafkaSource:
    """given: what a test sets otherwise: sink, clock, rng, batched."""
    from upon_triggers.kafka.source import KafkaSource

    is_batch = analyse(function.function.plain).batch
    settings = {"sink": service.sink, "batched": (function.function.batched or Batched()) if is_batch else None}
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


def cron_source(service: Feeds, function: FunctionSpec, trigger: CronTrigger, **given: Any) -> CronSource:
    """given: the store, and what a test sets otherwise: sink, clock, monotonic, rng."""
    return CronSource(
        trigger,
        function.name,
        given.pop("sink", service.sink),
        service.publisher,
        service=service.spec.name,
        namespace=service.spec.namespace,
        delivery=function.delivery,
        **given,
    )


def cron_store(spec: ServiceSpec, env: Mapping[str, str] = os.environ) -> FiringStore:
    """Where the service's schedules remember what they fired: in its state_dir, or else in memory.

    UPON_CRON_STORE=lease keeps it in Leases of the pod's namespace, which all replicas share.

    A folder that can't be written is a warning, and an error (SourceError) where catch_up counts on it. Raises
    UsageError for another store.
    """
    if env.get(CRON_STORE) not in (None, "", "lease"):
        raise UsageError(f"{CRON_STORE} is {env[CRON_STORE]!r}: set it to 'lease', or leave it out for run.stateDir")
    triggers = [t for one in spec.functions for t in one.function.triggers if isinstance(t, CronTrigger)]
    if triggers and env.get(CRON_STORE) == "lease":
        return LeaseFirings({**LABELS, "app.kubernetes.io/name": spec.name})
    if not triggers or spec.state_dir is None:
        return MemoryFirings()
    store = FileFirings(spec.state_dir)
    try:
        store.open()  # once for all of them, so that it is told once
    except FiringError as error:
        caught_up = [str(trigger) for trigger in triggers if trigger.catch_up]
        if caught_up:
            raise SourceError(f"{caught_up[0]} has catch_up, but {error}; or remove catch_up") from None
        log.warning("schedules fire in this process without regard to others or to the last run: %s", error)
        return MemoryFirings()
    store.close()
    return store


def fire_all(service: Service) -> list[str]:
    """Fire each cron trigger once, now; the names of the functions."""
    sources = [source for source in service.sources if isinstance(source, CronSource)]
    for source in sources:
        source.fire(datetime.now(UTC))
    return [source.function for source in sources]
