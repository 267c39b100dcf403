"""What to do with an event that was not handled, as a decision: sources act on it, nothing here waits."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TypeAlias

from upon import Failed
from upon._outcome import KINDS
from upon_triggers.settings import Delivery

JITTER = 0.2  # a delay is spread over 80 % to 120 %, so that what failed together does not return together
BUSY_FIRST = 0.05  # seconds
BUSY_MOST = 5.0
_HIGHEST_POWER = 62  # a float holds it, and every cap is far below


@dataclass(frozen=True, slots=True)
class Again:
    """Try again in `delay` seconds. counts: whether this was an attempt."""

    delay: float
    counts: bool


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No further try: to the dead letter."""


Decision: TypeAlias = Again | GiveUp

GIVE_UP = GiveUp()


def decide(outcome: Failed, attempt: int, delivery: Delivery, rng: random.Random, *, busy: int = 0) -> Decision:
    """What follows an outcome that is not Done.

    attempt: 1 for the first try. busy: how many busy answers came in a row before this one.
    """
    verdict = KINDS[outcome.kind].verdict
    if verdict == "busy":
        return Again(busy_delay(busy, rng, after=outcome.after), counts=False)
    if verdict != "counts" or attempt > delivery.retry:
        return GIVE_UP
    if outcome.after is not None:
        return Again(min(outcome.after, delivery.max_delay), counts=True)
    return Again(_backoff(attempt, delivery, rng), counts=True)


def busy_delay(streak: int, rng: random.Random, *, after: float | None = None) -> float:
    """Seconds to wait while nobody can answer: doubling, capped at BUSY_MOST, and without end.

    after: what the one who is busy asks for, within the same cap.
    """
    delay = BUSY_FIRST * 2 ** min(streak, _HIGHEST_POWER)
    return min(max(_spread(delay, rng), after or 0.0), BUSY_MOST)


def _backoff(attempt: int, delivery: Delivery, rng: random.Random) -> float:
    if delivery.backoff_policy == "linear":
        delay = delivery.backoff_delay * attempt
    else:
        delay = delivery.backoff_delay * 2 ** min(attempt - 1, _HIGHEST_POWER)
    return min(_spread(delay, rng), delivery.max_delay)


def _spread(delay: float, rng: random.Random) -> float:
    return delay * rng.uniform(1 - JITTER, 1 + JITTER)
