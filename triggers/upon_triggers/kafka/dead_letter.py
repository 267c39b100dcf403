"""What a dead letter looks like: the record as it was, with bounded headers that say what became of it."""

from __future__ import annotations

from upon import Failed
from upon_triggers.kafka.transport import Partition, Record

ERROR_LIMIT = 1000  # characters of the error's text
KIND, ERROR, ATTEMPTS, FUNCTION, ORIGIN, OMITTED = (
    "upon-error-kind",
    "upon-error",
    "upon-attempts",
    "upon-function",
    "upon-origin",
    "upon-omitted",
)
_OWN = frozenset({KIND, ERROR, ATTEMPTS, FUNCTION, ORIGIN, OMITTED})


def dead_letter_topic(topic: str, function: str, named: str | None) -> str | None:
    """Where failed records go: a named topic, `{topic}.{function}.dead`, or nowhere for "none"."""
    if named == "none":
        return None
    return named or f"{topic}.{function}.dead"


def error_headers(
    record: Record, partition: Partition, failure: Failed, *, attempts: int, function: str
) -> list[tuple[str, bytes | None]]:
    """The record's own headers, then ours; those of an earlier death are replaced."""
    kept = [header for header in record.headers if header[0] not in _OWN]
    return [*kept, *_told(record, partition, failure, attempts, function)]


def pointer_headers(
    record: Record, partition: Partition, failure: Failed, *, attempts: int, function: str
) -> list[tuple[str, bytes | None]]:
    """For a record too large to be written again: where it lies, without its value and its own headers."""
    size = len(record.value or b"")
    omitted = f"the value of {size} bytes and {len(record.headers)} headers: read them at the origin"
    return [*_told(record, partition, failure, attempts, function), (OMITTED, omitted.encode())]


def _told(
    record: Record, partition: Partition, failure: Failed, attempts: int, function: str
) -> list[tuple[str, bytes | None]]:
    return [
        (KIND, failure.kind.encode()),
        (ERROR, failure.error[:ERROR_LIMIT].encode(errors="replace")),
        (ATTEMPTS, str(attempts).encode()),
        (FUNCTION, function.encode()),
        (ORIGIN, f"{partition}/{record.offset}".encode()),
    ]
