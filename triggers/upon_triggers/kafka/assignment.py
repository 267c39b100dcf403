"""A partition for as long as it is ours: its records, in the lanes that keep them in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from upon._triggers import Ordering
from upon_triggers.kafka.tracker import Window
from upon_triggers.kafka.transport import Partition, Position, Record

FIRST_RUN = 16  # records; later runs follow the handler's speed
LONGEST_RUN = 256
RUN_SECONDS = 0.1  # a run can't be called back, so it should be over soon when the partition is revoked


class Lane:
    """Records that are handled one after another: a partition's, or one key's.

    idle: nobody has it in hand; it is neither ready, nor submitted, nor waiting for its next try.
    busy: how many busy answers came in a row.
    """

    __slots__ = ("assignment", "busy", "idle", "key", "queue", "run_limit")

    def __init__(self, assignment: Assignment, key: object) -> None:
        self.assignment = assignment
        self.key = key
        self.queue: deque[Record] = deque()
        self.idle = True
        self.busy = 0
        self.run_limit = FIRST_RUN

    @property
    def may_begin(self) -> bool:
        return self.assignment.live and not self.assignment.revoked

    @property
    def head_is_retried(self) -> bool:
        return self.queue[0].offset in self.assignment.attempts

    def fresh(self, most: int) -> int:
        """How many records, at most so many, come before the next that was tried before."""
        attempts = self.assignment.attempts
        if not attempts:
            return most
        tried = (index for index, record in enumerate(self.queue) if record.offset in attempts)
        return min(most, next(tried, most))

    def take(self, most: int) -> list[Record]:
        """The next records, at most so many."""
        queue = self.queue
        taken = [queue.popleft() for _ in range(min(most, len(queue)))]
        self.assignment.queued -= len(taken)
        return taken

    def put_back(self, records: Sequence[Record]) -> None:
        """Records in order, in front of what waits."""
        self.queue.extendleft(reversed(records))
        self.assignment.queued += len(records)

    def ran(self, records: int, seconds: float) -> None:
        """Fit the next run to what this one took."""
        if seconds > 2 * RUN_SECONDS:
            self.run_limit = max(1, self.run_limit // 2)
        elif seconds < RUN_SECONDS / 2 and records >= self.run_limit:
            self.run_limit = min(LONGEST_RUN, self.run_limit * 2)


class Assignment:
    """One epoch of a partition. Once `live` is False (revoked, lost), whatever still comes for it is dropped.

    attempts: the number of the next try, for records that were tried before. queued: records that wait in lanes.
    committed: the offset that the group has. revoked: it is being given back; nothing more is begun.
    """

    def __init__(self, partition: Partition, ordering: Ordering) -> None:
        self.partition = partition
        self.window = Window()
        self.attempts: dict[int, int] = {}
        self.live = True
        self.revoked = False
        self.paused = False
        self.queued = 0
        self.committed: int | None = None
        self._ordering = ordering
        self._lanes: dict[object, Lane] = {}

    @property
    def in_hand(self) -> int:
        """Records that are being handled, answered or dead-lettered."""
        return self.window.unfinished - self.queued

    def take(self, records: Iterable[Record]) -> list[Lane]:
        """Sort new records into lanes; the lanes that have become ready."""
        ready: list[Lane] = []
        receive = self.window.receive
        for record in records:
            if not receive(record.offset):
                continue
            lane = self._lane_of(record)
            lane.queue.append(record)
            self.queued += 1
            if lane.idle:
                lane.idle = False
                ready.append(lane)
        return ready

    def _lane_of(self, record: Record) -> Lane:
        if self._ordering == "partition":
            key: object = None
        elif self._ordering == "unordered" or record.key is None:
            key = record.offset  # alone: it waits for nothing
        else:
            key = record.key
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(self, key)
        return lane

    def rest(self, lane: Lane) -> None:
        """The lane has nothing to do."""
        lane.idle = True
        if self._ordering != "partition":
            del self._lanes[lane.key]

    def finish(self, offset: int) -> None:
        """The record is done with: handled and answered, or in the dead letter."""
        self.window.finish(offset)
        if self.attempts:
            self.attempts.pop(offset, None)

    def to_commit(self) -> Position | None:
        """The watermark, where it has moved since the last commit.

        The first one comes before anything is finished: with start="latest" a crash would else skip what was read.
        """
        watermark = self.window.watermark
        return None if watermark is None or watermark == self.committed else Position(watermark)
