"""Expressions of other tools: each is answered with what to write here, and what is written so is read."""

from __future__ import annotations

import re

import pytest

from upon import UsageError
from upon_triggers.schedule import Schedule

TRANSLATED = [  # expression, what the message says to write
    ("0 0 3 * * *", "0 3 * * *"),  # Spring: seconds first, and 0 is Sunday
    ("0 0 3 * * 1-5", "0 3 * * 1-5"),
    ("0 0 12 ? * 2-6", "0 12 * * MON-FRI"),  # Quartz: seconds first, and 1 is Sunday
    ("0 0 12 ? * 2-6 2025", "0 12 * * MON-FRI"),
    ("0 15 10 ? * MON,WED", "15 10 * * MON,WED"),
    ("0 0 0 ? * 6L", "0 0 * * 5L"),
    ("0 0 0 ? * 6#3", "0 0 * * FRI#3"),
    ("0 0 0 1/2 * ?", "0 0 1/2 * *"),
    ("0 10 * * ? *", "0 10 * * *"),  # AWS: the year last
    ("0 10 ? * 2-6 *", "0 10 * * MON-FRI"),
    ("cron(0 10 ? * 2 *)", "0 10 * * MON"),
    ("rate(5 minutes)", "*/5 * * * *"),
    ("rate(1 minute)", "* * * * *"),
    ("rate(1 hour)", "0 * * * *"),
    ("rate(1 day)", "0 0 * * *"),
    ("@every 5m", "*/5 * * * *"),  # Go's robfig/cron
    ("@every 120s", "*/2 * * * *"),
    ("@every 6h", "0 */6 * * *"),
    ("0 3 ? * MON", "0 3 * * MON"),
    ("0 3 * * ?", "0 3 * * *"),
    ("0 24 * * *", "0 0 * * *"),
    ("0 22-2 * * *", "0 22-23,0-2 * * *"),
    ("0 3 * 11-2 *", "0 3 * 11-12,1-2 *"),
    ("0 3 * * FRI-MON", "0 3 * * FRI,SAT,SUN,MON"),
    ("0 3 * * MON-SUN", "0 3 * * *"),
    ("0 3 * * 6-1", "0 3 * * SAT,SUN,MON"),
    ("0 3 * * Monday-Friday", "0 3 * * MON-FRI"),
    ("0 3 1 January *", "0 3 1 JAN *"),
]


@pytest.mark.parametrize(("expression", "written"), TRANSLATED)
def test_translated(expression: str, written: str) -> None:
    with pytest.raises(UsageError) as caught:
        Schedule(expression)
    assert f"schedule {expression!r}" in str(caught.value)
    assert [written] == re.findall(r"write '([^']*)'", str(caught.value))
    Schedule(written)


TOLD = [  # expression, a part of the message
    (
        "@reboot",
        "is no time: open what is needed at the start as a @upon.resource, or fire once with `func run --tick`",
    ),
    ("@every 10s", "nothing fires more often than once a minute, and on whole minutes"),
    ("@every 7m", "five fields name times of the day, and can't count from one tick to the next"),
    ("rate(0 minutes)", "can't count"),
    ("@fortnightly", "is not known: use five fields or one of @yearly"),
    ("*/10 * * * * *", "nothing fires more often than once a minute"),
    ("0 3 15W * *", "day-of-month '15W' can't be read: nothing finds the nearest weekday; fire daily"),
    ("H 3 * * *", "minute 'H' can't be read: write a time, and jitter= (seconds)"),
    ("H/15 * * * *", "minute 'H/15' can't be read: write a time, and jitter= (seconds)"),
    ("0 3 L-3 * *", "day-of-month 'L-3' can't be read: use a number of its range"),
    ("0 3 * * MON#6", "day-of-week 'MON#6' can't be read: use a number of its range"),
    ("0 3 * * 8", "day-of-week '8' can't be read: use a number"),
    ("- * * * *", "minute '-' can't be read: use a number"),
    ("*/5", "has 1 field instead of five"),
    ("every day at three", "has 4 fields instead of five"),
]


@pytest.mark.parametrize(("expression", "message"), TOLD)
def test_told(expression: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Schedule(expression)
    assert message in str(caught.value)


READ = [
    "0 3 L * *",
    "0 3 LW * *",
    "0 3 * * 5L",
    "0 3 * * 1#2",
    "0 3 * jan-MAR mon",
    "@DAILY",
    " 0  3 * * * ",
    "0\t3 * * *",
]


@pytest.mark.parametrize("expression", READ)
def test_read(expression: str) -> None:
    Schedule(expression)
