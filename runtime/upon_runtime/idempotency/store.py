"""What remembers handled events, as an interface. Every act is atomic, and safe to repeat with the same token.

A key stands for one event of one function. It is absent, or a marker (its holder's token until the lease ends), or
finished (a reply until its time to live ends).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from upon import UponError

DEADLINE = 2.0  # seconds that one step of an act may take: a connection, an answer


class StoreUnavailable(UponError):
    """The store can't be asked right now; whether the act took place is not known."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """Nobody has handled the event and nobody does: the marker is the asker's."""


@dataclass(frozen=True, slots=True)
class Held:
    """Another holds the marker, for `left` seconds at most."""

    left: float


@dataclass(frozen=True, slots=True)
class Finished:
    """The event was handled, with this reply."""

    reply: bytes


Begun: TypeAlias = Fresh | Held | Finished

FRESH = Fresh()


class Store(Protocol):
    """Keys of one call differ from each other. Leases and times to live in seconds.

    Every method but close raises StoreUnavailable, soon after DEADLINE seconds at the latest. Any thread may call.
    """

    name: str

    def open(self) -> None:
        """Make it ready. Raises another UponError, with the remedy, for what only a person can change."""

    def begin(self, keys: Sequence[str], token: str, lease: float) -> list[Begun]:
        """Take the markers that are free, in one act; one answer for each key, in order."""
        ...

    def finish(self, replies: Mapping[str, bytes], token: str, ttl: float) -> set[str]:
        """Store replies; the keys for which that was done: all but those that another has taken since."""
        ...

    def release(self, keys: Sequence[str], token: str) -> None:
        """Give markers back, where they are still this token's."""

    def extend(self, keys: Sequence[str], token: str, lease: float) -> set[str]:
        """Let markers last `lease` seconds from now; the keys for which that was done."""
        ...

    def sweep(self, limit: int) -> int:
        """Remove at most `limit` of what has expired; how many there were."""
        ...

    def close(self) -> None: ...
