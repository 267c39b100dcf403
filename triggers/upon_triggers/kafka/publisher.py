"""Writes records with kafka-python's idempotent producer, without ever making the source wait for a broker."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from upon import Busy, DataError, Draining, Event, Overloaded, TooLarge, UponError
from upon._kafka_codec import write_record
from upon_triggers.kafka.library import client_settings, close_producer, construct, library
from upon_triggers.kafka.rights import topic_refused
from upon_triggers.kafka.transport import Headers, OnPublished
from upon_triggers.settings import KafkaConnection
from upon_triggers.source import SourceError

log = logging.getLogger("upon.kafka")

OPEN_TIMEOUT = 10.0
LINGER_MS = 0  # waiting only adds latency: records gather while a request is under way
BATCH_BYTES = 128 * 1024
MAX_RECORD = 1024 * 1024  # bytes with overhead; the brokers' own default is a little more
DELIVERY_TIMEOUT_MS = 30_000
METADATA_TIMEOUT = 10.0  # seconds for a topic that was not written before
MOST_UNCONFIRMED = 20_000  # records
ROOM_TIMEOUT = 10.0  # seconds that a handler's send waits for room
RECONNECT_AFTER = 1.0  # seconds


class Outgoing(NamedTuple):
    """A record on its way."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    on_done: OnPublished


Job: TypeAlias = Outgoing | Callable[[], None] | None


class KafkaPublisher:
    """Confirmed writes, in the order of the calls. Connects at `open`, or at the first record.

    One thread talks to the producer, so callers never block; a topic that was not written before is looked up on a
    thread of its own, so that it holds up no other. A producer that failed a record is replaced: one refusal by the
    broker spoils an idempotent producer for good.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        open_timeout: float = OPEN_TIMEOUT,
        metadata_timeout: float = METADATA_TIMEOUT,
        most_unconfirmed: int = MOST_UNCONFIRMED,
    ) -> None:
        self._connection = connection
        self._open_timeout = open_timeout
        self._metadata_timeout = metadata_timeout
        self._most_unconfirmed = most_unconfirmed
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._unconfirmed: deque[None] = deque()  # a counter whose steps are atomic
        self._room = threading.Condition()
        self._closing = False
        self._sender: threading.Thread | None = None
        self._producer: Any = None
        self._appender: Any = None
        self._failed_at = float("-inf")
        self._known: set[str] = set()
        self._looked_up: dict[str, list[Outgoing]] = {}

    # For everyone

    def open(self) -> None:
        """Connect now. Raises SourceError when no broker answers within `open_timeout` seconds."""
        if self._producer is None:
            self._producer = self._connect()

    def publish(self, topic: str, event: Event[Any], key: bytes | None, on_done: OnPublished) -> None:
        """Write an event. Waits for room where too much is unconfirmed, except on an event loop's thread."""
        written, value, headers = write_record(event, key)
        if len(self._unconfirmed) >= self._most_unconfirmed and asyncio._get_running_loop() is None:
            with self._room:
                self._room.wait_for(lambda: len(self._unconfirmed) < self._most_unconfirmed, ROOM_TIMEOUT)
        self.publish_raw(topic, written, value, headers, on_done)

    def publish_raw(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers, on_done: OnPublished
    ) -> None:
        """Write a record; never blocks. A header without a value is written with an empty one."""
        if self._closing:
            on_done(Draining("the publisher is closed"))
        elif len(self._unconfirmed) >= self._most_unconfirmed:
            on_done(Overloaded(f"{len(self._unconfirmed)} records wait for the brokers' confirmation"))
        else:
            self._unconfirmed.append(None)
            if self._sender is None:
                self._start()
            self._jobs.put(Outgoing(topic, key, value, headers, on_done))

    def flush(self, timeout: float) -> bool:
        """Wait until everything is confirmed or refused; False when `timeout` seconds were not enough."""
        with self._room:
            return self._room.wait_for(lambda: not self._unconfirmed, timeout)

    def close(self, timeout: float) -> None:
        """Flush, then refuse what is left, and let go of the brokers."""
        deadline = time.monotonic() + timeout
        self.flush(timeout)
        self._closing = True
        self._jobs.put(None)
        if self._sender is not None:
            self._sender.join(max(deadline - time.monotonic(), 0.1))
        self._refuse_the_rest()
        producer, self._producer = self._producer, None
        if producer is not None:
            close_producer(producer, max(deadline - time.monotonic(), 0.1))

    def _start(self) -> None:
        with self._room:
            if self._sender is None:
                self._sender = threading.Thread(target=self._send_all, name="upon-kafka-publisher", daemon=True)
                self._sender.start()

    def _settle(self, on_done: OnPublished, error: BaseException | None) -> None:
        self._unconfirmed.pop()
        left = len(self._unconfirmed)
        if left == 0 or left == self._most_unconfirmed - 1:
            with self._room:
                self._room.notify_all()
        on_done(error)

    # The sending thread

    def _send_all(self) -> None:
        while (job := self._jobs.get()) is not None:
            if not isinstance(job, Outgoing):
                job()
            elif (refused := self._not_connected()) is not None:
                self._settle(job.on_done, refused)
            elif job.topic in self._known:
                self._send(job)
            else:
                self._look_up(job)

    def _not_connected(self) -> Busy | None:
        if self._producer is not None:
            return None
        if time.monotonic() < self._failed_at + RECONNECT_AFTER:
            return Busy("no Kafka broker answers")
        try:
            self.open()
        except SourceError as error:
            self._failed_at = time.monotonic()
            return Busy(str(error))
        return None

    def _look_up(self, record: Outgoing) -> None:
        waiting = self._looked_up.get(record.topic)
        if waiting is not None:
            waiting.append(record)
            return
        self._looked_up[record.topic] = [record]
        threading.Thread(target=self._find, args=(record.topic, self._producer), daemon=True).start()

    def _find(self, topic: str, producer: Any) -> None:
        """On a thread of its own: the producer asks for a topic's partitions as long as it may."""
        error: UponError | None = None
        errors = library().errors
        try:
            producer.partitions_for(topic)
        except errors.KafkaTimeoutError:
            error = Busy(f"topic {topic!r} is not known to the brokers, or they do not answer: does it exist?")
        except errors.KafkaError as failure:
            error = self._reason(topic, failure, producer)
        self._jobs.put(partial(self._found, topic, error))

    def _found(self, topic: str, error: UponError | None) -> None:
        if error is None:
            self._known.add(topic)
        for record in self._looked_up.pop(topic):
            if error is None:
                self._send(record)
            else:
                self._settle(record.on_done, error)

    def _send(self, record: Outgoing) -> None:
        topic, key, value, headers, on_done = record
        producer = self._producer
        if producer is None:
            self._settle(on_done, Busy("the Kafka producer is being replaced"))
            return
        try:
            future = self._appender.send(topic, *writable(key, value, headers))
        except Exception as error:
            self._settle(on_done, self._reason(topic, error, producer))
            return
        future._add_cb_eb(  # both at once
            lambda _: self._settle(on_done, None),
            lambda error: self._settle(on_done, self._reason(topic, error, producer)),
        )

    def _refuse_the_rest(self) -> None:
        left = [record for waiting in self._looked_up.values() for record in waiting]
        with suppress(queue.Empty):
            while True:
                job = self._jobs.get_nowait()
                if isinstance(job, Outgoing):
                    left.append(job)
        for record in left:
            self._settle(record.on_done, Draining("the publisher is closed"))

    # The producer

    def _connect(self) -> Any:
        settings = client_settings(self._connection, "upon-publisher") | {
            "linger_ms": LINGER_MS,
            "batch_size": BATCH_BYTES,
            "max_request_size": MAX_RECORD,
            "max_block_ms": int(self._metadata_timeout * 1000),
            "delivery_timeout_ms": DELIVERY_TIMEOUT_MS,
            "bootstrap_timeout_ms": int(self._open_timeout * 1000),
            "metrics_enabled": False,
        }
        producer = construct(library().KafkaProducer, self._connection, settings)
        from upon_triggers.kafka.appending import Appender

        self._appender = Appender(producer)
        return producer

    def _reason(self, topic: str, error: BaseException, producer: Any) -> UponError:
        """What the caller can do about it; whether the producer is still good."""
        errors = library().errors
        refused = refusal(topic, error)
        if refused is not None and (isinstance(refused, DataError) or "max_request_size" in str(error)):
            return refused  # it never reached the broker
        self._replace(producer)
        if refused is not None:
            return refused
        if isinstance(error, errors.AuthorizationError):
            return topic_refused(self._connection, topic, "Write", seen=topic in self._known)
        return Busy(f"topic {topic!r} can't be written now: {type(error).__name__} {error}".rstrip())

    def _replace(self, producer: Any) -> None:
        """Once per producer; its records under way fail, and are written again by their owners."""
        with self._room:
            if producer is not self._producer:
                return
            self._producer = None
        log.info("the Kafka producer is replaced after a record that failed")
        threading.Thread(target=close_producer, args=(producer, 1.0), daemon=True).start()


def writable(
    key: bytes | None, value: bytes | None, headers: Headers
) -> tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]:
    """kafka-python writes no record without both key and value, and no header without a value."""
    return key, b"" if key is None and value is None else value, [(name, data or b"") for name, data in headers]


def refusal(topic: str, error: BaseException) -> TooLarge | DataError | None:
    """Why this record can never be written, where the error concerns it alone."""
    errors = library().errors
    if isinstance(error, errors.MessageSizeTooLargeError):
        return TooLarge(f"a record for topic {topic!r} is too large ({error}): write a reference to the data")
    if isinstance(error, (ValueError, TypeError)) and not isinstance(error, errors.KafkaError):
        return DataError(f"a record for topic {topic!r} can't be written: {error}")
    return None
