"""Deleting dead letters. Kafka can only cut off a partition's beginning: up to the first letter that has to stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from upon_triggers.kafka.dead_letters import Archive, Span, letters
from upon_triggers.kafka.letter import DeadLetter
from upon_triggers.kafka.library import client_settings, construct, library, unreachable
from upon_triggers.kafka.replayed import Replayed
from upon_triggers.settings import KafkaConnection
from upon_triggers.source import SourceError

OPEN_SECONDS = 10.0
ANSWER_SECONDS = 30.0


@dataclass(slots=True)
class Cut:
    """What goes and what stays of one partition. upto: the first offset that stays.

    Numbers of letters: goes, of which `pending` were not replayed and `foreign` are no dead letters; stays, of which
    `behind` might go, if they did not come after `first`, which may not.
    """

    partition: int
    upto: int
    goes: int = 0
    pending: int = 0
    foreign: int = 0
    stays: int = 0
    behind: int = 0
    first: DeadLetter | None = None


def plan(
    archive: Archive,
    topic: str,
    bounds: Mapping[int, Span],
    replayed: Mapping[int, Replayed],
    may_go: Callable[[DeadLetter], bool],
) -> list[Cut]:
    """Reads every letter; deletes nothing."""
    cuts = {number: Cut(number, end) for number, (_, end) in sorted(bounds.items())}
    for letter in letters(archive, topic, bounds):
        cut, goes = cuts[letter.partition], may_go(letter)
        if cut.first is None and not goes:
            cut.first, cut.upto = letter, letter.offset
        if cut.first is None:
            cut.goes += 1
            cut.pending += letter.offset not in replayed[letter.partition]
            cut.foreign += letter.is_foreign
        else:
            cut.stays += 1
            cut.behind += goes
    return list(cuts.values())


def delete(connection: KafkaConnection, topic: str, cuts: Iterable[Cut]) -> None:
    """Raises SourceError where the brokers refuse."""
    kafka = library()
    ends = {kafka.TopicPartition(topic, cut.partition): cut.upto for cut in cuts if cut.goes}
    if not ends:
        return
    settings = client_settings(connection, "upon-dlq-purge") | {"bootstrap_timeout_ms": int(OPEN_SECONDS * 1000)}
    admin = construct(kafka.KafkaAdminClient, connection, settings)
    try:
        admin.delete_records(ends, timeout_ms=int(ANSWER_SECONDS * 1000))
    except kafka.errors.AuthorizationError:
        raise SourceError(f"deleting from {topic!r} is not allowed with these credentials: grant Delete") from None
    except kafka.errors.PolicyViolationError:
        raise SourceError(
            f"{topic!r} is compacted, and the brokers cut only topics with cleanup.policy=delete"
        ) from None
    except kafka.errors.KafkaError as error:
        raise unreachable(connection, error) from None
    finally:
        admin.close()
