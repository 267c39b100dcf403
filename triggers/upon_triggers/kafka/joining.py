"""Members that come, go, and commit while their group is being rebalanced.

kafka-python refuses a commit from the moment it asks to join again, which may be as long as another member drains. The
brokers take it all the while, by the generation that the member knows, and what is not committed when this process
ends would be delivered again. An answer of theirs does not change the membership: the join under way does that.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from upon_triggers.kafka.library import library
from upon_triggers.kafka.transport import OnCommitted

log = logging.getLogger("upon.kafka")

AGAIN_AFTER = 0.05  # seconds; the group is between two generations for no longer than its members need to answer
MOST_ID = 249  # characters of a static member's name
NOT_IN_IDS = re.compile(r"[^A-Za-z0-9._-]")


def instance_id(process: str, group: str, topic: str) -> str:
    """The name of a static member: unique for each trigger of a process, and in Kafka's alphabet."""
    name = f"{process}.{group}.{topic}"
    if len(name) <= MOST_ID and NOT_IN_IDS.search(name) is None:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return NOT_IN_IDS.sub("-", name)[: MOST_ID - 17] + "." + digest


def commit_last(commit: Callable[[OnCommitted], None], timeout: float) -> None:
    """Repeat a commit until it stands, for at most so many seconds; what becomes of it is only logged."""
    deadline = time.monotonic() + timeout
    while True:
        answers: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        commit(answers.put)
        try:
            error = answers.get(timeout=max(deadline - time.monotonic(), 0.0))
        except queue.Empty:
            error = TimeoutError(f"no answer within {timeout:g} s")
        if error is None:
            return
        if time.monotonic() + AGAIN_AFTER >= deadline or isinstance(error, _lasting()):
            log.warning("the last commit failed, finished records come again: %s", error)
            return
        time.sleep(AGAIN_AFTER)


def _lasting() -> tuple[type[BaseException], ...]:
    """Errors of a commit that stay, however often it is repeated."""
    errors = library().errors
    return (
        errors.CommitFailedError,
        errors.UnknownMemberIdError,
        errors.FencedInstanceIdError,
        errors.AuthorizationError,
        errors.OffsetMetadataTooLargeError,
    )


def tell_every_loss(coordinator: Any) -> None:
    """kafka-python prepares a join once, however often it has to ask. A member that learns only from an answer that
    its group went on without it would keep, as another member, what others may have had meanwhile: prepare again,
    which gives up everything."""
    reset = coordinator.reset_generation

    def reset_generation(*args: Any, **kwargs: Any) -> None:
        reset(*args, **kwargs)
        coordinator.rejoining = False

    coordinator.reset_generation = reset_generation


def finish_every_join(coordinator: Any) -> None:
    """kafka-python takes a join that new metadata caused for done once this member, leading the group, has made the
    assignment. A poll that ends right then would leave it unfinished for ever, and the member without heartbeats."""
    needed = coordinator.need_rejoin
    coordinator.need_rejoin = lambda: coordinator.rejoining or needed()


async def commit(coordinator: Any, offsets: Mapping[Any, Any]) -> None:
    """For kafka-python's I/O thread. offsets: OffsetAndMetadata by TopicPartition. Raises KafkaError."""
    library()
    from kafka.coordinator.base import MemberState

    if coordinator.state is MemberState.REBALANCING:
        await _commit_as_known(coordinator, offsets)
    else:
        await coordinator._send_offset_commit_request(offsets)


async def _commit_as_known(coordinator: Any, offsets: Mapping[Any, Any]) -> None:
    errors = library().errors
    generation, node = coordinator._generation, coordinator.coordinator()
    if generation.generation_id < 0:
        raise errors.CommitFailedError("the group has thrown this member out")
    if node is None:
        raise errors.CoordinatorNotAvailableError()
    request = _request(coordinator, generation, offsets)
    response = await coordinator._manager.send(request, node_id=node)
    for _, partitions in response.topics:
        for _, code in partitions:
            error = errors.for_code(code)
            if error is not errors.NoError:
                raise error()


def _request(coordinator: Any, generation: Any, offsets: Mapping[Any, Any]) -> Any:
    from kafka.protocol.consumer import OffsetCommitRequest

    topic_of = OffsetCommitRequest.OffsetCommitRequestTopic
    partition_of = topic_of.OffsetCommitRequestPartition
    topics: dict[str, list[Any]] = defaultdict(list)
    for partition, at in offsets.items():
        topics[partition.topic].append(
            partition_of(
                partition_index=partition.partition,
                committed_offset=at.offset,
                committed_leader_epoch=at.leader_epoch,
                committed_metadata=at.metadata,
            )
        )
    return OffsetCommitRequest(
        max_version=8,
        group_id=coordinator.group_id,
        generation_id_or_member_epoch=generation.generation_id,
        member_id=generation.member_id,
        group_instance_id=coordinator.group_instance_id,
        topics=[topic_of(name=name, partitions=partitions) for name, partitions in topics.items()],
    )
