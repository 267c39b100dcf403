"""Who replays a dead-letter topic is the only member of a group, and its commits say what was replayed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType

from upon_triggers.kafka.dead_letters import Archive, Span, replay_group, replayed_of
from upon_triggers.kafka.replayed import Replayed
from upon_triggers.kafka.transport import Cluster, Consumer, Partition
from upon_triggers.source import SourceError

JOIN_SECONDS = 20.0  # longer than a member that was killed keeps its partitions
ANSWER_SECONDS = 10.0
SESSION_SECONDS = 6.0  # the least that brokers grant by default
POLL_SECONDS = 0.1


class GroupLedger:
    """A Ledger in the commits of a consumer group; also the listener of its rebalances. Close it at the end.

    Raises SourceError when another replay of the topic is under way.
    """

    def __init__(
        self,
        cluster: Cluster,
        archive: Archive,
        topic: str,
        bounds: Mapping[int, Span],
        *,
        join_seconds: float = JOIN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        nap: Callable[[float], object] = time.sleep,
    ) -> None:
        self._topic = topic
        self._clock = clock
        self._owned: set[Partition] = set()
        self._gone: set[Partition] = set()  # since the start: somebody may have replayed there meanwhile
        deadline = clock() + join_seconds
        while archive.has_members(replay_group(topic)):  # who joins it now takes partitions from the other
            if clock() > deadline:
                raise self._under_way()
            nap(POLL_SECONDS)
        self._consumer: Consumer = cluster.open_consumer(replay_group(topic), topic, "earliest", self)
        try:
            self._join({Partition(topic, number) for number in bounds}, deadline)
            self.replayed: dict[int, Replayed] = replayed_of(archive, topic, bounds)
        except BaseException:
            self._consumer.close({}, 1.0)
            raise

    def __enter__(self) -> GroupLedger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close({}, 1.0)

    def _join(self, wanted: set[Partition], deadline: float) -> None:
        while not wanted <= self._owned:
            if self._clock() > deadline:
                raise self._under_way()
            self._consumer.poll(POLL_SECONDS)
        self._gone.clear()

    def _under_way(self) -> SourceError:
        return SourceError(
            f"another replay of {self._topic!r} is under way, or was killed a moment ago: wait for its end"
        )

    def save(self, partition: int) -> None:
        place = Partition(self._topic, partition)
        answers: list[BaseException | None] = []
        self._consumer.poll(0.0)
        if place not in self._gone:
            self._consumer.commit({place: self.replayed[partition].position()}, answers.append)
            deadline = self._clock() + ANSWER_SECONDS
            while not answers and place not in self._gone and self._clock() < deadline:
                self._consumer.poll(0.01)
        if place in self._gone:
            raise SourceError(f"another replay of {self._topic!r} took {place} over: this one ends here")
        if not answers or answers[0] is not None:
            why = answers[0] if answers else "no answer"
            raise SourceError(f"what was replayed of {place} can't be noted, the last letters may come twice ({why})")

    # Listener

    def on_assigned(self, partitions: Iterable[Partition]) -> None:
        found = list(partitions)
        self._owned.update(found)
        self._consumer.pause(found)

    def on_revoked(self, partitions: Iterable[Partition]) -> None:
        """Everything confirmed was noted already: let go at once."""
        found = list(partitions)
        self.on_lost(found)
        self._consumer.release(found, {})

    def on_lost(self, partitions: Iterable[Partition]) -> None:
        found = list(partitions)
        self._owned.difference_update(found)
        self._gone.update(found)
