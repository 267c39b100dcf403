"""The one place where positions are committed: now and then, at a revocation, and at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeAlias

from upon_triggers.kafka.assignment import Assignment, Snapshot
from upon_triggers.kafka.transport import Consumer, Partition, Position
from upon_triggers.kafka.turns import Inbox

log = logging.getLogger("upon.kafka")

Commit: TypeAlias = Mapping[Assignment, Snapshot]


class Commits:
    """Snapshots of assignments, on their way to the group.

    owner: this process, in the notes. begun: how many records of a partition it may have begun and not committed.
    problem: why nothing can be committed, where that is known. holds_up_release: no partition shall leave now.
    """

    problem: str | None = None

    def __init__(self, *, name: str, owner: int, begun: int, inbox: Inbox) -> None:
        self._under_way: Commit | None = None
        self._name = name
        self._owner = owner
        self._begun = begun
        self._inbox = inbox

    @property
    def holds_up_release(self) -> bool:
        return False

    @property
    def under_way(self) -> bool:
        return self._under_way is not None

    def begin(self, consumer: Consumer, assignments: Iterable[Assignment], on_failed: Callable[[], None]) -> bool:
        """Commit what is new; False for nothing. One at a time: an older one must not arrive after a newer one.

        on_failed: called on the source's thread; the next commit says the same again.
        """
        assert self._under_way is None
        commit = self._snapshots(assignments, self._begun)
        if not commit:
            return False
        self._under_way = commit
        consumer.commit(positions_of(commit), partial(self._inbox.post, self._ended, commit, on_failed))
        return True

    def _ended(self, commit: Commit, on_failed: Callable[[], None], error: BaseException | None) -> None:
        if commit is not self._under_way:
            return  # of a consumer that was given up
        self._under_way = None
        if error is not None:
            log.info("%s: a commit failed and will be repeated: %s", self._name, error)
            on_failed()
            return
        for assignment, snapshot in commit.items():
            assignment.committed(snapshot)

    def release(self, consumer: Consumer, partitions: Iterable[Partition], leaving: Iterable[Assignment]) -> None:
        """Give revoked partitions away, with a last commit of those that are still ours."""
        consumer.release(partitions, self.last(leaving))

    def finish(
        self, consumer: Consumer, assignments: Iterable[Assignment], timeout: float
    ) -> Mapping[Partition, Position]:
        """Commit for the last time, within `timeout` seconds, or say what the consumer's end has to commit."""
        return self.last(assignments)

    def last(self, assignments: Iterable[Assignment]) -> dict[Partition, Position]:
        """What a commit says with which partitions are given away: nobody holds them open."""
        return positions_of(self._snapshots(assignments, 0))

    def abandon(self) -> None:
        """Whatever becomes of the commit under way."""
        self._under_way = None

    def _snapshots(self, assignments: Iterable[Assignment], opened: int) -> Commit:
        taken = {a: a.snapshot(opened=opened, owner=self._owner) for a in assignments if a.is_known}
        return {assignment: snapshot for assignment, snapshot in taken.items() if snapshot is not None}


def positions_of(commit: Commit) -> dict[Partition, Position]:
    """What the group is told."""
    return {assignment.partition: snapshot.position for assignment, snapshot in commit.items()}
