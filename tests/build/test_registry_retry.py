from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from upon_build.registry.errors import Interrupted
from upon_build.registry.retry import Policy, retry_after

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def test_pauses_grow_up_to_a_bound_and_half_of_each_is_random() -> None:
    shortest, longest = Policy(dice=lambda: 0.0), Policy(dice=lambda: 1.0)
    assert [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0] == [longest.delay(count) for count in range(1, 8)]
    assert [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 4.0] == [shortest.delay(count) for count in range(1, 8)]


def test_a_wish_is_granted_up_to_a_bound() -> None:
    assert 7.0 == Policy().delay(1, 7.0)
    assert 60.0 == Policy().delay(1, 3600.0)


def test_a_pause_ends_when_everything_is_to_stop() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        Policy().wait(1, 3600.0, stop)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("3", 3.0),
        ("0", 0.0),
        ("9" * 400, 999999999.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2026 12:00:30 -0000", 30.0),
        ("soon", None),
        ("-1", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, expected: float | None) -> None:
    assert expected == retry_after(value, lambda: NOW)
