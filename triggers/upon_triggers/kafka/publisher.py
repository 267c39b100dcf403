"""Writes records with kafka-python's idempotent producer, without ever making the source wait for a broker."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from upon import Busy, DataError, Draining, Event, Overloaded, TooLarge, UponError
from upon._kafka_codec import write_record
from upon_triggers.kafka.library import client_settings, library, unreachable
from upon_triggers.kafka.transport import Headers, OnPublished
from upon_triggers.settings import KafkaConnection
from upon_triggers.source import SourceError

log = logging.getLogger("upon.kafka")

OPEN_TIMEOUT = 10.0
LINGER_MS = 2
BATCH_BYTES = 128 * 1024
MAX_RECORD = 1024 * 1024  # bytes with overhead; the brokers' own default is a little more
DELIVERY_TIMEOUT_MS = 30_000
METADATA_TIMEOUT_MS = 10_000
MOST_UNCONFIRMED = 20_000  # records
ROOM_TIMEOUT = 10.0  # seconds that a handler's send waits for room


class KafkaPublisher:
    """Confirmed writes. Connects at `open`, or at the first record.

    A record for a topic that was written before goes straight to the producer. What could block (connecting, an
    unknown topic) happens on a thread of its own. A producer that failed a record is replaced: one refusal by the
    broker spoils an idempotent producer for good.
    """

    def __init__(self, connection: KafkaConnection, *, linger_ms: int = LINGER_MS) -> None:
        self._connection = connection
        self._linger_ms = linger_ms
        self._producer: Any = None
        self._known: set[str] = set()
        self._slow: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._room = threading.Condition()
        self._unconfirmed = 0
        self._queued = 0  # on their way through the slow thread; later records must not overtake them
        self._closing = False
        self._worker: threading.Thread | None = None

    # For everyone

    def open(self, timeout: float = OPEN_TIMEOUT) -> None:
        """Connect now. Raises SourceError when no broker answers in time."""
        if self._producer is None:
            self._producer = self._connect(timeout)

    def publish(self, topic: str, event: Event[Any], key: bytes | None, on_done: OnPublished) -> None:
        """Write an event. Waits for room where too much is unconfirmed, except on an event loop's thread."""
        written, value, headers = write_record(event, key)
        if self._unconfirmed >= MOST_UNCONFIRMED and asyncio._get_running_loop() is None:
            with self._room:
                self._room.wait_for(lambda: self._unconfirmed < MOST_UNCONFIRMED, ROOM_TIMEOUT)
        self.publish_raw(topic, written, value, headers, on_done)

    def publish_raw(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers, on_done: OnPublished
    ) -> None:
        """Write a record; never blocks. A header without a value is written with an empty one."""
        with self._room:
            if self._closing or self._unconfirmed >= MOST_UNCONFIRMED:
                refused: Busy = Draining("the publisher is closed") if self._closing else _too_much()
            else:
                self._unconfirmed += 1
                refused = None  # type: ignore[assignment]
        if refused is not None:
            on_done(refused)
            return
        settle = partial(self._settle, on_done)
        if self._queued == 0 and self._producer is not None and topic in self._known:
            self._send(topic, key, value, headers, settle)
        else:
            with self._room:
                self._queued += 1
            self._later(partial(self._send_slowly, topic, key, value, headers, settle))

    def flush(self, timeout: float) -> bool:
        """Wait until everything is confirmed or refused; False when `timeout` seconds were not enough."""
        with self._room:
            return self._room.wait_for(lambda: self._unconfirmed == 0, timeout)

    def close(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        self.flush(timeout)
        with self._room:
            self._closing = True
        self._slow.put(None)
        if self._worker is not None:
            self._worker.join(max(deadline - time.monotonic(), 0.1))
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=max(deadline - time.monotonic(), 0.1))

    # One record

    def _send(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers, settle: OnPublished) -> None:
        kafka = library()
        producer = self._producer
        if producer is None:
            settle(Busy("the Kafka producer is being replaced"))
            return
        if key is None and value is None:
            value = b""  # kafka-python can't write a record without both
        try:
            future = producer.send(
                topic, key=key, value=value, headers=[(name, data or b"") for name, data in headers]
            )
        except Exception as error:
            settle(self._reason(kafka, topic, error, producer))
            return
        future.add_callback(lambda _: settle(None))
        future.add_errback(lambda error: settle(self._reason(kafka, topic, error, producer)))

    def _settle(self, on_done: OnPublished, error: BaseException | None) -> None:
        with self._room:
            self._unconfirmed -= 1
            if self._unconfirmed == 0 or self._unconfirmed == MOST_UNCONFIRMED - 1:
                self._room.notify_all()
        on_done(error)

    def _reason(self, kafka: Any, topic: str, error: BaseException, producer: Any) -> UponError:
        """What the caller can do about it."""
        errors = kafka.errors
        if isinstance(error, errors.MessageSizeTooLargeError):
            refused: UponError = TooLarge(
                f"a record for topic {topic!r} is too large ({error}): write a reference to the data instead"
            )
            if "max_request_size" in str(error):
                return refused  # it never reached the producer
        elif isinstance(error, errors.AuthorizationError):
            refused = UponError(f"writing to topic {topic!r} is not allowed: {error}")
        elif isinstance(error, (ValueError, TypeError)) and not isinstance(error, errors.KafkaError):
            return DataError(f"a record for topic {topic!r} can't be written: {error}")
        else:
            refused = Busy(f"topic {topic!r} can't be written now: {type(error).__name__} {error}".rstrip())
        self._replace(producer)
        return refused

    # What may block, on one thread

    def _later(self, job: Callable[[], None]) -> None:
        with self._room:
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="upon-kafka-publisher", daemon=True)
                self._worker.start()
        self._slow.put(job)

    def _work(self) -> None:
        while (job := self._slow.get()) is not None:
            job()

    def _send_slowly(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers, settle: OnPublished
    ) -> None:
        error = self._prepare(topic)
        if error is None:
            self._send(topic, key, value, headers, settle)
        with self._room:
            self._queued -= 1
        if error is not None:
            settle(error)

    def _prepare(self, topic: str) -> UponError | None:
        """Connect, and learn the topic's partitions; or why that can't be."""
        kafka = library()
        try:
            self.open()
            if topic not in self._known:
                self._producer.partitions_for(topic)
                self._known.add(topic)
        except SourceError as error:
            return Busy(str(error))
        except kafka.errors.KafkaTimeoutError:
            return Busy(f"topic {topic!r} is not known to the brokers, or they do not answer: does it exist?")
        except kafka.errors.KafkaError as error:
            return self._reason(kafka, topic, error, self._producer)
        return None

    def _connect(self, timeout: float) -> Any:
        kafka = library()
        try:
            return kafka.KafkaProducer(
                **client_settings(self._connection, "upon-publisher"),
                linger_ms=self._linger_ms,
                batch_size=BATCH_BYTES,
                max_request_size=MAX_RECORD,
                max_block_ms=METADATA_TIMEOUT_MS,
                delivery_timeout_ms=DELIVERY_TIMEOUT_MS,
                bootstrap_timeout_ms=int(timeout * 1000),
                metrics_enabled=False,
            )
        except kafka.errors.KafkaError as error:
            raise unreachable(self._connection, error) from None

    def _replace(self, producer: Any) -> None:
        """Once per producer; those of its records that are under way fail and are written again by their owners."""
        with self._room:
            if producer is None or producer is not self._producer:
                return
            self._producer = None
        log.info("the Kafka producer is replaced after a refused record")
        self._later(lambda: producer.close(timeout=1.0))


def _too_much() -> Overloaded:
    return Overloaded(f"{MOST_UNCONFIRMED} records wait for the brokers' confirmation")
