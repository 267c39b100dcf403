"""Apache Kafka behind the transport's interfaces, by kafka-python.

Its consumer blocks in poll and calls rebalance listeners on its own I/O thread. A fetching thread of ours sits in
that poll, and a mailbox turns everything into calls on the thread that calls our `poll`: so an outcome wakes the
source within microseconds, and a revocation is answered by the source's own loop while the member waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from upon_triggers.kafka import joining
from upon_triggers.kafka.library import client_settings, construct, library
from upon_triggers.kafka.listening import rebalance_listener
from upon_triggers.kafka.place import Place
from upon_triggers.kafka.topics import ensure_topics
from upon_triggers.kafka.transaction import Transactor
from upon_triggers.kafka.transport import (
    Batch,
    Consumer,
    Listener,
    OnCommitted,
    OnFound,
    Partition,
    Position,
    Start,
    TransportError,
)
from upon_triggers.kafka.troubles import Troubles
from upon_triggers.settings import KafkaConnection
from upon_triggers.source import SourceError

log = logging.getLogger("upon.kafka")

POLL_RECORDS = 500
POLL_SECONDS = 0.1  # how late a resumed partition may be noticed
ANSWER_SECONDS = 10.0  # for the question what the group has committed
SESSION_SECONDS = 10.0  # how long a member that was killed keeps its partitions
EMBEDDED_SESSION_SECONDS = 3.0  # the mock cluster lets a newcomer wait nearly this long after anybody has left
EMBEDDED_FETCH_SECONDS = 0.05  # the mock cluster answers a fetch only when this is over; shorter burns a core when idle
BATCHES_AHEAD = 2
BOOTSTRAP_SECONDS = 10.0
METADATA_AGE_SECONDS = 10.0  # new partitions are found within this time
METADATA_SECONDS = 5.0
SILENT_AFTER = 5.0  # seconds without a word from any broker; heartbeats come every two
ERRORS_IN_A_ROW = 30  # polls that raise, a second apart, until another consumer is opened

Mail: TypeAlias = Callable[[], None]


class KafkaCluster:
    """Topics and groups of a Kafka cluster."""

    def __init__(
        self, connection: KafkaConnection, *, max_poll_interval: float = 300.0, session_timeout: float | None = None
    ) -> None:
        self.connection = connection
        self._max_poll_interval = max_poll_interval
        usual = EMBEDDED_SESSION_SECONDS if connection.embedded else SESSION_SECONDS
        self._session_timeout = session_timeout or usual

    def ensure_topics(
        self, topics: Iterable[str], timeout: float, *, read: str | None = None, group: str | None = None
    ) -> None:
        ensure_topics(self.connection, topics, timeout, read=read, group=group)

    def open_consumer(self, group: str, topic: str, start: Start, listener: Listener) -> Consumer:
        kafka = library()
        from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

        from upon_triggers.kafka.parsing import parse_quickly

        fetch_wait = EMBEDDED_FETCH_SECONDS if self.connection.embedded else POLL_SECONDS
        settings = client_settings(self.connection, f"upon-{group}") | {
            "group_id": group,
            "auto_offset_reset": start,
            "enable_auto_commit": False,
            # What a transaction took back is not for us; and a dead owner's last commit is waited for.
            "isolation_level": "read_uncommitted" if self.connection.embedded else "read_committed",
            # Partitions that stay here are not even told about a rebalance.
            "partition_assignment_strategy": [CooperativeStickyAssignor],
            "max_poll_records": POLL_RECORDS,
            "fetch_max_wait_ms": int(fetch_wait * 1000),
            "max_poll_interval_ms": int(self._max_poll_interval * 1000),
            "session_timeout_ms": int(self._session_timeout * 1000),
            "heartbeat_interval_ms": int(self._session_timeout * 200),  # members learn of a rebalance by it
            "metadata_max_age_ms": int(METADATA_AGE_SECONDS * 1000),
            "bootstrap_timeout_ms": int(BOOTSTRAP_SECONDS * 1000),
            "metrics_enabled": False,
        }
        if self.connection.group_instance_id is not None:
            # One process has a member for each of its triggers; a name in one group may not stand for two.
            settings["group_instance_id"] = joining.instance_id(self.connection.group_instance_id, group, topic)
        consumer = construct(kafka.KafkaConsumer, self.connection, settings)
        parse_quickly(consumer)
        joining.tell_every_loss(consumer._coordinator)
        joining.finish_every_join(consumer._coordinator)
        troubles = Troubles(self.connection, topic, group, start)
        return GroupConsumer(consumer, topic, listener, patience=self._max_poll_interval / 2, troubles=troubles)

    def open_transactor(self, group: str) -> Transactor:
        from upon_triggers.kafka.transactor import KafkaTransactor

        if self.connection.embedded:
            raise SourceError("the development broker has no transactions: set kafka.bootstrap for exactly-once")
        return KafkaTransactor(self.connection, group)


class GroupConsumer:
    """A member of a group. patience: seconds to wait for `release` after a revocation."""

    def __init__(self, consumer: Any, topic: str, listener: Listener, *, patience: float, troubles: Troubles) -> None:
        self._kafka = library()
        self._troubles = troubles
        self._consumer = consumer
        self._listener = listener
        self._patience = patience
        self._mail: deque[Mail | Batch] = deque()
        self._news = threading.Condition()
        self._woken = False
        self._closing = False
        self._fatal: BaseException | None = None
        self._paused: set[Partition] = set()
        self._owned: set[Partition] = set()
        self._gate: Any = None
        self._place = Place(consumer, topic, troubles, self._fail)
        consumer.subscribe([topic], listener=rebalance_listener(self))
        self._await_metadata(topic)
        self._fetcher = threading.Thread(target=self._fetch, name="upon-kafka-fetch", daemon=True)
        self._fetcher.start()

    def _await_metadata(self, topic: str) -> None:
        """kafka-python joins its group without knowing the topic's partitions, and may then lead it to an empty
        assignment that stands until the next refresh."""
        cluster, deadline = self._consumer._cluster, time.monotonic() + METADATA_SECONDS
        while cluster.partitions_for_topic(topic) is None and time.monotonic() < deadline:
            try:
                self._consumer._net.run(self._consumer._manager.wait_for, cluster.request_update(), 1000)
            except self._kafka.errors.KafkaError as error:
                log.debug("no metadata of %s yet: %s", topic, error)
                time.sleep(0.05)

    # The source's thread

    def poll(self, timeout: float) -> Batch:
        with self._news:
            if not self._mail and not self._woken and timeout > 0 and self._fatal is None:
                self._news.wait(timeout)
            self._woken = False
        while self._mail:
            with self._news:
                mail = self._mail.popleft()
                self._news.notify_all()
            if not callable(mail):
                return mail
            mail()
        if isinstance(self._fatal, TransportError):
            raise self._fatal
        if self._fatal is not None:
            raise TransportError(f"the Kafka consumer failed: {self._fatal}") from self._fatal
        return {}

    def wake(self) -> None:
        with self._news:
            self._woken = True
            self._news.notify_all()

    def pause(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            self._set_flow(self._consumer.pause, partition)
            self._paused.add(partition)

    def resume(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            self._set_flow(self._consumer.resume, partition)
            self._paused.discard(partition)
        with self._news:
            self._news.notify_all()

    def _set_flow(self, change: Callable[[Any], None], partition: Partition) -> None:
        try:
            change(self._foreign(partition))
        except KeyError:  # it has just been taken from us
            log.debug("%s is not assigned any more", partition)

    def commit(self, positions: Mapping[Partition, Position], on_done: OnCommitted) -> None:
        """By the I/O thread at once: the fetching one may sit in a poll."""
        self._ask(partial(self._commit_owned, positions), lambda _: on_done(None), on_done)

    async def _commit_owned(self, positions: Mapping[Partition, Position]) -> None:
        """Only what is ours at this moment: a late commit would turn back the next owner's."""
        owned = {p: position for p, position in positions.items() if p in self._owned}
        if owned:
            await joining.commit(self._consumer._coordinator, self._offsets(owned))

    def find_committed(self, partitions: Sequence[Partition], on_done: OnFound) -> None:
        asked = [self._foreign(partition) for partition in partitions]
        find = self._consumer._coordinator.fetch_committed_offsets_async

        def found(answer: Any) -> None:
            on_done({Partition(*tp): Position(at.offset, at.metadata or "") for tp, at in answer.items()})

        self._ask(partial(find, asked, int(ANSWER_SECONDS * 1000)), found, on_done)

    def _ask(
        self, request: Callable[[], Any], on_answer: Callable[[Any], None], on_error: Callable[[BaseException], None]
    ) -> None:
        """Have the I/O thread await something."""
        try:
            future = self._consumer._manager.call_soon(request)
        except Exception as error:  # the loop has ended, with whatever ended it
            on_error(error)
        else:
            future.add_callback(on_answer)
            future.add_errback(on_error)

    def release(self, partitions: Iterable[Partition], positions: Mapping[Partition, Position]) -> None:
        gate, self._gate = self._gate, None
        self._paused.difference_update(partitions)
        if gate is not None:
            offsets = self._offsets(positions)
            leaving = frozenset(partitions)

            def let_go() -> None:
                self._owned.difference_update(leaving)  # no other commit shall follow this last one
                _open(gate, offsets)

            self._consumer._net.call_soon_threadsafe(let_go)

    def end(self, partition: Partition) -> int | None:
        state = self._consumer._subscription.assignment.get(self._foreign(partition))
        return None if state is None else state.highwater

    def lag(self, partition: Partition) -> int | None:
        state = self._consumer._subscription.assignment.get(self._foreign(partition))
        if state is None or state.highwater is None or state.position is None:
            return None
        return max(int(state.highwater - state.position.offset), 0)

    def membership(self) -> Any:
        """Read before the mail is looked at: a membership that is newer than a loss comes after the news of it."""
        found = self._consumer.group_metadata()
        with self._news:
            unread = any(callable(mail) for mail in self._mail)
        return None if unread or found.generation_id < 0 else found

    @property
    def connected(self) -> bool:
        if self._fatal is not None:
            return False
        limit = time.monotonic() - SILENT_AFTER
        connections = list(self._consumer._client._manager._conns.values())
        return any(c.connected and c.transport.last_read > limit for c in connections)

    @property
    def problem(self) -> str | None:
        if self._fatal is not None:
            return str(self._fatal)
        if not self.connected:
            return self._consumer._client._manager.refusal or "no Kafka broker answers"
        return self._troubles.current or self._place.problem

    def close(self, positions: Mapping[Partition, Position], timeout: float) -> None:
        if not self.connected:
            timeout = min(timeout, 1.0)
        if positions:  # before a revocation, under way or to come, lets another member have them
            joining.commit_last(partial(self.commit, positions), timeout)
        with self._news:
            self._closing = True
            self._news.notify_all()
        self.release((), {})
        self._fetcher.join(timeout)
        try:
            self._consumer.close(autocommit=False, timeout_ms=int(timeout * 1000))
        except self._kafka.errors.KafkaError as error:
            log.warning("the consumer did not leave its group in good order: %s", error)

    def _foreign(self, partition: Partition) -> Any:
        return self._kafka.TopicPartition(partition.topic, partition.number)

    def _offsets(self, positions: Mapping[Partition, Position]) -> dict[Any, Any]:
        make = self._kafka.structs.OffsetAndMetadata
        return {self._foreign(p): make(position.offset, position.metadata, -1) for p, position in positions.items()}

    # The fetching thread

    def _fetch(self) -> None:
        failures = 0
        while not self._closing:
            try:
                self._place.check()
                self._unpark()
                records = self._consumer.poll(timeout_ms=self._patience_of_poll())
                failures = 0
            except self._kafka.errors.KafkaError as error:
                failures += 1
                if (said := self._troubles.note(error)) is not None:
                    log.warning("%s", said)
                if failures >= ERRORS_IN_A_ROW:
                    return self._fail(TransportError(self._troubles.current or str(error)))
                self._rest(1.0)
            except Exception as error:
                return self._fail(error)
            else:
                if records:
                    self._troubles.over()
                    batch = {Partition(*tp): found for tp, found in records.items()}
                    self._place.read(batch)
                    self._deliver(batch)

    def _unpark(self) -> None:
        """kafka-python 3.0 parks what it has parsed of a paused partition, and takes it up again only while no other
        partition's records are in line; a used-up one in line counts, and the parked partition stands still."""
        fetcher = self._consumer._fetcher
        if fetcher._next_partition_records is not None and not fetcher._next_partition_records:
            fetcher._next_partition_records = None

    def _patience_of_poll(self) -> float:
        """With nothing to fetch kafka-python would sleep, deaf to a partition that is resumed: wait here instead."""
        if not self._owned or self._paused < self._owned:
            return POLL_SECONDS * 1000
        with self._news:
            if not self._closing and self._paused >= self._owned:
                self._news.wait(POLL_SECONDS)
        return 0

    def _deliver(self, batch: Batch) -> None:
        with self._news:
            self._mail.append(batch)
            self._news.notify_all()
            while len(self._mail) >= BATCHES_AHEAD and not self._closing:
                self._news.wait(POLL_SECONDS)

    def _rest(self, seconds: float) -> None:
        with self._news:
            if not self._closing:
                self._news.wait(seconds)

    def _fail(self, error: BaseException) -> None:
        with self._news:
            self._fatal = error
            self._news.notify_all()

    # kafka-python's I/O thread

    def _post(self, mail: Mail) -> None:
        with self._news:
            self._mail.append(mail)
            self._news.notify_all()

    def _on_assigned(self, partitions: list[Partition]) -> None:
        self._place.assigned(partitions)
        self._owned.update(partitions)
        self._post(partial(self._listener.on_assigned, partitions))

    async def _on_revoked(self, partitions: list[Partition]) -> None:
        """The member does not rejoin its group before this returns: until then nobody else has the partitions."""
        if not self._closing:
            self._gate = gate = self._kafka.future.Future()
            self._post(partial(self._listener.on_revoked, partitions))
            if self._closing:  # since then
                _open(gate, {})
            try:
                offsets = await self._consumer._manager.wait_for(gate, int(self._patience * 1000))
                if offsets:
                    await self._consumer.commit_async(offsets)
            except self._kafka.errors.KafkaError as error:
                log.warning("the commit at a revocation failed, finished records come again: %s", error)
        self._owned.difference_update(partitions)

    def _on_lost(self, partitions: list[Partition]) -> None:
        self._owned.difference_update(partitions)
        if not self._closing:
            self._post(partial(self._listener.on_lost, partitions))


def _open(gate: Any, offsets: dict[Any, Any]) -> None:
    if not gate.is_done:
        gate.success(offsets)
