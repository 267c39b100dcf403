"""When a cron expression fires, daylight saving included.

cronsim reads the expression and walks it over the wall clock; what happens where that clock jumps is decided
here, because cronsim's own way skips ticks in zones that move by half an hour (Australia/Lord_Howe).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice, pairwise, takewhile
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from upon import MissingExtra, UsageError
from upon_triggers import dialect

if TYPE_CHECKING:
    from cronsim import CronSim

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_LOOKED_AT = 1500  # ticks, to find the closest two: a day of minutes, or all months of 30 years


class Schedule:
    """A cron expression of five fields (or a macro such as `@daily`) in a timezone.

    Where clocks change, the rule is the one of Debian's cron:

    - A schedule with a fixed minute and hour (neither field begins with `*`) loses and repeats nothing: a skipped
      time fires at the end of the gap, a repeated time fires the first time only.
    - A schedule with `*` in the minute or hour field follows the wall clock: what is skipped does not fire, what
      is repeated fires again.

    Raises UsageError for an expression or timezone that can't be read, and for one that never fires.
    """

    def __init__(self, expression: str, timezone: str = "UTC") -> None:
        self.expression = expression
        self.timezone = timezone
        self.zone: tzinfo = _zone(timezone)
        fields = _fields(expression)
        self._plain = " ".join(fields)
        self._fixed = not any(field.startswith("*") for field in fields[:2])
        _check(expression, fields)

    def __repr__(self) -> str:
        return f"Schedule({self.expression!r}, {self.timezone!r})"

    def next_after(self, instant: datetime) -> datetime:
        """The first tick after an instant (both aware), in the schedule's timezone.

        Raises UsageError where the calendar holds no further tick within 50 years.
        """
        start = instant.astimezone(UTC)
        found = self._next_fixed(start) if self._fixed else self._next_following(start)
        return found.astimezone(self.zone)

    def close_ticks(self, seconds: float) -> float | None:
        """How close two ticks may come, if not further than this; clock changes don't count. In seconds."""
        if seconds < 60:
            return None
        years = takewhile(lambda wall: wall.year < 2030, self._walk(datetime(2000, 1, 1)))
        walk = islice(years, _LOOKED_AT)
        gaps = ((after - before).total_seconds() for before, after in pairwise(walk))
        return next((gap for gap in gaps if gap <= seconds), None)

    def _next_fixed(self, start: datetime) -> datetime:
        for wall in self._walk(_wall(start, self.zone) - _SECOND):
            tick = self._instant(wall)
            if tick > start:
                return tick
        raise _never(self.expression)

    def _instant(self, wall: datetime) -> datetime:
        """The first instant at this wall time, or the end of the gap that skips it."""
        instant = wall.replace(tzinfo=self.zone, fold=0).astimezone(UTC)
        if _wall(instant, self.zone) == wall:
            return instant
        # In a gap, fold=1 counts with the offset after the change and so names an instant before it.
        before = wall.replace(tzinfo=self.zone, fold=1).astimezone(UTC)
        return _change(before, instant, self.zone) or instant

    def _next_following(self, start: datetime) -> datetime:
        wall = _wall(start, self.zone)
        while True:  # one round per stretch of constant offset, within which wall and real time run alike
            offset = _offset(start, self.zone)
            tick = next(self._walk(wall)).replace(tzinfo=UTC) - offset
            change = _change(start, tick, self.zone)
            if change is None:
                return tick
            start, wall = change, _wall(change, self.zone) - _SECOND

    def _walk(self, wall: datetime) -> Iterator[datetime]:
        """Matching wall times after one, without regard to clock changes."""
        yield from _cronsim(self._plain, wall)
        raise _never(self.expression)


def check_jitter(schedule: Schedule, jitter: float) -> None:
    """Raise UsageError for a jitter by which a tick could fire after the next one is due. In seconds."""
    gap = schedule.close_ticks(jitter)
    if gap is not None:
        raise UsageError(
            f"jitter={jitter:g} is not shorter than the {gap:g} s between two ticks of {schedule.expression!r}: a tick"
            " has to fire before the next one, so lower it"
        )


def _wall(instant: datetime, zone: tzinfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _offset(instant: datetime, zone: tzinfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def _change(start: datetime, end: datetime, zone: tzinfo) -> datetime | None:
    """The first second in (start, end] with another UTC offset than start, or None; looks at each day once."""
    offset = _offset(start, zone)
    while start < end and _offset(min(start + _DAY, end), zone) == offset:
        start += _DAY
    if start >= end:
        return None
    low, high = 0, int((min(start + _DAY, end) - start).total_seconds()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(start + middle * _SECOND, zone) == offset else (low, middle)
    return (start + high * _SECOND).replace(microsecond=0)


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):
        raise UsageError(f"timezone {name!r} is not known{_close_zone(name)}") from None


def _close_zone(name: object) -> str:
    known = sorted(available_timezones())
    if not isinstance(name, str):
        return ": give a name such as 'Europe/Berlin'"
    if not known:
        return ": this machine has no timezone data: pip install tzdata"
    wanted = name.strip().replace(" ", "_").casefold()
    by_name = {zone.casefold(): zone for zone in known}
    by_city = {zone.rpartition("/")[2].casefold(): zone for zone in known}
    for names in (by_name, by_city):
        close = difflib.get_close_matches(wanted, names, 1, 0.75)
        if close:
            return f": did you mean {names[close[0]]!r}?"
    return ": use a name of the IANA database, such as 'Europe/Berlin'"


def _fields(expression: str) -> list[str]:
    text = dialect.unfold(expression)
    if text is None:
        raise UsageError(dialect.wrong_macro(expression))
    if text.upper().startswith(("TZ=", "CRON_TZ=")):
        zone, _, rest = text.partition("=")[2].partition(" ")
        raise UsageError(f"schedule {expression!r} holds a timezone: write {rest!r} with timezone={zone!r}")
    aws = dialect.wrong_call(text)
    if aws is not None:
        raise UsageError(aws)
    fields = text.split()
    if len(fields) != 5:
        raise UsageError(dialect.wrong_count(expression, fields))
    return fields


def _check(expression: str, fields: list[str]) -> None:
    try:
        from cronsim import CronSimError
    except ImportError:
        raise MissingExtra("a cron trigger", "serve") from None
    start = datetime(2000, 1, 1)
    try:
        found = next(_cronsim(" ".join(fields), start), None)
    except CronSimError as error:
        name = str(error).removeprefix("Bad ")
        if name == "day-of-month" and fields[3] != "*" and "?" not in fields:
            # cronsim says so, too, where no month of those has such a day
            _check(expression, [*fields[:3], "*", "*"])
            raise _never(expression) from None
        raise UsageError(dialect.wrong_field(expression, fields, name)) from None
    if found is None:
        raise _never(expression)


def _never(expression: str) -> UsageError:
    return UsageError(f"schedule {expression!r} never fires: no day of the calendar fits all its fields")


def _cronsim(expression: str, wall: datetime) -> CronSim:
    from cronsim import CronSim

    return CronSim(expression, wall)
