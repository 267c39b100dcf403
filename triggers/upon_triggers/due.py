"""Which ticks of a schedule are due, whatever the wall clock does: late threads, sleeping laptops, corrected clocks."""

from __future__ import annotations

import logging
from collections import deque
from datetime import UTC, datetime, timedelta

from upon_triggers.schedule import Schedule

log = logging.getLogger("upon.cron")

ON_TIME = timedelta(seconds=60)  # a tick taken later than this was missed, and only catch_up brings it back
_SECOND = timedelta(seconds=1)


class DueTicks:
    """The ticks after `now`, each handed out once; all in UTC, for within one zone Python compares wall times.

    catch_up: how many missed ticks are made up for. gaps: how often ticks were missed.
    """

    def __init__(self, schedule: Schedule, now: datetime, *, catch_up: int = 0, name: str = "") -> None:
        self._schedule = schedule
        self.next = self._after(now)
        self.gaps = 0
        self._catch_up = max(catch_up, 0)
        self._name = name
        self._taken: deque[datetime] = deque(maxlen=128)

    def take(self, now: datetime) -> list[datetime]:
        """Those due by now, oldest first: the ones on time, and before them as many missed ones as catch_up says."""
        if self.next > now:
            return []
        limit = now - ON_TIME
        ticks = self._missed(limit) if self.next <= limit else []
        self.next = self._after(max(self.next - _SECOND, limit))
        while self.next <= now:
            ticks.append(self.next)
            self.next = self._after(self.next)
        new = [tick for tick in ticks if tick not in self._taken]  # the clock may have been set back
        self._taken.extend(new)
        return new

    def set_back(self, now: datetime, back: timedelta) -> None:
        """The clock was set back to `now`. A small correction changes nothing."""
        if back >= ON_TIME:
            self.next = self._after(now)

    def _missed(self, limit: datetime) -> list[datetime]:
        """The newest ticks up to `limit` that catch_up allows; a long sleep is not walked in full."""
        self.gaps += 1
        window, found = timedelta(hours=1), list[datetime]()
        while len(found) < self._catch_up:
            begin = max(self.next - _SECOND, limit - window)
            found = self._between(begin, limit)
            if begin < self.next:
                break
            window *= 4
        found = found[-self._catch_up :] if self._catch_up else []
        log.warning("%s: ticks since %s were missed, %d are made up for", self._name, self.next, len(found))
        return found

    def _between(self, begin: datetime, end: datetime) -> list[datetime]:
        """The ticks in (begin, end]."""
        ticks = []
        while (begin := self._after(begin)) <= end:
            ticks.append(begin)
        return ticks

    def _after(self, instant: datetime) -> datetime:
        return self._schedule.next_after(instant).astimezone(UTC)
