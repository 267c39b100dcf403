"""Replies and dead letters: written until the brokers have confirmed them. Only then is their record finished."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from upon import DataError, Done, Event, Failed, UponError
from upon._kafka_codec import write_record
from upon._reply import reply_key
from upon_triggers.kafka.assignment import Assignment
from upon_triggers.kafka.dead_letter import error_headers, pointer_headers
from upon_triggers.kafka.transport import Headers, OnPublished, Record, RecordPublisher

log = logging.getLogger("upon.kafka")


@dataclass(slots=True)
class Letter:
    """Something to write before `record` is finished.

    attempts, failure: for a dead letter. tries: how often it could not be written. is_late: its record was finished
    already, and waits for a transaction that could not write something else.
    """

    kind: Literal["sent", "reply", "dead", "pointer"]
    assignment: Assignment
    record: Record
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    attempts: int = 1
    failure: Failed | None = None
    tries: int = 0
    is_late: bool = False


class Settler:
    """Writes letters. `published(letter, error)` is called from any thread, once per call of `write`.

    hold: takes a record's letters in place of writing them, for a transaction; from any thread.
    """

    def __init__(
        self,
        publisher: RecordPublisher,
        published: Callable[[Letter, BaseException | None], None],
        *,
        function: str,
        group: str | None,
        reply_to: str | None,
        dead_topic: str | None,
        hold: Callable[[list[Letter]], None] | None = None,
    ) -> None:
        self._hold = hold
        self._publisher = publisher
        self._published = published
        self._function = function
        self._group = group
        self._reply_to = reply_to
        self._dead_topic = dead_topic

    def answer(self, assignment: Assignment, record: Record, event: Event[Any], done: Done) -> bool:
        """Write what the handler wants written; False where that is nothing. From any thread; never blocks."""
        letters = [Letter("sent", assignment, record, *sent) for sent in done.sent]
        if self._reply_to is not None and isinstance(done.reply, Event):
            reply = Letter("reply", assignment, record, self._reply_to, None, None, ())
            try:
                reply.key, reply.value, reply.headers = write_record(done.reply, reply_key(event, done.reply))
            except (UponError, UnicodeError) as error:  # a reply that has no form on Kafka never will
                self._published(reply, DataError(f"the reply can't be written: {error}"))
                return True
            letters.append(reply)
        if self._hold is not None and letters:
            self._hold(letters)
        elif letters:
            self.write(letters[0])  # without a transaction, sends were confirmed before
        return bool(letters)

    def bury(
        self, assignment: Assignment, record: Record, failure: Failed, attempts: int, *, is_late: bool = False
    ) -> bool:
        """Write the dead letter; False where there is none to write, and the record is dropped."""
        partition = assignment.partition
        where = f"{partition} offset {record.offset}"
        if self._dead_topic is None:
            log.error("%s: dropped %s after %d attempts: %s", self._function, where, attempts, failure.error)
            return False
        log.warning(
            "%s: %s goes to %s after %d attempts: %s", self._function, where, self._dead_topic, attempts, failure.error
        )
        headers = error_headers(
            record, partition, failure, attempts=attempts, function=self._function, group=self._group
        )
        letter = Letter(
            "dead", assignment, record, self._dead_topic, record.key, record.value, headers, attempts, failure
        )
        letter.is_late = is_late
        self.write(letter)
        return True

    def bury_pointer(self, letter: Letter) -> None:
        """The dead letter was too large itself: write where the record lies."""
        assert letter.failure is not None
        headers = pointer_headers(
            letter.record,
            letter.assignment.partition,
            letter.failure,
            attempts=letter.attempts,
            function=self._function,
            group=self._group,
        )
        key = letter.key if letter.kind == "dead" else None  # not even the key fitted
        self.write(replace(letter, kind="pointer", key=key, value=None, headers=headers))

    def write(self, letter: Letter) -> None:
        """Write once; the caller decides what an error means."""
        if self._hold is not None:
            self._hold([letter])
            return
        on_done: OnPublished = partial(self._published, letter)
        self._publisher.publish_raw(letter.topic, letter.key, letter.value, letter.headers, on_done)
