"""Commits that are transactions: with the positions goes everything that the records they cover have to write."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from upon import UponError
from upon_triggers.kafka.assignment import Assignment
from upon_triggers.kafka.commits import Commit, Commits, positions_of
from upon_triggers.kafka.settle import Letter
from upon_triggers.kafka.transaction import Aborted, Transactor, Unsettled
from upon_triggers.kafka.transport import Consumer, Partition, Position

log = logging.getLogger("upon.kafka")


class TransactedCommits(Commits):
    """The commits of an exactly-once function.

    refuse: told, on the source's thread, of a letter that no transaction can write. A commit that was aborted is made
    again; after one that is in doubt everything is dropped, and read again from what the group has.
    """

    def __init__(self, transactor: Transactor, refuse: Callable[[Letter, UponError], None], **common: Any) -> None:
        super().__init__(**common)
        self._transactor = transactor
        self._refuse = refuse

    @property
    def holds_up_release(self) -> bool:
        """What is under way may belong to the partitions that leave: it must not be written twice."""
        return self.under_way

    def begin(self, consumer: Consumer, assignments: Iterable[Assignment], on_failed: Callable[[], None]) -> bool:
        assert self._under_way is None
        membership = consumer.membership()
        if membership is None:  # there is news of the group: another turn reads it
            on_failed()
            return False
        commit = self._snapshots(assignments, self._begun)
        if not commit:
            return False
        self._under_way = commit
        letters = _letters(commit)
        ended = partial(self._inbox.post, self._transacted, commit, letters, on_failed)
        self._transactor.commit(membership, positions_of(commit), letters, ended)
        return True

    def _transacted(
        self, commit: Commit, letters: list[Letter], on_failed: Callable[[], None], error: Aborted | Unsettled | None
    ) -> None:
        if commit is not self._under_way:
            return  # of a consumer that was given up
        if isinstance(error, Unsettled):
            self.problem = str(error)
            raise error
        self._ended(commit, on_failed, error)
        self.problem = None if error is None or error.refused else str(error)
        if error is None:
            _written(letters)
        else:
            for index, reason in error.refused.items():
                self._refuse(letters[index], reason)

    def release(self, consumer: Consumer, partitions: Iterable[Partition], leaving: Iterable[Assignment]) -> None:
        partitions = list(partitions)
        membership = None if self.under_way else consumer.membership()
        commit = {} if membership is None else self._snapshots(leaving, 0)
        if not commit:
            consumer.release(partitions, {})
            return
        released = partial(self._inbox.post, self._released, consumer, partitions)
        self._transactor.commit(membership, positions_of(commit), _letters(commit), released)

    def _released(self, consumer: Consumer, partitions: list[Partition], error: Aborted | Unsettled | None) -> None:
        if error is not None:
            log.warning("%s: the last transaction of revoked partitions: %s; they are read again", self._name, error)
        consumer.release(partitions, {})

    def finish(
        self, consumer: Consumer, assignments: Iterable[Assignment], timeout: float
    ) -> Mapping[Partition, Position]:
        membership = None if self.under_way else consumer.membership()
        commit = {} if membership is None else self._snapshots(assignments, 0)
        if commit:
            answered = threading.Event()
            errors: list[Aborted | Unsettled | None] = []

            def ended(error: Aborted | Unsettled | None) -> None:
                errors.append(error)
                answered.set()

            self._transactor.commit(membership, positions_of(commit), _letters(commit), ended)
            if not answered.wait(timeout) or errors[0] is not None:
                why = errors[0] if errors else f"no answer within {timeout:g} s"
                log.warning("%s: the last transaction failed, its records come again: %s", self._name, why)
        return {}


def _letters(commit: Commit) -> list[Letter]:
    return [letter for assignment in commit for letter in assignment.outputs]


def _written(letters: list[Letter]) -> None:
    """They stand at the front, for nobody else takes any away."""
    for assignment in {letter.assignment for letter in letters}:
        count = sum(letter.assignment is assignment for letter in letters)
        del assignment.outputs[:count]
