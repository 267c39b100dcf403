"""Which letters of a partition were replayed, kept as a commit: the first pending offset, and a bitmap above it."""

from __future__ import annotations

from collections.abc import Iterable

from upon_triggers.kafka.notes import SPAN, Notes, decode, encode, fits
from upon_triggers.kafka.transport import Position


class Replayed:
    """pending: the first offset that was not replayed. Those in `above` were, though they come after it."""

    def __init__(self, pending: int, above: Iterable[int] = ()) -> None:
        self.pending = pending
        self.above = set(above)
        self._advance()

    @classmethod
    def read(cls, position: Position | None, span: tuple[int, int]) -> Replayed:
        """What a commit says. span: what the partition holds now, for letters may have been deleted since."""
        first, end = span
        if position is None or position.offset > end:  # or the topic was made anew
            return cls(first)
        found = cls(position.offset, decode(position.offset, position.metadata).finished)
        found.skip(found.pending, first)
        return found

    def __contains__(self, offset: int) -> bool:
        return offset < self.pending or offset in self.above

    def has_room_for(self, offset: int) -> bool:
        """Whether a commit could say that this one was replayed, too."""
        return fits(self.pending, offset)

    def add(self, offset: int) -> None:
        if offset >= self.pending:
            self.above.add(offset)
            self._advance()

    def skip(self, first: int, end: int) -> None:
        """There is nothing to replay at first ≤ offset < end."""
        if first > self.pending:
            self.above.update(range(first, min(end, self.pending + SPAN + 1)))  # the rest is seen again another time
        elif end > self.pending:
            self.pending = end
            self.above = {offset for offset in self.above if offset >= end}
        self._advance()

    def _advance(self) -> None:
        while self.pending in self.above:
            self.above.remove(self.pending)
            self.pending += 1

    def position(self) -> Position:
        """As it is committed."""
        return Position(self.pending, encode(self.pending, Notes(finished=frozenset(self.above))))
