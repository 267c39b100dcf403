"""Which of several processes fires a schedule: the one that holds its record, for as long as it renews it.

Everybody measures with a monotonic clock how long a record has not changed; clocks of machines are never compared.
What keeps a frozen process from firing is not the time but the version: whoever takes over changes the record, and a
claim for a record that has changed fails.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime

from upon_triggers.firing import Firing, FiringError, FiringStore, Version
from upon_triggers.holder import Holder, is_gone, parse

log = logging.getLogger("upon.cron")

LEASE = 12.0  # seconds without a renewal after which another process takes over
RENEWALS = 4  # per lease; also how often those who wait look, so that taking over lasts 15 s at most
AGAIN = 1.0  # seconds until a store that failed is asked again


class Election:
    """This process's part in it, for one schedule; used by one thread at a time.

    leads: whether this process holds the record. firing: the record as last read or written, with what is not
    written yet. duration: of the lease, seconds.
    """

    def __init__(
        self,
        schedule: str,
        store: FiringStore,
        holder: Holder,
        *,
        name: str,
        duration: float = LEASE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.leads = False
        self.failing = False
        self.firing: Firing | None = None
        self._schedule = schedule
        self._store = store
        self._me = holder
        self._name = name
        self._duration = duration
        self._monotonic = monotonic
        self._version: Version | None = None
        self._changed = self._next = monotonic()
        self._dirty = False
        self._told = ""  # the holder that the log named

    @property
    def ready(self) -> bool:
        """Whether this process may fire: it leads, and the store has confirmed it within the last renewal."""
        return self.leads and not self.failing

    def wait(self) -> float:
        """Seconds until `keep` has something to do."""
        return max(self._next - self._monotonic(), 0.0)

    def keep(self, first: Callable[[], datetime]) -> None:
        """Renew what is held, or take it over from one who does not renew; does nothing before its time.

        first: until when ticks are none of ours, where no record tells.
        """
        if self._monotonic() < self._next:
            return
        if self.leads and self.firing is not None:
            self._write(self.firing)
        else:
            self._look(first)

    def claim(self, ticks: list[datetime]) -> bool:
        """Whether these ticks, oldest first, are this process's to fire; nobody else fires them from then on."""
        if not self.ready or self.firing is None:
            return False
        until = max(self.firing.until, ticks[-1])
        unfinished = tuple(sorted({*self.firing.unfinished, *ticks}))
        wanted = replace(self.firing, until=until, unfinished=unfinished, last=ticks[-1])
        for _ in range(3):  # once, unless this process is frozen in the middle, and others may have gone on
            began = self._monotonic()
            if not self._write(wanted):
                return False
            if self._monotonic() - began < self._duration:
                return True
            wanted = self.firing
        return False

    def finish(self, ticks: Iterable[datetime]) -> None:
        """These ticks are done with; `flush` writes it."""
        if self.leads and self.firing is not None:
            over = set(ticks)
            left = tuple(tick for tick in self.firing.unfinished if tick not in over)
            self._dirty = self._dirty or left != self.firing.unfinished
            self.firing = replace(self.firing, unfinished=left)

    def rewind(self, until: datetime) -> None:
        """The clock was set back: ticks after `until` are to come again."""
        if self.leads and self.firing is not None and until < self.firing.until:
            self.firing = replace(self.firing, until=until.astimezone(UTC))
            self._dirty = True

    def flush(self) -> None:
        if self._dirty and self.ready and self.firing is not None:
            self._write(self.firing)

    def release(self) -> None:
        """Let another process take over at once; what is unfinished stays so."""
        if self.leads and self.firing is not None:
            self._write(replace(self.firing, holder=""))
            self.leads = False

    def _look(self, first: Callable[[], datetime]) -> None:
        self._next = self._monotonic() + self._duration / RENEWALS
        found = self._read()
        if self.failing:
            return
        if found is None:
            self._version = None
            self._take(Firing("", self._duration, first()))
        elif self._is_free(*found):
            self._take(found[0])
        elif found[0].holder != self._told:
            self._told = found[0].holder
            other = parse(self._told)
            text = "%s: %s fires this schedule; this process takes over when that one ends"
            log.warning(text, self._name, other.known if other else f"another process ({self._told})")

    def _is_free(self, firing: Firing, version: Version) -> bool:
        if version != self._version:
            self._version, self._changed, self.firing = version, self._monotonic(), firing
        return (
            firing.holder in ("", str(self._me))
            or is_gone(firing.holder, self._me)
            or self._monotonic() - self._changed >= firing.duration
        )

    def _take(self, firing: Firing) -> None:
        if self._write(replace(firing, holder=str(self._me), duration=self._duration)):
            self.leads = True
            if self._told:
                log.warning("%s: from now on this process fires the schedule", self._name)
            self._told = ""

    def _write(self, firing: Firing, *, again: bool = True) -> bool:
        """Whether the store took it; if somebody else holds the record by now, this process no longer leads."""
        firing = replace(firing, renewals=firing.renewals + 1)
        try:
            version = self._store.write(self._schedule, firing, self._version)
        except FiringError as error:
            self._fail(error)
            return False
        if version is None:
            return self._contested(firing, again)
        self._recover()
        self._version, self.firing, self._dirty = version, firing, False
        self._changed = self._monotonic()
        self._next = self._changed + self._duration / RENEWALS
        return True

    def _contested(self, firing: Firing, again: bool) -> bool:
        found = self._read()
        if self.failing:
            return False
        if again and found is not None and found[0].holder == str(self._me):
            self._version = found[1]  # our own write, whose answer was lost
            return self._write(replace(firing, renewals=found[0].renewals), again=False)
        self._lose()
        return False

    def _lose(self) -> None:
        self.leads = self._dirty = False
        self._next = self._monotonic()

    def _read(self) -> tuple[Firing, Version] | None:
        try:
            found = self._store.read(self._schedule)
        except FiringError as error:
            self._fail(error)
            return None
        self._recover()
        return found

    def _fail(self, error: FiringError) -> None:
        if not self.failing:
            log.error("%s: no tick fires until its state can be kept: %s", self._name, error)
        self.failing = True
        self._next = self._monotonic() + AGAIN

    def _recover(self) -> None:
        if self.failing:
            log.warning("%s: its state can be kept again", self._name)
        self.failing = False
