"""A partition for as long as it is ours: its records, in the lanes that keep them in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from heapq import nsmallest
from typing import TYPE_CHECKING, NamedTuple

from upon._triggers import Ordering
from upon_triggers.kafka.lane import Lane
from upon_triggers.kafka.notes import MOST_ATTEMPTS, Notes, decode, encode, fits
from upon_triggers.kafka.suspicion import DEATHS, Guard
from upon_triggers.kafka.tracker import Window
from upon_triggers.kafka.transport import Partition, Position, Record

if TYPE_CHECKING:
    from upon_triggers.kafka.settle import Letter


class Snapshot(NamedTuple):
    """What one commit says of a partition. finished: how many records were, in this epoch; version: of its guard."""

    position: Position
    finished: int
    version: int
    mark: object


class Assignment:
    """One epoch of a partition. Once `live` is False (revoked, lost), whatever still comes for it is dropped.

    attempts: the number of the next try, for records that were tried before. queued: records that wait in lanes.
    backlog: records that there is no room for yet. revoked: it is being given back; nothing more is begun.
    is_known: what the group has committed was read. is_open: and a commit says that we have it, so that records may
    be begun. guard: while records are suspected of killing their process. given_up: those that are not to run again.
    safe: how many finished records the group knows of. notes_size: bytes of the last commit's metadata.
    log_end: see `sees_end`. outputs: what finished records have to write in the transaction that covers them.
    """

    def __init__(self, partition: Partition, ordering: Ordering) -> None:
        self.partition = partition
        self.window = Window()
        self.attempts: dict[int, int] = {}
        self.live = True
        self.revoked = False
        self.paused = False
        self.queued = 0
        self.backlog: deque[Record] = deque()
        self.log_end: int | None = None
        self.is_known = False
        self.is_open = False
        self.guard: Guard | None = None
        self.given_up: list[Record] = []
        self.skipped = 0
        self.outputs: list[Letter] = []
        self.safe = 0
        self.notes_size = 0
        self._earlier: set[int] = set()  # finished before our time, and not received yet
        self._tried: dict[int, int] = {}  # the same for attempts
        self._said: object = None
        self._was_said_open = False
        self._ordering = ordering
        self._lanes: dict[object, Lane] = {}

    def begin(self, found: Position | None, process: int) -> None:
        """What the group has committed is known."""
        if found is not None:
            notes = decode(found.offset, found.metadata)
            self.window = Window(found.offset)
            self._earlier = set(notes.finished)
            self._tried = dict(notes.attempts)
            self.guard = Guard.after(notes, process)
            self.sees_end(self.log_end)
        self.is_known = True

    def sees_end(self, offset: int | None) -> None:
        """Where the log ends, when records come for the first time, or in another order than before."""
        self.log_end = offset
        if self.guard is not None and offset is not None and self.window.next is not None:
            self.guard.ends_at(offset, self.window.next)

    @property
    def is_cut_off(self) -> bool:
        """The log ends before what was read of it: the topic was made anew, or lost its end."""
        upto = self.window.next
        if upto is None or not self.backlog or self.backlog[0].offset >= upto:
            return False
        return self.log_end is not None and self.log_end < upto

    @property
    def uncommitted(self) -> int:
        """Records that would come again if the process died now."""
        return self.window.received - self.safe

    @property
    def unread_finished(self) -> int:
        """Records that are still to come, and were finished before our time."""
        return len(self._earlier)

    @property
    def in_hand(self) -> int:
        """Records that are being handled, answered or dead-lettered."""
        return self.window.unfinished - self.queued

    def room(self, most: int, behind: int) -> int:
        """How many records may be taken of the backlog: at most so many unfinished ones, and so many more that are
        finished and not committed."""
        return min(most - self.window.unfinished, most + behind - self.uncommitted)

    def take_backlog(self, most: int) -> list[Lane]:
        """Records of the backlog, at most so many, and none that a commit could not remember."""
        backlog = self.backlog
        first = self.window.watermark if len(self.window) else backlog[0].offset
        assert first is not None
        if len(backlog) <= most and fits(first, backlog[-1].offset):
            taken = list(backlog)
            backlog.clear()
            return self.take(taken)
        taken = []
        while backlog and len(taken) < most and fits(first, backlog[0].offset):
            taken.append(backlog.popleft())
        return self.take(taken)

    def take(self, records: Sequence[Record]) -> list[Lane]:
        """Sort new records into lanes; the lanes that have become ready."""
        known = self.window.receive_all([record.offset for record in records])
        fresh = records[known:] if known else records
        if self._earlier or self._tried or self.guard is not None:
            fresh = self._recall(fresh)
        if self._ordering == "partition":
            return self._take_in_order(fresh)
        ready: list[Lane] = []
        for record in fresh:
            lane = self._lane_of(record)
            lane.queue.append(record)
            self.queued += 1
            if lane.idle:
                lane.idle = False
                ready.append(lane)
        return ready

    def _take_in_order(self, records: Sequence[Record]) -> list[Lane]:
        if not records:
            return []
        lane = self._lane_of(records[0])
        lane.queue.extend(records)
        self.queued += len(records)
        was_idle, lane.idle = lane.idle, False
        return [lane] if was_idle else []

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

    def _recall(self, records: Sequence[Record]) -> list[Record]:
        """What is left when everything is considered that is known from before."""
        left: list[Record] = []
        for record in records:
            offset = record.offset
            if offset in self._earlier:
                self._earlier.remove(offset)
                self.window.finish(offset)
                self.skipped += 1
                self.safe += 1
                continue
            if (attempt := self._tried.pop(offset, None)) is not None:
                self.attempts[offset] = attempt
            if self.guard is not None:
                self.guard.receive(offset)
                if offset == self.guard.condemned:
                    self.attempts[offset] = max(self.attempts.get(offset, 0), DEATHS)
                    self.given_up.append(record)
                    continue
            left.append(record)
        self._forget_gaps()
        return left

    def _forget_gaps(self) -> None:
        """What was not among the records that came is not in the log any more."""
        upto = self.window.next
        if upto is not None:
            self._earlier = {offset for offset in self._earlier if offset >= upto}
            self._tried = {offset: attempt for offset, attempt in self._tried.items() if offset >= upto}
            if self.guard is not None:
                self.guard.received_up_to(upto)

    def finish(self, offset: int) -> None:
        """The record is done with: handled and answered, or in the dead letter."""
        self.window.finish(offset)
        if self.attempts:
            self.attempts.pop(offset, None)
        if self.guard is not None:
            self.guard.finish(offset)

    def finish_all(self, records: Sequence[Record]) -> None:
        """Several at once, ascending by offset."""
        self.window.finish_all([record.offset for record in records])
        if self.attempts:
            for record in records:
                self.attempts.pop(record.offset, None)
        if self.guard is not None:
            for record in records:
                self.guard.finish(record.offset)

    # Commits

    def snapshot(self, *, opened: int, owner: int) -> Snapshot | None:
        """What a commit says now: the watermark and the notes; None where that is nothing new.

        opened: how many records we may have begun, 0 in a commit with which the partition is given away.
        """
        watermark = self._watermark()
        if watermark is None or (not opened and not self._was_said_open):
            return None
        version = -1 if self.guard is None else self.guard.version
        mark = (watermark, self.window.finished, opened, version, sum(self.attempts.values()))
        if mark == self._said:
            return None
        self._was_said_open = True
        metadata = encode(watermark, self._notes(watermark, opened, owner))
        return Snapshot(Position(watermark, metadata), self.window.finished, version, mark)

    def _watermark(self) -> int | None:
        watermark = self.window.watermark
        if watermark is None:
            return self.backlog[0].offset if self.backlog else None
        if not len(self.window):
            while watermark in self._earlier:
                watermark += 1
        return watermark

    def _notes(self, watermark: int, opened: int, owner: int) -> Notes:
        finished = self.window.finished_above | {offset for offset in self._earlier if offset > watermark}
        tried = {offset: attempt for offset, attempt in (self._tried | self.attempts).items() if offset >= watermark}
        suspicion = Notes() if self.guard is None else self.guard.note()
        return replace(
            suspicion,
            finished=finished,
            open=opened,
            owner=owner if opened else 0,
            attempts=tuple(nsmallest(MOST_ATTEMPTS, tried.items())),
        )

    def committed(self, snapshot: Snapshot) -> None:
        """The commit is confirmed."""
        self._said = snapshot.mark
        self.is_open = True
        self.safe = max(self.safe, snapshot.finished)
        self.notes_size = len(snapshot.position.metadata)
        if self.guard is not None:
            self.guard.confirmed(snapshot.version)
