"""Reading topics as a bystander: no group is joined, nothing is committed, what is asked for ends somewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol

from upon import UponError
from upon_triggers.kafka.letter import DeadLetter, Place
from upon_triggers.kafka.library import client_settings, construct, library, unreachable
from upon_triggers.kafka.replayed import Replayed
from upon_triggers.kafka.transport import Position, Record
from upon_triggers.settings import KafkaConnection
from upon_triggers.source import SourceError

OPEN_SECONDS = 10.0
ANSWER_SECONDS = 20.0  # without a word from the brokers, though there are records to read
POLL_MS = 200
POLL_RECORDS = 500

Span = tuple[int, int]  # the first offset, and the one after the last


class NoTopic(UponError):
    """There is no such topic. known: those that there are."""

    def __init__(self, topic: str, known: frozenset[str]) -> None:
        super().__init__(f"there is no topic {topic!r}")
        self.topic = topic
        self.known = known


class Archive(Protocol):
    """What is asked of topics by who looks at them from outside."""

    def topics(self) -> frozenset[str]: ...

    def bounds(self, topic: str) -> dict[int, Span]:
        """What each partition holds now. Raises NoTopic."""
        ...

    def read(self, topic: str, partition: int, span: Span) -> Iterator[Record]:
        """The records between two offsets, in order; offsets without a record are passed over."""
        ...

    def committed(self, group: str, topic: str) -> dict[int, Position]: ...

    def has_members(self, group: str) -> bool:
        """Whether anybody is in this consumer group now, as far as can be known."""
        ...


def replay_group(topic: str) -> str:
    """The consumer group whose commits say what of a dead-letter topic was replayed."""
    return f"{topic}.dlq"


def replayed_of(archive: Archive, topic: str, bounds: Mapping[int, Span]) -> dict[int, Replayed]:
    """What was replayed of each partition so far."""
    positions = archive.committed(replay_group(topic), topic)
    return {number: Replayed.read(positions.get(number), span) for number, span in bounds.items()}


def letters(archive: Archive, topic: str, spans: Mapping[int, Span]) -> Iterator[DeadLetter]:
    """The letters of these parts, partition by partition."""
    for number, span in sorted(spans.items()):
        for record in archive.read(topic, number, span):
            yield DeadLetter.read(number, record)


def original(archive: Archive, place: Place) -> Record | None:
    """The record at a place, or None where there is none any more."""
    try:
        first, end = archive.bounds(place.topic).get(place.partition, (0, 0))
    except NoTopic:
        return None
    if not first <= place.offset < end:
        return None
    found = archive.read(place.topic, place.partition, (place.offset, place.offset + 1))
    return next((record for record in found if record.offset == place.offset), None)


class KafkaArchive:
    """Topics of a Kafka cluster. Raises SourceError where no broker answers, TimeoutError where they stop answering."""

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        answer_seconds: float = ANSWER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._answer_seconds = answer_seconds
        self._answer_ms = int(answer_seconds * 1000)
        self._kafka = library()
        self._connection = connection
        self._clock = clock
        self._opened: list[Any] = []
        self._consumer = self._open()

    def _settings(self, **more: Any) -> dict[str, Any]:
        settings = client_settings(self._connection, "upon-dlq") | {
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "max_poll_records": POLL_RECORDS,
            "bootstrap_timeout_ms": int(OPEN_SECONDS * 1000),
            "metrics_enabled": False,
        }
        if not self._connection.embedded:
            # Neither letters that an aborted transaction left behind, nor a topic made by asking for it.
            settings |= {"isolation_level": "read_committed", "allow_auto_create_topics": False}
        return settings | more

    def __enter__(self) -> KafkaArchive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Also of what a reader left half read: a consumer that is closed as late as Python's end hangs there."""
        while self._opened:
            self._opened.pop().close(autocommit=False, timeout_ms=1000)

    def _open(self, **more: Any) -> Any:
        self._opened.append(construct(self._kafka.KafkaConsumer, self._connection, self._settings(**more)))
        return self._opened[-1]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._kafka.errors.AuthorizationError as error:
            raise SourceError(f"not allowed with these credentials: {error}; grant Describe and Read") from None
        except self._kafka.errors.KafkaError as error:
            raise unreachable(self._connection, error) from None

    def topics(self) -> frozenset[str]:
        """kafka-python's own method has no deadline."""
        consumer, cluster = self._consumer, self._consumer._cluster
        with self._errors():
            if cluster.metadata_refresh_in_progress:  # it was asked before
                consumer._net.run(consumer._manager.wait_for, cluster.request_update(), self._answer_ms)
            cluster.need_all_topic_metadata = True
            consumer._net.run(consumer._manager.wait_for, cluster.request_update(), self._answer_ms)
            return frozenset(cluster.topics())

    def bounds(self, topic: str) -> dict[int, Span]:
        known = self.topics()
        if topic not in known:
            raise NoTopic(topic, known)
        with self._errors():
            numbers = self._consumer.partitions_for_topic(topic) or ()
            partitions = [self._kafka.TopicPartition(topic, number) for number in sorted(numbers)]
            first = self._consumer.beginning_offsets(partitions, timeout_ms=self._answer_ms)
            end = self._consumer.end_offsets(partitions, timeout_ms=self._answer_ms)
        return {p.partition: (first[p], end[p]) for p in partitions}

    @contextmanager
    def _consuming(self, **more: Any) -> Iterator[Any]:
        consumer = self._open(**more)
        try:
            with self._errors():
                yield consumer
        finally:
            if consumer in self._opened:
                self._opened.remove(consumer)
                consumer.close(autocommit=False, timeout_ms=1000)

    def read(self, topic: str, partition: int, span: Span) -> Iterator[Record]:
        first, end = span
        if first >= end:
            return
        foreign = self._kafka.TopicPartition(topic, partition)
        with self._consuming() as consumer:
            consumer.assign([foreign])
            consumer.seek(foreign, first)
            position, heard = first, self._clock()
            while position < end:
                for record in consumer.poll(timeout_ms=POLL_MS).get(foreign, ()):
                    if record.offset >= end:
                        return
                    if record.offset >= first:  # else the topic was cut or made anew, and reading began anew
                        yield record
                now = consumer.position(foreign, timeout_ms=POLL_MS)  # past records that are none: markers, gaps
                if now is not None and now > position:
                    position, heard = now, self._clock()
                elif self._clock() > heard + self._answer_seconds:
                    raise TimeoutError(f"the brokers say nothing more of {topic}/{partition} after offset {position}")

    def committed(self, group: str, topic: str) -> dict[int, Position]:
        with self._consuming(group_id=group) as consumer:
            numbers = consumer.partitions_for_topic(topic) or ()
            partitions = [self._kafka.TopicPartition(topic, number) for number in numbers]
            consumer.assign(partitions)
            limit = self._answer_ms
            found = {p.partition: consumer.committed(p, metadata=True, timeout_ms=limit) for p in partitions}
        return {n: Position(p.offset, p.metadata) for n, p in found.items() if p is not None and p.offset >= 0}

    def has_members(self, group: str) -> bool:
        if self._connection.embedded:  # it can't tell
            return False
        settings = client_settings(self._connection, "upon-dlq") | {"bootstrap_timeout_ms": int(OPEN_SECONDS * 1000)}
        admin = construct(self._kafka.KafkaAdminClient, self._connection, settings)
        try:
            with self._errors():
                return bool(admin.describe_groups([group])[group]["members"])
        except SourceError:  # without the right to describe it, joining it has to tell
            return False
        finally:
            admin.close()
