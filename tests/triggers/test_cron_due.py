from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from upon import UsageError
from upon._triggers import CronTrigger
from upon_triggers.due import DueTicks
from upon_triggers.schedule import Schedule, check_jitter
from upon_triggers.tick import jittered, tick_event

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


TEN = timedelta(minutes=10)


def late(minutes: float) -> DueTicks:
    """Every tick of this hourly schedule fires so late."""
    by = timedelta(minutes=minutes)
    return DueTicks(Schedule("0 * * * *"), utc("2025-01-01T02:30"), delay=lambda tick: by, jitter=by, catch_up=2)


def test_a_tick_with_jitter_fires_later_and_is_on_time_for_a_minute_from_then_on() -> None:
    ticks, at = late(20), utc("2025-01-01T03:00")
    assert (at, at + 2 * TEN) == (ticks.next, ticks.due)
    assert [] == ticks.take(at + 2 * TEN - timedelta(seconds=1))
    assert [at] == ticks.take(at + 2 * TEN + timedelta(seconds=59))
    assert (at + HOUR, at + HOUR + 2 * TEN, 0) == (ticks.next, ticks.due, ticks.gaps)


def test_a_tick_whose_delay_has_begun_before_the_start_still_fires() -> None:
    ticks = late(20)
    ticks.skip_to(utc("2025-01-01T03:10"))
    assert "03:00" == texts([ticks.next])[0]
    ticks.skip_to(utc("2025-01-01T03:20"))
    assert "04:00" == texts([ticks.next])[0]


def test_missed_ticks_with_jitter_are_made_up_for() -> None:
    ticks = late(20)
    assert ["05:00", "06:00"] == texts(ticks.take(utc("2025-01-01T07:19")))
    assert ["07:00"] == texts(ticks.take(utc("2025-01-01T07:20")))
    assert 1 == ticks.gaps


def test_no_tick_fires_after_the_next_one_is_scheduled() -> None:
    """In the night in which an hour is skipped, two ticks are closer than on other days."""
    by = timedelta(minutes=100)
    schedule = Schedule("30 1,3 * * *", "Europe/Berlin")
    ticks = DueTicks(schedule, utc("2025-03-29T23:00"), delay=lambda tick: by, jitter=by)
    assert (utc("2025-03-30T00:30"), utc("2025-03-30T01:30")) == (ticks.next, ticks.due)


def test_unfinished_ticks_come_first_and_are_missed_like_others() -> None:
    at = utc("2025-01-01T03:00")
    earlier = [at - timedelta(minutes=n) for n in (3, 2, 1)]
    ticks = DueTicks(Schedule("* * * * *"), at, again=earlier, catch_up=1)
    assert ["02:59"] == texts(ticks.take(at + timedelta(seconds=30)))
    assert (["02:57", "02:58"], 1) == (texts(ticks.dropped), ticks.gaps)
    assert ["03:01"] == texts(ticks.take(at + timedelta(seconds=60)))
    assert [] == ticks.dropped


def test_what_was_put_back_comes_again_while_it_is_on_time() -> None:
    ticks, at = DueTicks(Schedule("0 * * * *"), utc("2025-01-01T02:30")), utc("2025-01-01T03:00")
    ticks.put_back(ticks.take(at))
    assert at == ticks.due
    assert [at] == ticks.take(at + timedelta(seconds=30))
    ticks.put_back([at])
    assert [] == ticks.take(at + timedelta(seconds=61))
    assert at + HOUR == ticks.next


def delay_of(at: datetime, function: str = "f", schedule: str = "0 * * * *", jitter: float = 600) -> timedelta:
    return jittered(tick_event(CronTrigger(schedule), at, service="demo", function=function), jitter)


def test_jitter_is_the_same_everywhere_and_different_for_each_tick() -> None:
    at = utc("2025-01-01T03:00")
    assert timedelta(seconds=304.949088) == delay_of(at)  # in this process as in every other one
    others = [delay_of(at + HOUR), delay_of(at, "g"), delay_of(at, schedule="0 3 * * *")]
    assert 4 == len({delay_of(at), *others})
    assert abs(delay_of(at) / 2 - delay_of(at, jitter=300)) < timedelta(milliseconds=1)


def test_jitter_spreads_evenly() -> None:
    delays = [delay_of(utc("2025-01-01T00:00") + n * HOUR).total_seconds() for n in range(2000)]
    assert 0 <= min(delays) < 5
    assert 595 < max(delays) < 600
    assert 280 < sum(delays) / len(delays) < 320


JITTERS = [  # schedule, jitter, the closest two ticks if that is too close
    ("* * * * *", 59.9, None),
    ("* * * * *", 60, 60),
    ("*/5 * * * *", 299, None),
    ("0,1 3 * * *", 3600, 60),
    ("0 3 * * *", 86399, None),
    ("0 3 * * *", 86400, 86400),
    ("0 0 31,1 * *", 86400, 86400),
    ("0 0 29 2 *", 40_000_000, None),
]


@pytest.mark.parametrize(("schedule", "jitter", "gap"), JITTERS)
def test_jitter_is_shorter_than_the_time_between_two_ticks(schedule: str, jitter: float, gap: float | None) -> None:
    if gap is None:
        check_jitter(Schedule(schedule), jitter)
        return
    with pytest.raises(UsageError, match=f"jitter={jitter:g} is not shorter than the {gap:g} s between two ticks of"):
        check_jitter(Schedule(schedule), jitter)
