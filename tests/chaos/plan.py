"""What a run does, from its seed: how many events each function gets, and what is done to whom, when."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal, TypeAlias

Mode: TypeAlias = Literal["direct", "host"]
Act: TypeAlias = Literal[
    "kill member", "kill function", "kill broker", "freeze member", "freeze broker", "leave", "join"
]

SERVICE = "chaos"
SESSION = 3.0  # seconds that a killed member keeps its partitions
KEYS = 1000
REPLIES = "chaos.replies"


@dataclass(frozen=True)
class Function:
    """One of the functions under test. share: of all events. lane: what is in order."""

    name: str
    handler: str
    share: float
    lane: Literal["partition", "key", "none"]

    @property
    def topic(self) -> str:
        return f"chaos.{self.name}"

    @property
    def group(self) -> str:
        return f"{SERVICE}.{self.handler}"

    @property
    def dead_topic(self) -> str:
        return f"{self.topic}.{self.handler}.dead"


FUNCTIONS = (
    Function("partition", "in_partition", 0.40, "partition"),
    Function("key", "by_key", 0.25, "key"),
    Function("unordered", "without_order", 0.20, "none"),
    Function("batch", "in_batches", 0.15, "partition"),
)


@dataclass(frozen=True)
class Step:
    """at: when this share of all events is done with. who: which member, counted among those that are up.

    seconds: until it is undone: restarted, thawed, joined by or left by a member.
    """

    at: float
    act: Act
    who: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """kills: kill -9 of members and the broker; half as many other disturbances come on top."""

    seed: int
    events: int
    kills: int
    members: int = 3
    partitions: int = 6
    mode: Mode = "direct"
    max_in_flight: int = 1000

    @property
    def counts(self) -> dict[str, int]:
        """Events by function."""
        counts = {function.name: int(self.events * function.share) for function in FUNCTIONS}
        counts["partition"] += self.events - sum(counts.values())
        return counts

    @property
    def deadline(self) -> float:
        """Seconds for everything: a slow machine does 400 events a second, and a kill costs a session and a start."""
        return 120 + self.events / 400 + self.kills * 25

    @property
    def session(self) -> float:
        """Nobody may be taken for dead by mistake where nobody is killed."""
        return SESSION if self.kills else 30.0

    def steps(self) -> list[Step]:
        rng = random.Random(self.seed)
        acts = [*islice(_kills(self.mode), self.kills), *islice(_others(rng), (self.kills + 1) // 2)]
        rng.shuffle(acts)
        return [
            Step(0.02 + 0.9 * (index + rng.random()) / len(acts), act, rng.randrange(100), _seconds(act, rng))
            for index, act in enumerate(acts)
        ]


def _kills(mode: Mode) -> Iterator[Act]:
    acts: tuple[Act, ...] = ("kill member", "kill broker", "kill member", "kill member")
    if mode == "host":  # one process that handles, several that read from Kafka
        acts = ("kill member", "kill function", "kill broker", "kill function")
    return cycle(acts)


def _others(rng: random.Random) -> Iterator[Act]:
    acts: list[Act] = ["freeze member", "leave", "join", "freeze broker"]
    rng.shuffle(acts)
    return cycle(acts)


def _seconds(act: Act, rng: random.Random) -> float:
    if act == "freeze member":  # one in two outlives its session, and wakes up beside a new owner
        return rng.choice((rng.uniform(0.2, SESSION / 2), SESSION + rng.uniform(1, 4)))
    longest = {
        "kill member": 3.0,
        "kill function": 3.0,
        "kill broker": 2.0,
        "freeze broker": 6.0,
        "leave": 3.0,
        "join": 8.0,
    }
    return rng.uniform(0, longest[act])
