"""Topics that a source needs: found, or made, or an error with the command that makes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from upon_triggers.kafka.library import client_settings, construct, library, unreachable
from upon_triggers.settings import KafkaConnection
from upon_triggers.source import SourceError


def ensure_topics(connection: KafkaConnection, topics: Iterable[str], timeout: float) -> None:
    """Make the topics that do not exist, with the cluster's default partitions and replicas. Raises SourceError."""
    kafka = library()
    names = sorted(set(topics))
    limit = int(timeout * 1000)
    settings = client_settings(connection, "upon-topics") | {"bootstrap_timeout_ms": limit}
    if connection.embedded:
        _ask_for(kafka, settings | {"max_block_ms": limit}, connection, names)
        return
    admin = construct(kafka.KafkaAdminClient, connection, settings)
    try:
        _ensure(kafka, admin, connection, names)
    finally:
        admin.close()


def _ask_for(kafka: Any, settings: dict[str, Any], connection: KafkaConnection, topics: list[str]) -> None:
    """The embedded broker knows no CreateTopics: it makes what a producer asks about."""
    producer = construct(kafka.KafkaProducer, connection, settings)
    try:
        for topic in topics:
            producer.partitions_for(topic)
    except kafka.errors.KafkaError as error:
        raise unreachable(connection, error) from None
    finally:
        producer.close(timeout=1.0)


def _ensure(kafka: Any, admin: Any, connection: KafkaConnection, topics: list[str]) -> None:
    try:
        known = admin.describe_topics(topics)
        missing = [topic["name"] for topic in known if _is_missing(kafka, connection, topic)]
        if missing:
            _create(kafka, admin, connection, missing)
    except kafka.errors.KafkaError as error:
        raise unreachable(connection, error) from None


def _is_missing(kafka: Any, connection: KafkaConnection, topic: dict[str, Any]) -> bool:
    kind = kafka.errors.for_code(topic["error_code"])
    if kind is kafka.errors.UnknownTopicOrPartitionError:
        return True
    if issubclass(kind, kafka.errors.RetriableError) or kind is kafka.errors.NoError:
        return False
    if issubclass(kind, kafka.errors.AuthorizationError):
        raise SourceError(f"topic {topic['name']!r} may not be used with these credentials: grant Describe and Read")
    raise _not_made(connection, topic["name"], kind.__name__)


def _create(kafka: Any, admin: Any, connection: KafkaConnection, missing: list[str]) -> None:
    try:
        made = admin.create_topics(missing, raise_errors=False)
    except kafka.errors.KafkaError as error:
        raise _not_made(connection, missing[0], str(error) or type(error).__name__) from None
    for topic in made["topics"]:
        kind = kafka.errors.for_code(topic["error_code"])
        if kind not in (kafka.errors.NoError, kafka.errors.TopicAlreadyExistsError):
            raise _not_made(connection, topic["name"], topic.get("error_message") or kind.__name__)
    admin.wait_for_topics(missing)


def _not_made(connection: KafkaConnection, topic: str, why: str) -> SourceError:
    return SourceError(
        f"topic {topic!r} does not exist and can't be made from here ({why}): run kafka-topics.sh"
        f" --bootstrap-server {connection.bootstrap[0]} --create --topic {topic}"
    )
