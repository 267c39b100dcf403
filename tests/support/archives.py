"""Replays against a broker in memory: what they read from, write to, and how one is run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from upon import UponError
from upon_triggers.kafka import dead_letter as told
from upon_triggers.kafka.dead_letters import NoTopic, Span
from upon_triggers.kafka.memory import MemoryBroker, _Group
from upon_triggers.kafka.replay import Outgoing, Planner, Replay, Wish
from upon_triggers.kafka.replay_ledger import GroupLedger
from upon_triggers.kafka.transport import Partition, Position, Record

DEAD = "orders.f.dead"


class MemoryArchive:
    """A MemoryBroker as `func dlq` reads Kafka. cut: partitions whose first records were deleted."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker
        self.cut: dict[tuple[str, int], int] = {}

    def topics(self) -> frozenset[str]:
        return frozenset(self.broker.topics)

    def bounds(self, topic: str) -> dict[int, Span]:
        if topic not in self.broker.topics:
            raise NoTopic(topic, self.topics())
        logs = self.broker._topics[topic]
        return {number: (self.cut.get((topic, number), 0), len(log)) for number, log in enumerate(logs)}

    def read(self, topic: str, partition: int, span: Span) -> Iterator[Record]:
        yield from self.broker._topics[topic][partition][slice(*span)]

    def committed(self, group: str, topic: str) -> dict[int, Position]:
        positions = self.broker._groups[group].positions if group in self.broker._groups else {}
        return {p.number: position for p, position in positions.items() if p.topic == topic}

    def has_members(self, group: str) -> bool:
        return group in self.broker._groups and bool(self.broker._groups[group].members)


class MemoryWriter:
    """refuses: values that are too large, say. raises: what every write ends with."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker
        self.calls: list[list[Outgoing]] = []
        self.refuses: dict[bytes, UponError] = {}
        self.raises: BaseException | None = None

    def write(self, records: Sequence[Outgoing]) -> list[UponError | None]:
        self.calls.append(list(records))
        if self.raises is not None:
            raise self.raises
        return [self._write(record) for record in records]

    def _write(self, record: Outgoing) -> UponError | None:
        if record.value in self.refuses:
            return self.refuses[record.value or b""]
        self.broker.publish(
            record.topic, record.value, key=record.key, headers=record.headers, partition=record.partition
        )
        return None


class Yard:
    """A topic `orders` of one partition, its dead letters, and replays of them."""

    def __init__(self, partitions: int = 1) -> None:
        self.broker = MemoryBroker(partitions)
        self.broker.create_topic("orders", partitions)
        self.broker.create_topic(DEAD, partitions)
        self.commit("s.f", "orders")
        self.archive = MemoryArchive(self.broker)
        self.writer = MemoryWriter(self.broker)
        self.now = 1000.0

    def commit(self, group: str, topic: str) -> None:
        """As if the group had read the topic."""
        self.broker._groups.setdefault(group, _Group()).positions[Partition(topic, 0)] = Position(0)

    def bury(self, number: int, partition: int = 0, **more: bytes | None) -> None:
        """A letter of the record `number` of `orders`. more: headers, upon-error-kind as kind_."""
        headers: dict[str, bytes | None] = {
            told.KIND: b"error",
            told.ERROR: b"it failed",
            told.ATTEMPTS: b"3",
            told.FUNCTION: b"f",
            told.GROUP: b"s.f",
            told.ORIGIN: f"orders/{partition}/{number}".encode(),
            told.ORIGIN_TIME: b"1700000000000",
            **{name.rstrip("_").replace("_", "-"): value for name, value in more.items()},
        }
        kept = [(name, value) for name, value in headers.items() if value is not None]
        self.broker.publish(DEAD, b"%d" % number, key=b"k%d" % number, headers=kept, partition=partition)

    def replay(self, **wish: Any) -> Replay:
        """A run that has not begun, in a group of its own until it is closed."""
        bounds = self.archive.bounds(DEAD)
        made = Wish(**{"rate": 0.0, **wish})
        ledger = GroupLedger(self.broker, self.archive, DEAD, bounds, join_seconds=0.5)
        replay = Replay(self.archive, DEAD, bounds, made, Planner(self.archive, made), self.writer, ledger)
        replay.clock = lambda: self.now
        replay.nap = self._sleep
        return replay

    def run(self, **wish: Any) -> Replay:
        """Run one to its end."""
        replay = self.replay(**wish)
        assert isinstance(replay.ledger, GroupLedger)
        with replay.ledger:
            replay.run()
        return replay

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    @property
    def written(self) -> list[bytes | None]:
        """The values that came to `orders`."""
        return [record.value for record in self.broker.records("orders")]

    def position(self, partition: int = 0) -> Position:
        return self.broker._groups[f"{DEAD}.dlq"].positions[Partition(DEAD, partition)]
