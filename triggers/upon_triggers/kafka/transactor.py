"""Kafka's transactions by kafka-python, each step with a deadline, which its own blocking calls do not have.

Everything up to the request to commit can be taken back; only its answer can leave a doubt. So all records are
confirmed, and the offsets accepted, before that request is sent.
"""

from __future__ import annotations

import logging
import queue
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from upon import UponError
from upon_triggers.kafka.library import client_settings, close_producer, construct, library
from upon_triggers.kafka.publisher import BATCH_BYTES, MAX_RECORD, refusal, writable
from upon_triggers.kafka.transaction import Aborted, OnTransacted, Output, Unsettled
from upon_triggers.kafka.transport import Partition, Position
from upon_triggers.settings import KafkaConnection
from upon_triggers.source import SourceError

log = logging.getLogger("upon.kafka")

TRANSACTION_SECONDS = 10.0  # after it the brokers abort what a dead member has left open
STEP_SECONDS = 8.0  # a step of one transaction; under the brokers' patience, so that they agree on what happened
OPEN_SECONDS = 10.0


class Job(NamedTuple):
    membership: Any
    positions: Mapping[Partition, Position]
    outputs: Sequence[Output]
    on_done: OnTransacted


class KafkaTransactor:
    """One transactional producer on a thread of its own. A producer that failed is replaced before the next commit.

    Its transactional id is random: it is the consumer's membership that fences a member which was replaced, so
    nothing has to be the same after a restart.
    """

    def __init__(self, connection: KafkaConnection, group: str, *, step_seconds: float = STEP_SECONDS) -> None:
        self._connection = connection
        self._id = f"upon-{group}-{uuid.uuid4().hex}"
        self._step = step_seconds
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._producer: Any = None
        self._thread = threading.Thread(target=self._run, name="upon-kafka-transactor", daemon=True)
        self._thread.start()

    def commit(
        self, membership: Any, positions: Mapping[Partition, Position], outputs: Sequence[Output], on_done: OnTransacted
    ) -> None:
        self._jobs.put(Job(membership, positions, outputs, on_done))

    def close(self, timeout: float) -> None:
        self._jobs.put(None)
        self._thread.join(timeout)

    # The thread

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.on_done(self._outcome(job))
        self._drop()

    def _outcome(self, job: Job) -> Aborted | Unsettled | None:
        try:
            producer = self._open()
            self._prepare(producer, job)
        except Aborted as aborted:
            self._abort()
            return aborted
        except Exception as error:
            self._abort()
            return Aborted(f"a transaction could not be prepared: {_text(error)}")
        try:
            self._await(producer._transaction_manager.begin_commit)
        except Exception as error:
            self._drop()
            return Unsettled(f"a transaction was sent, and its commit was not confirmed: {_text(error)}")
        return None

    def _open(self) -> Any:
        if self._producer is None:
            try:
                producer = construct(library().KafkaProducer, self._connection, self._settings())
            except SourceError as error:
                raise Aborted(str(error)) from None
            self._producer = producer
            producer.init_transactions()
        return self._producer

    def _settings(self) -> dict[str, Any]:
        return client_settings(self._connection, "upon-transactor") | {
            "transactional_id": self._id,
            "transaction_timeout_ms": int(TRANSACTION_SECONDS * 1000),
            "linger_ms": 0,
            "batch_size": BATCH_BYTES,
            "max_request_size": MAX_RECORD,
            "max_block_ms": int(self._step * 1000),
            # request_timeout_ms and linger_ms have to fit into it.
            "request_timeout_ms": int(self._step * 1000),
            "delivery_timeout_ms": int(self._step * 1000) + 1000,
            "bootstrap_timeout_ms": int(OPEN_SECONDS * 1000),
            "metrics_enabled": False,
        }

    def _prepare(self, producer: Any, job: Job) -> None:
        """All but the commit. Raises Aborted, or what kafka-python raises."""
        producer.begin_transaction()
        self._write(producer, job.outputs)
        structs = library().structs
        offsets = {
            structs.TopicPartition(*partition): structs.OffsetAndMetadata(position.offset, position.metadata, -1)
            for partition, position in job.positions.items()
        }
        manager = producer._transaction_manager
        self._await(lambda: manager.send_offsets_to_transaction(offsets, job.membership))

    def _write(self, producer: Any, outputs: Sequence[Output]) -> None:
        refused: dict[int, UponError] = {}
        futures = []
        for index, output in enumerate(outputs):
            try:
                futures.append(_send(producer, output))
            except Exception as error:
                reason = refusal(output.topic, error)
                if reason is None:
                    raise
                refused[index] = reason
        if refused:  # before anything is waited for: the transaction is given up
            raise Aborted(f"{len(refused)} records can't be written", refused)
        if not futures:
            return
        producer.flush(self._step)
        for index, future in enumerate(futures):
            failure = future.exception
            reason = None if failure is None else refusal(outputs[index].topic, failure)
            if reason is not None:
                refused[index] = reason
            elif failure is not None and not refused:
                raise failure
        if refused:
            raise Aborted(f"{len(refused)} records can't be written", refused)

    def _await(self, request: Callable[[], Any]) -> None:
        result = request()
        self._producer._sender.wakeup()
        if not result.wait(int(self._step * 1000)):
            raise TimeoutError(f"no answer within {self._step:g} s")

    def _abort(self) -> None:
        """Take back what was begun, so that readers do not wait until the brokers do so. The producer is replaced: a
        record that was refused leaves it with sequence numbers that the brokers do not expect."""
        producer = self._producer
        if producer is None:
            return
        try:
            if producer._transaction_manager._current_state.name in ("IN_TRANSACTION", "ABORTABLE_ERROR"):
                self._await(producer._transaction_manager.begin_abort)
        except Exception as error:
            log.debug("a transaction could not be aborted, its successor will do so: %s", error)
        self._drop()

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            close_producer(producer, 1.0)


def _send(producer: Any, output: Output) -> Any:
    key, value, headers = writable(output.key, output.value, output.headers)
    return producer.send(output.topic, key=key, value=value, headers=headers)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".rstrip()
