"""Finding the record that kills its process, from what the notes of a partition's commits say.

A new owner that finds a partition open knows that the old one died, most likely of a record that it had in hand. These
are the suspects. They run in chunks, and each chunk is named ("pinned") in a confirmed commit before it runs. So the
next death leaves a chunk behind instead of a thousand records; its records then run one at a time, with no other
suspect beside them in the process, and are pinned as well; so the third death leaves the one record that is given up.

    level 0    no suspects
    level 1    the owner died: what it may have begun is suspected, and runs in chunks
    level 2    and died again while a chunk was pinned: only that chunk is suspected, and runs record by record
    condemned  and died again while a record was pinned: it goes to the dead letter

A death while nothing is pinned leaves the level. When the suspects are used up, the level is 0 again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import TYPE_CHECKING

from upon_triggers.kafka.notes import MOST_SUSPECTS, Notes
from upon_triggers.kafka.turnstile import Turnstile

if TYPE_CHECKING:
    from upon_triggers.kafka.lane import Lane
    from upon_triggers.kafka.transport import Record

CHUNK = MOST_SUSPECTS
DEATHS = 3  # the last one condemns


class Stage(Enum):
    """What a guard waits for."""

    IDLE = "a lane with a suspect"
    PINNING = "the commit that names a chunk"
    RUNNING = "the outcomes of the chunk"
    UNPINNING = "the commit that names none"
    LEAVING = "the commit without suspicion"
    OVER = "nothing any more"


class Guard:
    """The suspects of one partition: its lanes ask here before they run. For the source's thread.

    suspects: received, and not finished. version: of what the next commit has to say; see `confirmed`.
    condemned: the record that is not to run again.
    """

    def __init__(
        self, level: int, *, rest: int = 0, named: Iterable[int] = (), condemned: int | None = None, version: int = 0
    ) -> None:
        self.level = level
        self.condemned = condemned
        self.version = version
        self.stage = Stage.IDLE
        self.suspects: set[int] = set()
        self._missing = set(named)  # suspects that have not come yet
        self._rest = rest  # how many more records may be suspects, for want of names
        self._until: int | None = None
        self._pinned: tuple[int, ...] = () if condemned is None else (condemned,)
        self._chosen: list[Lane] = []
        self._allowed: dict[Lane, int] = {}
        self._running: set[int] = set()
        self._parked: deque[Lane] = deque()
        self._others: list[Lane] = []
        self._is_inside = False

    @classmethod
    def after(cls, notes: Notes, process: int) -> Guard | None:
        """What follows from the notes that a new owner finds; None for no suspicion."""
        if notes.open and notes.owner != process:
            if notes.level == 2 and notes.pinned:
                return cls(2, named=notes.pinned[:1], condemned=notes.pinned[0])
            if notes.level == 1 and notes.pinned:
                return cls(2, named=notes.pinned)
            if notes.level < 2:
                return cls(1, rest=notes.open)
        if notes.level == 2 and notes.suspects:
            return cls(2, named=notes.suspects)
        return cls(1, rest=notes.rest) if notes.level == 1 and notes.rest else None

    @property
    def told(self) -> str:
        """What is the matter, for the log."""
        if self.condemned is not None:
            return (
                f"lost its owner for the third time, with the record at offset {self.condemned} alone: it is given up"
            )
        if self.level == 1:
            return f"lost its owner: its next records, {self._rest} at most, run in chunks of {CHUNK}"
        return f"lost its owner again: {len(self._missing)} records run one at a time"

    def ends_at(self, offset: int, received: int) -> None:
        """The end of the log: what comes later was not there when the old owner died. received: see `received_up_to`.

        The first word counts, for the log grows.
        """
        if self._until is None:
            self._until = offset
            self.received_up_to(received)

    # What the commits say

    def note(self) -> Notes:
        """Level, suspects and pins; those that have finished have survived."""
        left = self.suspects | self._missing
        if self.stage in (Stage.LEAVING, Stage.OVER) or (self.level == 2 and not left):
            return Notes()
        pinned = tuple(sorted(left.intersection(self._pinned)))
        if self.level == 1:
            return Notes(level=1, rest=self._rest + len(left), pinned=pinned)
        return Notes(level=2, suspects=tuple(sorted(left)), pinned=pinned)

    def confirmed(self, version: int) -> None:
        """A commit stands that said what `note` said at that version."""
        if version != self.version:
            return
        if self.stage is Stage.PINNING:
            self.stage = Stage.RUNNING
        elif self.stage is Stage.UNPINNING:
            self.stage = Stage.IDLE
        elif self.stage is Stage.LEAVING:
            self.stage = Stage.OVER

    # Records that come and go

    def receive(self, offset: int) -> None:
        """Once per record, ascending; not for those that were finished before."""
        if self.level == 2:
            if offset in self._missing:
                self._missing.remove(offset)
                self.suspects.add(offset)
        elif self._rest and (self._until is None or offset < self._until):
            self._rest -= 1
            self.suspects.add(offset)

    def received_up_to(self, offset: int) -> None:
        """Nothing below that offset will come any more: a log has gaps."""
        if self._missing:
            self._missing = {missing for missing in self._missing if missing >= offset}
        if self._until is not None and offset >= self._until:
            self._rest = 0

    def finish(self, offset: int) -> None:
        self.suspects.discard(offset)

    @property
    def is_over(self) -> bool:
        return self.stage is Stage.OVER

    @property
    def is_exhausted(self) -> bool:
        return not self.suspects and not self._missing and not self._rest

    # Lanes

    def admit(self, lane: Lane, most: int) -> int:
        """How many records the lane may run now, at most so many. 0: it is kept, and made ready when it may."""
        allowed = self._allowed.pop(lane, 0)
        if allowed:
            if allowed > most:
                self._allowed[lane] = allowed - most
            return min(most, allowed)
        if lane.queue[0].offset in self.suspects:
            self._parked.append(lane)
        elif self.stage is Stage.OVER or (self._nothing_is_pinned and not self._parked):
            return most
        else:
            self._others.append(lane)
        return 0

    def began(self, records: Iterable[Record]) -> None:
        """They are in the sink."""
        self._running.update(record.offset for record in records)

    def ended(self, lane: Lane, records: Iterable[Record], *, failed: bool) -> None:
        """They are back. failed: not all of them are handled, so that the lane goes on with others, or later."""
        self._running.difference_update([record.offset for record in records])
        if failed:
            self._allowed.pop(lane, None)

    @property
    def _nothing_is_pinned(self) -> bool:
        """What is not suspected may run: a death would point at nobody."""
        return self.stage is Stage.IDLE and not self._pinned

    def let_in(self, ready: Callable[[Lane], None]) -> None:
        """The chunk may run, once the commit that names it stands."""
        if self.stage is Stage.RUNNING:
            chosen, self._chosen = self._chosen, []
            for lane in chosen:
                ready(lane)

    def advance(self, turnstile: Turnstile, wake: Callable[[], None], ready: Callable[[Lane], None]) -> None:
        """Go on, where that is possible; `wake` is called, from any thread, when it may have become so.

        After the lanes that are ready have asked: with the next chunk at hand, one commit ends this one and names that.
        """
        if self.stage is Stage.RUNNING and not self._chosen and not self._allowed and not self._running:
            self.stage = Stage.IDLE
        if self.stage is Stage.OVER or self._nothing_is_pinned:
            self.step_aside(turnstile)
        if self.stage is Stage.IDLE:
            self._go_on(turnstile, wake)
        if self.stage is Stage.OVER or (self._nothing_is_pinned and not self._parked):
            others, self._others = self._others, []
            for lane in others:
                ready(lane)

    def _go_on(self, turnstile: Turnstile, wake: Callable[[], None]) -> None:
        if self.is_exhausted:
            self._say(Stage.LEAVING, ())
        elif self.condemned is not None:
            return  # its dead letter is being written
        elif self._parked and self._enter(turnstile, wake):
            self._say(Stage.PINNING, self._choose())
        elif self._pinned:
            self._say(Stage.UNPINNING, ())

    def _enter(self, turnstile: Turnstile, wake: Callable[[], None]) -> bool:
        entered = turnstile.enter(self, wake, alone=self.level == 2)
        self._is_inside = self._is_inside or entered
        return entered

    def step_aside(self, turnstile: Turnstile) -> None:
        """Let others run their suspects; nothing of this one is pinned."""
        if self._is_inside:
            self.drop(turnstile)

    def drop(self, turnstile: Turnstile) -> None:
        """The partition is not ours any more."""
        self._is_inside = False
        turnstile.leave(self)

    def _say(self, stage: Stage, pinned: tuple[int, ...]) -> None:
        self.stage = stage
        self._pinned = pinned
        self.version += 1

    def _choose(self) -> tuple[int, ...]:
        most = 1 if self.level == 2 else CHUNK
        pinned: list[int] = []
        while self._parked and len(pinned) < most:
            lane = self._parked.popleft()
            found = self._first_suspects(lane, most - len(pinned))
            pinned += found
            self._allowed[lane] = len(found)
            self._chosen.append(lane)
        return tuple(pinned)

    def _first_suspects(self, lane: Lane, most: int) -> list[int]:
        found: list[int] = []
        for record in lane.queue:
            if len(found) == most or record.offset not in self.suspects:
                break
            found.append(record.offset)
        return found
