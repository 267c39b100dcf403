from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from upon import UsageError
from upon_triggers.schedule import Schedule

NEXT = [  # expression, timezone, after, expected (UTC)
    ("0 3 * * *", "UTC", "2025-01-01T02:59:59", "2025-01-01T03:00"),
    ("0 3 * * *", "UTC", "2025-01-01T03:00", "2025-01-02T03:00"),
    ("0 3 * * *", "Europe/Berlin", "2025-01-01T00:00", "2025-01-01T02:00"),
    ("*/15 * * * *", "UTC", "2025-01-01T00:00:00.5", "2025-01-01T00:15"),
    ("0 0 29 2 *", "UTC", "2025-01-01T00:00", "2028-02-29T00:00"),
    ("30 6 * * mon-fri", "UTC", "2025-01-03T07:00", "2025-01-06T06:30"),
    ("0 12 * * 7", "UTC", "2025-01-03T00:00", "2025-01-05T12:00"),
    ("0 0 1,15 * MON", "UTC", "2025-01-02T00:00", "2025-01-06T00:00"),  # both day fields given: either fits
    ("@daily", "UTC", "2025-01-01T00:00", "2025-01-02T00:00"),
    ("@Hourly", "America/New_York", "2025-01-01T00:00", "2025-01-01T01:00"),
    # Skipped hours: a fixed time fires at the end of the gap, and only once.
    ("30 2 * * *", "Europe/Berlin", "2025-03-29T12:00", "2025-03-30T01:00"),
    ("0,30 2 * * *", "Europe/Berlin", "2025-03-30T01:00", "2025-03-31T00:00"),
    ("0 2,3 * * *", "Europe/Berlin", "2025-03-30T01:00", "2025-03-31T00:00"),
    ("30 2 * * *", "America/New_York", "2025-03-08T12:00", "2025-03-09T07:00"),
    ("15 2 * * *", "Australia/Lord_Howe", "2025-10-04T00:00", "2025-10-04T15:30"),
    ("0 3 * * *", "Pacific/Apia", "2011-12-29T14:00", "2011-12-30T10:00"),  # a whole day was skipped
    ("0 3 * * *", "Pacific/Apia", "2011-12-30T10:00", "2011-12-30T13:00"),  # and its own time on the day after
    # Repeated hours: a fixed time fires the first time only.
    ("30 2 * * *", "Europe/Berlin", "2025-10-25T12:00", "2025-10-26T00:30"),
    ("30 2 * * *", "Europe/Berlin", "2025-10-26T00:30", "2025-10-27T01:30"),
    ("45 2 * * *", "Europe/Berlin", "2025-10-26T01:30", "2025-10-27T01:45"),  # asked within the second 02:30
    ("30 1 * * *", "America/New_York", "2025-11-02T05:30", "2025-11-03T06:30"),
    ("45 1 * * *", "Australia/Lord_Howe", "2025-04-05T14:45", "2025-04-06T15:15"),
    # A schedule with a star follows the wall clock: skipped times do not fire, repeated ones fire again.
    ("*/30 2 * * *", "Europe/Berlin", "2025-03-29T12:00", "2025-03-31T00:00"),
    ("*/30 2 * * *", "Europe/Berlin", "2025-10-26T00:30", "2025-10-26T01:00"),
    ("30 * * * *", "America/New_York", "2025-11-02T05:30", "2025-11-02T06:30"),
    ("30 * * * *", "America/New_York", "2025-03-09T06:30", "2025-03-09T07:30"),
    ("*/10 2 * * *", "Australia/Lord_Howe", "2025-04-05T15:00", "2025-04-05T15:30"),
    ("45 * * * *", "Australia/Lord_Howe", "2025-04-05T14:45", "2025-04-05T15:15"),
    ("15 * * * *", "Australia/Lord_Howe", "2025-10-04T14:45", "2025-10-04T16:15"),  # 02:15 was skipped
    ("@hourly", "Pacific/Apia", "2011-12-30T09:00", "2011-12-30T10:00"),  # hour by hour, over a day that was skipped
    ("*/20 * * * *", "Pacific/Apia", "2011-12-30T09:40", "2011-12-30T10:00"),
    ("*/30 2 * * *", "Pacific/Apia", "2011-12-29T12:30", "2011-12-30T12:00"),
]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(("expression", "timezone", "after", "expected"), NEXT)
def test_next_tick(expression: str, timezone: str, after: str, expected: str) -> None:
    assert utc(expected) == Schedule(expression, timezone).next_after(utc(after)).astimezone(UTC)


def test_ticks_are_in_the_timezone_of_the_schedule() -> None:
    tick = Schedule("0 3 * * *", "Europe/Berlin").next_after(utc("2025-07-01T00:00"))
    assert tick.isoformat() == "2025-07-01T03:00:00+02:00"


CHANGES = [
    ("Europe/Berlin", "2025-03-29T12:00"),
    ("Europe/Berlin", "2025-10-25T12:00"),
    ("America/New_York", "2025-03-08T18:00"),
    ("America/New_York", "2025-11-01T18:00"),
    ("Australia/Lord_Howe", "2025-04-05T03:00"),
    ("Australia/Lord_Howe", "2025-10-04T03:00"),
]
SKIPPED_DAY = ("Pacific/Apia", "2011-12-29T22:00")


STARS = ["*/7 * * * *", "*/30 * * * *", "15 * * * *", "*/10 1 * * *", "*/10 2 * * *", "0 */2 * * *", "@hourly"]


@pytest.mark.parametrize("expression", STARS)
@pytest.mark.parametrize(("timezone", "start"), [*CHANGES, SKIPPED_DAY])
def test_a_star_fires_at_every_matching_minute_of_the_wall(timezone: str, start: str, expression: str) -> None:
    begin, end = utc(start), utc(start) + timedelta(days=1)
    minutes = [begin + timedelta(minutes=n) for n in range(1, 1441)]
    zone = ZoneInfo(timezone)
    expected = [m for m in minutes if matches(expression, m.astimezone(zone))]
    schedule, tick, fired = Schedule(expression, timezone), begin, []
    while (tick := schedule.next_after(tick).astimezone(UTC)) <= end:
        fired.append(tick)
    assert expected == fired


def matches(expression: str, wall: datetime) -> bool:
    def fits(field: str, value: int) -> bool:
        star, _, step = field.partition("/")
        return value % int(step or 1) == 0 if star == "*" else value == int(field)

    minute, hour = expression.replace("@hourly", "0 *").split()[:2]
    return fits(minute, wall.minute) and fits(hour, wall.hour)


@pytest.mark.parametrize("expression", ["30 1 * * *", "30 2 * * *", "15 2 * * *", "0 3 * * *", "@daily"])
@pytest.mark.parametrize(("timezone", "start"), CHANGES)
def test_a_fixed_time_fires_once_a_day_and_always_later(timezone: str, start: str, expression: str) -> None:
    schedule, ticks = Schedule(expression, timezone), [utc(start) - timedelta(days=2)]
    for _ in range(6):
        ticks.append(schedule.next_after(ticks[-1]))
    days = [tick.date() for tick in ticks[1:]]
    assert all(later - earlier == timedelta(days=1) for earlier, later in pairwise(days))


REFUSED = [  # expression, timezone, a part of the message
    ("0 0 3 * * *", "UTC", "has 6 fields instead of five"),
    ("0 0 3 * * *", "UTC", "write '0 3 * * *'"),
    ("*/10 0 3 ? * MON 2025", "UTC", "write '0 3 * * MON'; nothing fires more often than once a minute"),
    ("0 3 * *", "UTC", "has 4 fields instead of five"),
    ("", "UTC", "has 0 fields"),
    ("60 3 * * *", "UTC", "minute '60' can't be read"),
    ("0 25 * * *", "UTC", "hour '25' can't be read"),
    ("0 3 32 * *", "UTC", "day-of-month '32' can't be read"),
    ("0 3 * FOO *", "UTC", "month 'FOO' can't be read"),
    ("0 3 * * FRI-MON", "UTC", "day-of-week 'FRI-MON' can't be read"),
    ("0 0 30 2 *", "UTC", "never fires"),
    ("@every 5m", "UTC", "schedule '@every 5m' is not known"),
    ("TZ=Europe/Berlin 0 3 * * *", "UTC", "write '0 3 * * *' with timezone='Europe/Berlin'"),
    ("0 3 * * *", "Europe/Berln", "timezone 'Europe/Berln' is not known: did you mean 'Europe/Berlin'?"),
    ("0 3 * * *", "new york", "did you mean 'America/New_York'?"),
    ("0 3 * * *", "Europe", "timezone 'Europe' is not known"),
    ("0 3 * * *", "../etc", "timezone '../etc' is not known"),
]


@pytest.mark.parametrize(("expression", "timezone", "message"), REFUSED)
def test_refused_with_the_remedy(expression: str, timezone: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Schedule(expression, timezone)
    assert message in str(caught.value)
