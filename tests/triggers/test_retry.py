"""A policy returns a decision: every verdict, both back-offs, their caps and their jitter."""

from __future__ import annotations

import random

import pytest

from upon import Failed
from upon._outcome import KINDS, FailureKind
from upon_triggers.retry import BUSY_MOST, GIVE_UP, JITTER, Again, GiveUp, busy_delay, decide
from upon_triggers.settings import Delivery


class Middle(random.Random):
    """No jitter: the middle of every range."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


EXACT = Middle()
KIND_NAMES = [kind for kind in KINDS if kind != "done"]


def _delays(delivery: Delivery) -> list[float]:
    found = []
    for attempt in range(1, 100):
        decision = decide(Failed("error", "broken"), attempt, delivery, EXACT)
        if isinstance(decision, GiveUp):
            return found
        found.append(round(decision.delay, 3))
    raise AssertionError("it never gave up")


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_the_table_decides(kind: FailureKind) -> None:
    decision = decide(Failed(kind, "x"), 1, Delivery(), EXACT)
    expected = {"final": GiveUp, "counts": Again, "busy": Again}[KINDS[kind].verdict]
    assert type(decision) is expected
    if isinstance(decision, Again):
        assert decision.counts == (KINDS[kind].verdict == "counts")


@pytest.mark.parametrize(
    ("delivery", "expected"),
    [
        (Delivery(), [0.2, 0.4, 0.8, 1.6, 3.2]),
        (Delivery(backoff_policy="linear"), [0.2, 0.4, 0.6, 0.8, 1.0]),
        (Delivery(retry=0), []),
        (Delivery(retry=4, max_delay=0.5), [0.2, 0.4, 0.5, 0.5]),
    ],
)
def test_backoff(delivery: Delivery, expected: list[float]) -> None:
    assert expected == _delays(delivery)


@pytest.mark.parametrize(("after", "expected"), [(0.0, 0.0), (7.0, 7.0), (1e9, 300.0)])
def test_retry_after_is_kept_and_capped(after: float, expected: float) -> None:
    assert Again(expected, counts=True) == decide(Failed("retry", "x", after=after), 1, Delivery(), EXACT)


def test_retry_after_counts_too() -> None:
    assert GIVE_UP == decide(Failed("retry", "x", after=1.0), 6, Delivery(retry=5), EXACT)


def test_jitter_stays_in_its_bounds() -> None:
    rng = random.Random(7)
    delays = [decide(Failed("error", "x"), 1, Delivery(backoff_delay=1.0), rng) for _ in range(200)]
    spread = [d.delay for d in delays if isinstance(d, Again)]
    assert 200 == len(spread)
    assert 1 - JITTER <= min(spread) < 0.9
    assert 1.1 < max(spread) <= 1 + JITTER


def test_busy_never_ends_and_is_capped() -> None:
    for attempt, busy in ((1, 0), (6, 3), (1, 10_000)):
        decision = decide(Failed("overloaded", "full"), attempt, Delivery(retry=0), EXACT, busy=busy)
        assert isinstance(decision, Again)
        assert not decision.counts
        assert decision.delay <= BUSY_MOST


def test_busy_doubles_and_honours_what_is_asked_for() -> None:
    assert [0.05, 0.1, 0.2] == [busy_delay(n, EXACT) for n in range(3)]
    assert 2.0 == busy_delay(0, EXACT, after=2.0)
    assert BUSY_MOST == busy_delay(0, EXACT, after=3600.0)


def test_a_high_attempt_does_not_overflow() -> None:
    decision = decide(Failed("error", "x"), 10**6, Delivery(retry=10**7), EXACT)
    assert Again(300.0, counts=True) == decision
