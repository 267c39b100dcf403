"""What a dead letter looks like: the record as it was, with bounded headers that say what became of it."""

from __future__ import annotations

from datetime import UTC, datetime

from upon import Failed
from upon._kafka_codec import REPLAY_ORIGIN as REPLAY_ORIGIN
from upon_triggers.kafka.transport import Headers, Partition, Record

ERROR_LIMIT = 1000  # characters of the error's text
GROUP_LIMIT = 1000  # bytes; a longer name is left out, for a shortened one would be another group's
KIND, ERROR, ATTEMPTS, FUNCTION, ORIGIN, OMITTED = (
    "upon-error-kind",
    "upon-error",
    "upon-attempts",
    "upon-function",
    "upon-origin",
    "upon-omitted",
)
GROUP = "upon-group"  # the consumer group that gave the record up
TIME = "upon-time"  # when, after RFC 3339
ORIGIN_TIME = "upon-origin-time"  # the original record's timestamp, in milliseconds since 1970
REPLAY_GROUP = "upon-replay-group"  # of a replayed record: the only group that is to handle it
REPLAYS = "upon-replays"  # how often the record was replayed
# A letter says how often it was replayed and as what it began; for whom the last replay was is over with.
OWN = frozenset({KIND, ERROR, ATTEMPTS, FUNCTION, ORIGIN, OMITTED, GROUP, TIME, ORIGIN_TIME, REPLAY_GROUP})


def dead_letter_topic(topic: str, function: str, named: str | None) -> str | None:
    """Where failed records go: a named topic, `{topic}.{function}.dead`, or nowhere for "none"."""
    if named == "none":
        return None
    return named or f"{topic}.{function}.dead"


def is_for_another(headers: Headers, group: str | None) -> bool:
    """Whether a record was replayed for a group that is not this one."""
    for name, value in headers:
        if name == REPLAY_GROUP:
            return group is not None and bool(value) and value != group.encode()
    return False


def error_headers(
    record: Record,
    partition: Partition,
    failure: Failed,
    *,
    attempts: int,
    function: str,
    group: str | None = None,
    now: datetime | None = None,
) -> list[tuple[str, bytes | None]]:
    """The record's own headers, then ours; those of an earlier death are replaced. now: of giving it up."""
    kept = [header for header in record.headers if header[0] not in OWN]
    return [*kept, *_told(record, partition, failure, attempts, function, group, now)]


def pointer_headers(
    record: Record,
    partition: Partition,
    failure: Failed,
    *,
    attempts: int,
    function: str,
    group: str | None = None,
    now: datetime | None = None,
) -> list[tuple[str, bytes | None]]:
    """For a record too large to be written again: where it lies, without its value and its own headers."""
    size = len(record.value or b"")
    omitted = f"the value of {size} bytes and {len(record.headers)} headers: read them at the origin"
    return [*_told(record, partition, failure, attempts, function, group, now), (OMITTED, omitted.encode())]


def _told(
    record: Record,
    partition: Partition,
    failure: Failed,
    attempts: int,
    function: str,
    group: str | None,
    now: datetime | None,
) -> list[tuple[str, bytes | None]]:
    told: list[tuple[str, bytes | None]] = [
        (KIND, failure.kind.encode()),
        (ERROR, failure.error[:ERROR_LIMIT].encode(errors="replace")),
        (ATTEMPTS, str(attempts).encode()),
        (FUNCTION, function.encode()),
        (ORIGIN, f"{partition}/{record.offset}".encode()),
        (TIME, (now or datetime.now(UTC)).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()),
    ]
    if group is not None and len(group.encode()) <= GROUP_LIMIT:
        told.append((GROUP, group.encode()))
    if record.timestamp >= 0:
        told.append((ORIGIN_TIME, str(record.timestamp).encode()))
    return told
