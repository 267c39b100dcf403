"""Kafka in memory, for tests and notebooks: topics, groups and rebalances, and the same source on top."""

from __future__ import annotations

import itertools
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from upon import Busy, Event, TooLarge, UponError
from upon._kafka_codec import write_record
from upon_triggers.kafka.transaction import Aborted, OnTransacted, Output
from upon_triggers.kafka.transport import (
    Batch,
    Headers,
    Listener,
    OnCommitted,
    OnFound,
    OnPublished,
    Partition,
    Position,
    Start,
)

POLL_RECORDS = 500


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """One stored record. timestamp: milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int


@dataclass(slots=True)
class _Group:
    positions: dict[Partition, Position] = field(default_factory=dict)
    members: list[MemoryConsumer] = field(default_factory=list)
    owners: dict[Partition, MemoryConsumer] = field(default_factory=dict)


class MemoryBroker:
    """Topics in memory, made when first used. down=True: nobody answers, as if the broker were gone.

    partitions: of a topic that is made by use. max_size: bytes of key, value and headers of one record.
    """

    def __init__(self, partitions: int = 1, *, max_size: int = 2**20, wall: Callable[[], float] = time.time) -> None:
        self.down = False
        self._partitions = partitions
        self._max_size = max_size
        self._wall = wall
        self._topics: dict[str, list[list[MemoryRecord]]] = {}
        self._groups: dict[str, _Group] = {}
        self._turn = itertools.count()
        self._changed = threading.Condition(threading.RLock())

    # Topics

    def create_topic(self, topic: str, partitions: int) -> None:
        with self._changed:
            self._topics.setdefault(topic, [[] for _ in range(partitions)])

    def ensure_topics(
        self, topics: Iterable[str], timeout: float = 0.0, *, read: str | None = None, group: str | None = None
    ) -> None:
        for topic in topics:
            self.create_topic(topic, self._partitions)

    @property
    def topics(self) -> list[str]:
        return sorted(self._topics)

    def publish(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers = (),
        timestamp: int | None = None,
        partition: int | None = None,
    ) -> MemoryRecord:
        """Append a record. partition: by default the key's, or the next in turn.

        Raises TooLarge over max_size, and Busy while the broker is down.
        """
        with self._changed:
            if self.down:
                raise Busy("the broker does not answer")
            too_large = self.too_large(topic, key, value, headers)
            if too_large is not None:
                raise too_large
            self.create_topic(topic, self._partitions)
            logs = self._topics[topic]
            if partition is None:
                partition = (next(self._turn) if key is None else zlib.crc32(key)) % len(logs)
            if timestamp is None:
                timestamp = int(self._wall() * 1000)
            offset = len(logs[partition])
            record = MemoryRecord(topic, partition, offset, key, value, tuple(headers), timestamp)
            logs[partition].append(record)
            self._changed.notify_all()
            return record

    def too_large(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> TooLarge | None:
        """Why such a record can't be written."""
        size = len(key or b"") + len(value or b"") + sum(len(n) + len(v or b"") for n, v in headers)
        if size <= self._max_size:
            return None
        return TooLarge(f"a record of {size} bytes for {topic!r} is over the limit of {self._max_size}")

    def records(self, topic: str) -> list[MemoryRecord]:
        """Everything in a topic, by partition and offset."""
        with self._changed:
            return [record for log in self._topics.get(topic, ()) for record in log]

    # Groups

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """The committed offset of each partition that has one."""
        with self._changed:
            positions = self._groups[group].positions if group in self._groups else {}
            return {p.number: position.offset for p, position in positions.items() if p.topic == topic}

    def open_consumer(self, group: str, topic: str, start: Start, listener: Listener) -> MemoryConsumer:
        with self._changed:
            self.ensure_topics([topic])
            consumer = MemoryConsumer(self, self._groups.setdefault(group, _Group()), topic, start, listener)
            self._changed.notify_all()
            return consumer

    def open_transactor(self, group: str) -> MemoryTransactor:
        return MemoryTransactor(self)

    def open_publisher(self) -> MemoryPublisher:
        return MemoryPublisher(self)


class MemoryConsumer:
    """One member of a group. Partitions move one by one: given back here, then taken there."""

    def __init__(self, broker: MemoryBroker, group: _Group, topic: str, start: Start, listener: Listener) -> None:
        self._broker = broker
        self._changed = broker._changed
        self._group = group
        self._topic = topic
        self._start = start
        self._listener = listener
        self._next: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._leaving: set[Partition] = set()
        self._woken = False
        group.members.append(self)

    def membership(self) -> Any:
        return self

    @property
    def connected(self) -> bool:
        return not self._broker.down

    @property
    def problem(self) -> str | None:
        return "the broker is down" if self._broker.down else None

    def poll(self, timeout: float) -> Batch:
        with self._changed:
            self._rebalance()
            batch = self._fetch()
            if not batch and timeout > 0 and not self._woken:
                self._changed.wait(timeout)
                self._rebalance()
                batch = self._fetch()
            self._woken = False
            return batch

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def _fetch(self) -> dict[Partition, Sequence[MemoryRecord]]:
        if self._broker.down:
            return {}
        batch: dict[Partition, Sequence[MemoryRecord]] = {}
        for partition in self._next.keys() - self._paused - self._leaving:
            begin = self._next[partition]
            found = self._broker._topics[self._topic][partition.number][begin : begin + POLL_RECORDS]
            if found:
                batch[partition] = found
                self._next[partition] += len(found)
        return batch

    def _rebalance(self) -> None:
        """Give back what belongs to another member, and take what is ours once it is free."""
        if self._broker.down:
            return
        group = self._group
        peers = [member for member in group.members if member._topic == self._topic]
        ours, owners = peers.index(self), group.owners
        count = len(self._broker._topics[self._topic])
        wanted = {Partition(self._topic, n) for n in range(count) if n % len(peers) == ours}
        revoked = self._next.keys() - wanted - self._leaving
        if revoked:
            self._leaving |= revoked
            self._listener.on_revoked(sorted(revoked))
        added = sorted(p for p in wanted if p not in owners)
        for partition in added:
            owners[partition] = self
            self._next[partition] = self._first(partition)
        if added:
            self._listener.on_assigned(added)

    def _first(self, partition: Partition) -> int:
        position = self._group.positions.get(partition)
        if position is not None:
            return position.offset
        return 0 if self._start == "earliest" else len(self._broker._topics[self._topic][partition.number])

    def release(self, partitions: Iterable[Partition], positions: Mapping[Partition, Position]) -> None:
        with self._changed:
            self._store(positions)
            for partition in partitions:
                self._let_go(partition)
            self._changed.notify_all()

    def _let_go(self, partition: Partition) -> None:
        if self._group.owners.get(partition) is self:
            del self._group.owners[partition]
        self._next.pop(partition, None)
        self._paused.discard(partition)
        self._leaving.discard(partition)

    def lose(self) -> None:
        """For tests: the group has thrown this member out, as after a long silence."""
        with self._changed:
            lost = sorted(self._next)
            for partition in lost:
                self._let_go(partition)
            self._listener.on_lost(lost)

    def vanish(self) -> None:
        """For tests: the process died; nobody says goodbye, and the others take over."""
        with self._changed:
            if self in self._group.members:
                self._group.members.remove(self)
            for partition in list(self._next):
                self._let_go(partition)
            self._changed.notify_all()

    def pause(self, partitions: Iterable[Partition]) -> None:
        self._paused.update(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        self._paused.difference_update(partitions)

    def commit(self, positions: Mapping[Partition, Position], on_done: OnCommitted) -> None:
        with self._changed:
            down = self._broker.down
            if not down:
                self._store(positions)
        on_done(Busy("the broker does not answer") if down else None)

    def _store(self, positions: Mapping[Partition, Position]) -> None:
        owned = {p: position for p, position in positions.items() if self._group.owners.get(p) is self}
        self._group.positions.update(owned)

    def find_committed(self, partitions: Sequence[Partition], on_done: OnFound) -> None:
        if self._broker.down:
            on_done(Busy("the broker does not answer"))
            return
        with self._changed:
            found = {p: self._group.positions[p] for p in partitions if p in self._group.positions}
        on_done(found)

    def end(self, partition: Partition) -> int | None:
        return len(self._broker._topics[self._topic][partition.number])

    def seek(self, partition: Partition, offset: int) -> None:
        self._next[partition] = offset

    def lag(self, partition: Partition) -> int | None:
        position = self._next.get(partition)
        if position is None:
            return None
        return len(self._broker._topics[self._topic][partition.number]) - position

    def close(self, positions: Mapping[Partition, Position], timeout: float) -> None:
        with self._changed:
            if self in self._group.members:
                self._group.members.remove(self)
            if not self._broker.down:
                self._store(positions)
            for partition in list(self._next):
                self._let_go(partition)
            self._changed.notify_all()


class MemoryPublisher:
    """Writes to a MemoryBroker; confirmed before the call returns."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self.errors: deque[UponError] = deque()  # for tests: what the next writes fail with

    def publish(self, topic: str, event: Event[Any], key: bytes | None, on_done: OnPublished) -> None:
        written, value, headers = write_record(event, key)
        self.publish_raw(topic, written, value, headers, on_done)

    def publish_raw(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers, on_done: OnPublished
    ) -> None:
        error: UponError | None = None
        try:
            if self.errors:
                raise self.errors.popleft()
            self._broker.publish(topic, value, key=key, headers=headers)
        except UponError as refused:
            error = refused
        on_done(error)

    def flush(self, timeout: float) -> bool:
        return True

    def close(self, timeout: float) -> None:
        """Nothing is held."""


class MemoryTransactor:
    """Transactions of a MemoryBroker: everybody sees all of it at once."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def commit(
        self,
        membership: MemoryConsumer,
        positions: Mapping[Partition, Position],
        outputs: Sequence[Output],
        on_done: OnTransacted,
    ) -> None:
        with self._broker._changed:
            problem = self._problem(membership, positions, outputs)
            if problem is None:
                for output in outputs:
                    self._broker.publish(output.topic, output.value, key=output.key, headers=output.headers)
                membership._group.positions.update(positions)
        on_done(problem)

    def _problem(
        self, membership: MemoryConsumer, positions: Mapping[Partition, Position], outputs: Sequence[Output]
    ) -> Aborted | None:
        if self._broker.down:
            return Aborted("the broker does not answer")
        if any(membership._group.owners.get(partition) is not membership for partition in positions):
            return Aborted("the member is behind its group")
        refused = {
            index: too_large
            for index, output in enumerate(outputs)
            if (too_large := self._broker.too_large(output.topic, output.key, output.value, output.headers)) is not None
        }
        return Aborted(f"{len(refused)} records can't be written", refused) if refused else None

    def close(self, timeout: float) -> None:
        """Nothing is held."""
