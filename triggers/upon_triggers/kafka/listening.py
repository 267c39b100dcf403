"""News of a rebalance, from kafka-python's listener to the consumer that has to act on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from upon_triggers.kafka.library import library
from upon_triggers.kafka.transport import Partition

if TYPE_CHECKING:
    from upon_triggers.kafka.client import GroupConsumer


def rebalance_listener(owner: GroupConsumer) -> Any:
    """Awaited on the I/O thread: a member does not rejoin its group before `on_partitions_revoked` returns."""
    kafka = library()

    class Rebalance(kafka.AsyncConsumerRebalanceListener):  # type: ignore[misc, name-defined]
        async def on_partitions_assigned(self, assigned: Any) -> None:
            owner._on_assigned([Partition(*p) for p in assigned])

        async def on_partitions_revoked(self, revoked: Any) -> None:
            await owner._on_revoked([Partition(*p) for p in revoked])

        async def on_partitions_lost(self, lost: Any) -> None:
            owner._on_lost([Partition(*p) for p in lost])

    return Rebalance()
