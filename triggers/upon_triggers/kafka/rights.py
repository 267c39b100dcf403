"""What these credentials may do, asked before the first record: a right that is missing is told with its command."""

from __future__ import annotations

from typing import Any, Literal

from upon_triggers.settings import KafkaConnection
from upon_triggers.source import SourceError

Right = Literal["Read", "Write"]
VERBS: dict[Right, str] = {"Read": "read", "Write": "written to"}


def topic_refused(connection: KafkaConnection, topic: str, right: Right, *, seen: bool = True) -> SourceError:
    """seen: whether the credentials may at least look at the topic."""
    command = grant(connection, f"--operation {right} --topic {topic}")
    exists = "" if seen else ", or does not exist"
    return SourceError(
        f"topic {topic!r} can't be {VERBS[right]} with these credentials{exists}: grant {right} ({command})"
    )


def group_refused(connection: KafkaConnection, group: str) -> SourceError:
    command = grant(connection, f"--operation Read --group {group}")
    return SourceError(f"consumer group {group!r} can't be joined with these credentials: grant Read on it ({command})")


def grant(connection: KafkaConnection, what: str) -> str:
    """The command that grants it."""
    principal = f"User:{connection.sasl.username}" if connection.sasl is not None else "User:NAME"
    return f"kafka-acls.sh --bootstrap-server {connection.bootstrap[0]} --add --allow-principal {principal} {what}"


def check_topic(connection: KafkaConnection, described: dict[str, Any], right: Right) -> None:
    """described: what an admin client tells of a topic. Raises SourceError; brokers before 2.3 do not tell."""
    allowed = described.get("authorized_operations")
    if allowed and right.upper() not in allowed and "ALL" not in allowed:
        raise topic_refused(connection, described["name"], right)


def check_group(kafka: Any, admin: Any, connection: KafkaConnection, group: str) -> None:
    """Raises SourceError where the group is refused; anything else is the consumer's business."""
    request = kafka.protocol.metadata.FindCoordinatorRequest(key=group, key_type=0, coordinator_keys=[group])
    answer = admin._manager.run(admin._manager.send, request)
    found = answer.coordinators[0] if answer.coordinators else answer
    if kafka.errors.for_code(found.error_code) is kafka.errors.GroupAuthorizationFailedError:
        raise group_refused(connection, group)
