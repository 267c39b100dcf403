"""Writes records to partitions of the caller's choice and waits for each; a producer that failed is replaced."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from upon import DataError, TooLarge, UponError
from upon_triggers.kafka.library import client_settings, construct, library, unreachable
from upon_triggers.kafka.replay import Outgoing
from upon_triggers.settings import KafkaConnection
from upon_triggers.source import SourceError

OPEN_SECONDS = 10.0
CONFIRM_SECONDS = 30.0
MAX_REQUEST = 64 * 1024 * 1024  # bytes; whether a record is too large is the brokers' to say


class KafkaWriter:
    """Confirmed writes. Raises SourceError where the brokers can't be had within CONFIRM_SECONDS."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._kafka = library()
        self._connection = connection
        self._producer: Any = None

    def __enter__(self) -> KafkaWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()

    def write(self, records: Sequence[Outgoing]) -> list[UponError | None]:
        """All at once; what fails is written once more, alone: one refusal fails what else its producer has in hand."""
        final: list[UponError | None] = []
        for record, outcome in zip(records, self._try(records), strict=True):
            if outcome is not None:
                [outcome] = self._try([record])
            error = self._refusal(record, outcome)
            if isinstance(error, SourceError):
                raise error
            final.append(error)
        return final

    def _try(self, records: Sequence[Outgoing]) -> list[BaseException | None]:
        if self._producer is None:
            self._producer = construct(self._kafka.KafkaProducer, self._connection, self._settings())
        pending = [self._send(record) for record in records]
        outcomes = [self._outcome(one) for one in pending]
        if any(outcome is not None for outcome in outcomes):  # and spoils an idempotent producer for good
            self._drop()
        return outcomes

    def _send(self, record: Outgoing) -> Any:
        value = b"" if record.key is None and record.value is None else record.value  # it wants one of the two
        headers = [(name, data or b"") for name, data in record.headers]
        try:
            return self._producer.send(
                record.topic, partition=record.partition, key=record.key, value=value, headers=headers
            )
        except (self._kafka.errors.KafkaError, ValueError, TypeError, AssertionError) as error:
            return error

    def _outcome(self, pending: Any) -> BaseException | None:
        if isinstance(pending, BaseException):
            return pending
        try:
            pending.get(timeout=CONFIRM_SECONDS)
        except self._kafka.errors.KafkaError as error:
            return error  # type: ignore[no-any-return]
        return None

    def _refusal(self, record: Outgoing, error: BaseException | None) -> UponError | None:
        """What concerns this record alone; a SourceError for anything else."""
        errors = self._kafka.errors
        if error is None:
            return None
        if isinstance(error, errors.MessageSizeTooLargeError):
            size = len(record.key or b"") + len(record.value or b"")
            return TooLarge(f"its {size} bytes are too many for topic {record.topic!r}: raise its max.message.bytes")
        if isinstance(error, errors.AuthorizationError):
            return UponError(f"writing to topic {record.topic!r} is not allowed with these credentials: grant Write")
        if isinstance(error, errors.KafkaError):
            return unreachable(self._connection, error)
        return DataError(f"it can't be written to topic {record.topic!r}: {error}")

    def _settings(self) -> dict[str, Any]:
        return client_settings(self._connection, "upon-dlq-replay") | {
            "linger_ms": 5,
            "max_request_size": MAX_REQUEST,
            "max_block_ms": int(OPEN_SECONDS * 1000),
            "delivery_timeout_ms": int(CONFIRM_SECONDS * 1000),
            "bootstrap_timeout_ms": int(OPEN_SECONDS * 1000),
            "metrics_enabled": False,
        }

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            producer.close(timeout=1.0)
        except self._kafka.errors.KafkaError:
            producer._sender.force_close()
