"""Which ticks of a schedule are due, whatever the wall clock does: late threads, sleeping laptops, corrected clocks."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from upon_triggers.schedule import Schedule

log = logging.getLogger("upon.cron")

ON_TIME = timedelta(seconds=60)  # a tick taken later than this was missed, and only catch_up brings it back
_SECOND = timedelta(seconds=1)


class DueTicks:
    """The ticks after `since`, each handed out once; all in UTC, for within one zone Python compares wall times.

    next: the next tick's scheduled time. again: earlier ticks that were not finished. catch_up: how many missed ticks
    are made up for. delay: by how much a tick fires later than scheduled, at most `jitter`; it never fires later than
    the one after it is scheduled. gaps: how often ticks were missed. dropped: the unfinished ones that the last
    `take` found too old.
    """

    def __init__(
        self,
        schedule: Schedule,
        since: datetime,
        *,
        again: Iterable[datetime] = (),
        catch_up: int = 0,
        delay: Callable[[datetime], timedelta] = lambda tick: timedelta(0),
        jitter: timedelta = timedelta(0),
        name: str = "",
    ) -> None:
        self._schedule = schedule
        self._delay = delay
        self._jitter = jitter
        self.next = self._after(since)
        self.gaps = 0
        self.dropped: list[datetime] = []
        self._again = sorted(again)
        self._catch_up = max(catch_up, 0)
        self._name = name
        self._taken: deque[datetime] = deque(maxlen=128)

    @property
    def due(self) -> datetime:
        """When `take` has something to hand out next."""
        return self._again[0] if self._again else self.fires(self.next)

    def fires(self, tick: datetime) -> datetime:
        delay = self._delay(tick)
        return min(tick + delay, self._after(tick)) if delay else tick

    def skip_to(self, now: datetime) -> None:
        """Forget what should have fired by now."""
        self._again = []
        self.next = self._first_firing_after(now)

    def take(self, now: datetime) -> list[datetime]:
        """Those due by now, oldest first: the ones on time, and before them as many missed ones as catch_up says."""
        self.dropped = []
        if self.due > now:
            return []
        limit = now - ON_TIME
        ticks = [tick for tick in self._again if self.fires(tick) > limit]
        old = [tick for tick in self._again if self.fires(tick) <= limit]
        self._again = []
        if old or self.fires(self.next) <= limit:
            ticks += self._missed(old, limit)
            self.next = max(self.next, self._first_firing_after(limit))
        while self.fires(self.next) <= now:
            ticks.append(self.next)
            self.next = self._after(self.next)
        new = [tick for tick in sorted(set(ticks)) if tick not in self._taken]  # the clock may have been set back
        self._taken.extend(new)
        return new

    def put_back(self, ticks: list[datetime]) -> None:
        """These were taken and can't be fired now: the next `take` hands them out again, if that is soon enough."""
        self._again = sorted({*self._again, *ticks})
        for tick in ticks:
            if tick in self._taken:
                self._taken.remove(tick)

    def set_back(self, now: datetime, back: timedelta) -> bool:
        """The clock was set back to `now`; whether ticks come again. A small correction changes nothing."""
        if back >= ON_TIME:
            self.next = self._first_firing_after(now)
        return back >= ON_TIME

    def _first_firing_after(self, instant: datetime) -> datetime:
        tick = self._after(instant - self._jitter - _SECOND)
        while self.fires(tick) <= instant:
            tick = self._after(tick)
        return tick

    def _missed(self, again: list[datetime], limit: datetime) -> list[datetime]:
        """The newest ticks that should have fired by `limit`, as many as catch_up allows."""
        self.gaps += 1
        since = min([*again, self.next])
        found = sorted({*again, *self._newest(limit)})
        found = found[-self._catch_up :] if self._catch_up else []
        self.dropped = [tick for tick in again if tick not in found]
        log.warning("%s: ticks since %s were missed, %d are made up for", self._name, since, len(found))
        return found

    def _newest(self, limit: datetime) -> list[datetime]:
        """Enough of them; a long sleep is not walked in full."""
        window, found = timedelta(hours=1) + self._jitter, list[datetime]()
        while len(found) < self._catch_up:
            begin = max(self.next - _SECOND, limit - window)
            found = [tick for tick in self._between(begin, limit) if self.fires(tick) <= limit]
            if begin < self.next:
                break
            window *= 4
        return found

    def _between(self, begin: datetime, end: datetime) -> list[datetime]:
        """The ticks in (begin, end]."""
        ticks = []
        while (begin := self._after(begin)) <= end:
            ticks.append(begin)
        return ticks

    def _after(self, instant: datetime) -> datetime:
        return self._schedule.next_after(instant).astimezone(UTC)
