"""Topics that a source needs: found, or made, or an error with the command that makes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from upon_triggers.kafka.library import client_settings, construct, library, unreachable
from upon_triggers.kafka.rights import Right, check_group, check_topic, topic_refused
from upon_triggers.settings import KafkaConnection
from upon_triggers.source import SourceError


def ensure_topics(
    connection: KafkaConnection,
    topics: Iterable[str],
    timeout: float,
    *,
    read: str | None = None,
    group: str | None = None,
) -> None:
    """Make the topics that do not exist, with the cluster's default partitions and replicas.

    read: the one of them that is read, by `group`; the others are written to. Raises SourceError, also for a right
    that is missing.
    """
    kafka = library()
    names = sorted(set(topics))
    limit = int(timeout * 1000)
    settings = client_settings(connection, "upon-topics") | {"bootstrap_timeout_ms": limit}
    if connection.embedded:
        _ask_for(kafka, settings | {"max_block_ms": limit}, connection, names)
        return
    admin = construct(kafka.KafkaAdminClient, connection, settings)
    try:
        _ensure(kafka, admin, connection, names, read)
        if group is not None:
            check_group(kafka, admin, connection, group)
    except kafka.errors.KafkaError as error:
        raise unreachable(connection, error) from None
    finally:
        admin.close()


def check_visible(connection: KafkaConnection, topic: str, timeout: float) -> None:
    """Raises SourceError for a topic that is not shown to these credentials: in a list of all it is just not there."""
    if connection.embedded:
        return
    kafka = library()
    settings = client_settings(connection, "upon-topics") | {"bootstrap_timeout_ms": int(timeout * 1000)}
    admin = construct(kafka.KafkaAdminClient, connection, settings)
    try:
        for described in admin.describe_topics([topic]):
            _is_missing(kafka, connection, described, "Read")
    except kafka.errors.KafkaError as error:
        raise unreachable(connection, error) from None
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


def _ensure(kafka: Any, admin: Any, connection: KafkaConnection, topics: list[str], read: str | None) -> None:
    def described(names: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
        found = admin.describe_topics(names)
        return found, [topic["name"] for topic in found if _is_missing(kafka, connection, topic, _right(topic, read))]

    known, missing = described(topics)
    if missing:
        _create(kafka, admin, connection, missing)
        known, _ = described(topics)  # who may create may still lack the right to write
    for topic in known:
        check_topic(connection, topic, _right(topic, read))


def _right(topic: dict[str, Any], read: str | None) -> Right:
    return "Read" if topic["name"] == read else "Write"


def _is_missing(kafka: Any, connection: KafkaConnection, topic: dict[str, Any], right: Right) -> bool:
    kind = kafka.errors.for_code(topic["error_code"])
    if kind is kafka.errors.UnknownTopicOrPartitionError:
        return True
    if issubclass(kind, kafka.errors.RetriableError) or kind is kafka.errors.NoError:
        return False
    if issubclass(kind, kafka.errors.AuthorizationError):
        raise topic_refused(connection, topic["name"], right, seen=False)
    raise _not_made(connection, topic["name"], kind.__name__)


def _create(kafka: Any, admin: Any, connection: KafkaConnection, missing: list[str]) -> None:
    try:
        made = admin.create_topics(missing, raise_errors=False)
    except kafka.errors.KafkaError as error:
        raise _not_made(connection, missing[0], str(error) or type(error).__name__) from None
    for topic in made["topics"]:
        kind = kafka.errors.for_code(topic["error_code"])
        if kind not in (kafka.errors.NoError, kafka.errors.TopicAlreadyExistsError):
            raise _not_made(connection, topic["name"], _reason(kafka, kind, topic))
    admin.wait_for_topics(missing)


def _reason(kafka: Any, kind: Any, topic: dict[str, Any]) -> str:
    if issubclass(kind, kafka.errors.AuthorizationError):
        return "these credentials lack the right Create"
    return str(topic.get("error_message") or kind.__name__)


def _not_made(connection: KafkaConnection, topic: str, why: str) -> SourceError:
    return SourceError(
        f"topic {topic!r} does not exist and can't be made from here ({why}): run kafka-topics.sh"
        f" --bootstrap-server {connection.bootstrap[0]} --create --topic {topic}"
    )
