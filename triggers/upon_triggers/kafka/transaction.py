"""Exactly once: what a transaction writes and commits, together or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from upon import UponError
from upon_triggers.kafka.transport import Headers, Partition, Position, TransportError


class Output(Protocol):
    """A record to write: a reply, a handler's send, a dead letter."""

    @property
    def topic(self) -> str: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...


class Aborted(UponError):
    """Nothing was written and nothing committed: the same may be tried again.

    refused: outputs, by index, that can never be written, each with the reason.
    """

    def __init__(self, message: str, refused: Mapping[int, UponError] | None = None) -> None:
        super().__init__(message)
        self.refused = dict(refused or {})


class Unsettled(TransportError):
    """Nobody knows whether it was committed: drop everything, and read what the group has committed."""


OnTransacted: TypeAlias = Callable[[Aborted | Unsettled | None], None]


class Transactor(Protocol):
    """Makes the transactions of one consumer, one after another."""

    def commit(
        self, membership: Any, positions: Mapping[Partition, Position], outputs: Sequence[Output], on_done: OnTransacted
    ) -> None:
        """Write the outputs and commit the positions. Returns at once; on_done comes once, from any thread.

        membership: what `Consumer.membership` said; a member that is behind its group is refused by the broker.
        """

    def close(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for the transaction under way; an unfinished one is aborted."""
