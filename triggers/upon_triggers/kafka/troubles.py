"""What keeps a consumer from reading, in one sentence for the readiness body: it tries on, and may go on by itself."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from upon_triggers.kafka.refusals import explain
from upon_triggers.kafka.rights import group_refused, topic_refused
from upon_triggers.kafka.transport import Partition, Start
from upon_triggers.settings import KafkaConnection

LASTS = 5.0  # seconds that an error is told after it was seen: a poll in between that finds nothing proves nothing
CODECS = {"snappy": "python-snappy", "lz4": "lz4", "zstd": "zstandard"}


class Troubles:
    """The last error of one consumer, until it has read something or the error is old."""

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        group: str,
        start: Start,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._group = group
        self._start = start
        self._clock = clock
        self._said = ""
        self._until = float("-inf")

    def note(self, error: BaseException) -> str | None:
        """The sentence, where it is another than the last time."""
        text = tell(self._connection, self._topic, error, self._group)
        new = text != self.current
        self._said, self._until = text, self._clock() + LASTS
        return text if new else None

    def over(self) -> None:
        self._until = float("-inf")

    @property
    def current(self) -> str | None:
        return self._said if self._clock() < self._until else None

    def about_refusal(self) -> str:
        """The topic can't be read any more."""
        return str(topic_refused(self._connection, self._topic, "Read"))

    def about_reset(self, partition: Partition, offset: int | None) -> str:
        """The group's position lies outside of what the partition holds."""
        where = "the oldest record" if self._start == "earliest" else "the end; what lies before is not read"
        return (
            f"{partition}: offset {offset} of group {self._group!r} is not there: its records have expired, or the"
            f" topic was made anew. Reading goes on at {where} (start={self._start!r})"
        )


def tell(connection: KafkaConnection, topic: str, error: BaseException, group: str = "") -> str:
    """What an error of kafka-python means, and what to do about it."""
    match type(error).__name__:
        case "SaslAuthenticationFailedError" | "UnsupportedSaslMechanismError":
            return explain(connection, ",".join(connection.bootstrap), error, greeted=True).message
        case "TopicAuthorizationFailedError":
            return str(topic_refused(connection, topic, "Read"))
        case "GroupAuthorizationFailedError":
            return str(group_refused(connection, group))
        case "UnsupportedCodecError":
            return _unknown_codec(topic, str(error))
        case "CorruptRecordError":
            remedy = "move the group past it with kafka-consumer-groups.sh --reset-offsets"
            return f"topic {topic!r} holds a record that can't be read ({_plain(error)}): {remedy}"
        case "FencedInstanceIdError":
            remedy = "give every replica its own kafka.groupInstanceId"
            return f"another member of group {group!r} uses this process's group instance id: {remedy}"
    return f"reading topic {topic!r} failed: {_plain(error)}"


def _unknown_codec(topic: str, said: str) -> str:
    codec = next((name for name in CODECS if name in said), None)
    if codec is None:
        return f"topic {topic!r} holds records in a compression that is not known here: {said}"
    return f"topic {topic!r} holds records compressed with {codec}: pip install 'upon[kafka]', or {CODECS[codec]} alone"


def _plain(error: BaseException) -> str:
    return re.sub(r"^\[Error \d+\] ", "", str(error)) or type(error).__name__
