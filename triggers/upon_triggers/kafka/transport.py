"""What the source needs from Kafka: three small interfaces, met by a real client and by an in-memory broker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

from upon import UponError
from upon._engine import Publisher
from upon._kafka_codec import Raw

if TYPE_CHECKING:
    from upon_triggers.kafka.transaction import Transactor

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]
Start: TypeAlias = Literal["earliest", "latest"]
OnPublished: TypeAlias = Callable[[BaseException | None], None]
OnCommitted: TypeAlias = Callable[[BaseException | None], None]
OnFound: TypeAlias = Callable[["Mapping[Partition, Position] | BaseException"], None]


class TransportError(UponError):
    """The consumer can't go on: give it up without a commit and open another."""


class Partition(NamedTuple):
    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.number}"


class Position(NamedTuple):
    """What a group has committed: the next offset to read, and up to 4 kB of the group's own notes."""

    offset: int
    metadata: str = ""


Record: TypeAlias = Raw  # one record as it was read
Batch: TypeAlias = Mapping[Partition, Sequence[Record]]


class Listener(Protocol):
    """Who is told about the assignment; always on the thread that calls `Consumer.poll`, and during it."""

    def on_assigned(self, partitions: Iterable[Partition]) -> None: ...

    def on_revoked(self, partitions: Iterable[Partition]) -> None:
        """They are still ours until `Consumer.release`, which has to follow within the drain deadline."""

    def on_lost(self, partitions: Iterable[Partition]) -> None:
        """They belong to another member already: never commit them."""


class Consumer(Protocol):
    """One member of a consumer group, for one topic. Only `wake` may be called from any thread."""

    def poll(self, timeout: float) -> Batch:
        """Records, or nothing after `timeout` seconds or a `wake`. Raises TransportError."""
        ...

    def wake(self) -> None: ...
    def pause(self, partitions: Iterable[Partition]) -> None: ...
    def resume(self, partitions: Iterable[Partition]) -> None: ...

    def commit(self, positions: Mapping[Partition, Position], on_done: OnCommitted) -> None:
        """Returns at once. on_done comes once, from any thread."""

    def release(self, partitions: Iterable[Partition], positions: Mapping[Partition, Position]) -> None:
        """Commit these positions and give the revoked partitions away."""

    def find_committed(self, partitions: Sequence[Partition], on_done: OnFound) -> None:
        """What the group has committed; those are left out that nothing was committed of. Returns at once.

        on_done comes once, from any thread, with what was found or, after some seconds, the reason why not.
        """

    def end(self, partition: Partition) -> int | None:
        """The offset that the next record of the partition will get, as far as it is known."""

    def lag(self, partition: Partition) -> int | None:
        """Records between what was read and the end, or None where that is not known yet."""

    def membership(self) -> Any:
        """Our place in the group, for a transaction; None while news of a rebalance waits to be read by `poll`."""

    @property
    def connected(self) -> bool: ...

    @property
    def problem(self) -> str | None:
        """What keeps records from coming, in one sentence; None when all is well."""

    def close(self, positions: Mapping[Partition, Position], timeout: float) -> None:
        """Commit these positions, leave the group, let go of the connections."""


class RecordPublisher(Publisher, Protocol):
    """A publisher that writes plain records as well.

    on_done gets None once the brokers have confirmed the record; TooLarge when it can never be written;
    Busy when it may be written later.
    """

    def publish_raw(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers, on_done: OnPublished
    ) -> None:
        """Never blocks."""


class Cluster(Protocol):
    """Where topics live."""

    def ensure_topics(
        self, topics: Iterable[str], timeout: float, *, read: str | None = None, group: str | None = None
    ) -> None:
        """Make those that do not exist. read: the one that is read, by `group`; the others are written to.

        Raises SourceError, also for a right that is missing.
        """

    def open_consumer(self, group: str, topic: str, start: Start, listener: Listener) -> Consumer:
        """Raises SourceError where no broker answers."""
        ...

    def open_transactor(self, group: str) -> Transactor:
        """For one consumer's transactions. Raises SourceError where the brokers have none."""
        ...
