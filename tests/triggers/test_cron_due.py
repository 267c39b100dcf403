from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from upon_triggers.due import DueTicks
from upon_triggers.schedule import Schedule

HOUR = timedelta(hours=1)

CHANGES = [  # schedule, timezone, start, how many hours, the ticks taken (UTC)
    ("0 * * * *", "Europe/Berlin", "2025-03-29T23:30", 4, ["00:00", "01:00", "02:00", "03:00"]),
    ("0 * * * *", "Europe/Berlin", "2025-10-25T23:30", 4, ["00:00", "01:00", "02:00", "03:00"]),
    ("30 * * * *", "America/New_York", "2025-11-02T04:00", 4, ["04:30", "05:30", "06:30", "07:30"]),
    ("30 2 * * *", "Europe/Berlin", "2025-03-29T23:30", 4, ["01:00"]),
    ("30 2 * * *", "Europe/Berlin", "2025-10-25T23:30", 4, ["00:30"]),
    ("30 * * * *", "Australia/Lord_Howe", "2025-04-05T13:10", 4, ["13:30", "14:30", "15:00", "16:00", "17:00"]),
]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def texts(ticks: list[datetime]) -> list[str]:
    return [f"{tick:%H:%M}" for tick in ticks]


@pytest.mark.parametrize(("schedule", "timezone", "start", "hours", "expected"), CHANGES)
def test_each_tick_is_taken_once_over_a_clock_change(
    schedule: str, timezone: str, start: str, hours: int, expected: list[str]
) -> None:
    ticks, now, taken = DueTicks(Schedule(schedule, timezone), utc(start)), utc(start), list[datetime]()
    while now < utc(start) + hours * HOUR:
        now += timedelta(seconds=20)
        taken += ticks.take(now)
    assert expected == texts(taken)


@pytest.mark.parametrize(("schedule", "timezone", "start", "hours", "expected"), CHANGES)
def test_catching_up_over_a_clock_change(
    schedule: str, timezone: str, start: str, hours: int, expected: list[str]
) -> None:
    ticks = DueTicks(Schedule(schedule, timezone), utc(start), catch_up=2)
    assert expected[-2:] == texts(ticks.take(utc(start) + hours * HOUR - timedelta(seconds=1)))[-2:]
    assert utc(start) + hours * HOUR <= ticks.next


def test_a_tick_is_on_time_for_a_minute() -> None:
    at = utc("2025-01-01T03:00")
    ticks = DueTicks(Schedule("0 3 * * *"), at - HOUR)
    assert [] == ticks.take(at - timedelta(microseconds=1))
    assert [at] == ticks.take(at + timedelta(seconds=59.9))
    assert [] == ticks.take(at + timedelta(days=1, seconds=60))
    assert (1, at + timedelta(days=2)) == (ticks.gaps, ticks.next)


def test_a_small_correction_of_the_clock_changes_nothing() -> None:
    at = utc("2025-01-01T03:00")
    ticks = DueTicks(Schedule("0 * * * *"), at - HOUR / 2)
    assert [at] == ticks.take(at)
    ticks.set_back(at - timedelta(seconds=2), timedelta(seconds=2))
    assert [] == ticks.take(at)
    assert at + HOUR == ticks.next
