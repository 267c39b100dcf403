"""What is known of a schedule beyond one process: who fires it, and which of its ticks are taken care of.

A store keeps one `Firing` per schedule and changes it by compare-and-set alone; that is what fences off a process
that was frozen and does not know it yet. A Kubernetes Lease can carry it as well: `holder` is its holderIdentity,
`duration` its leaseDurationSeconds, `renewals` the change of its renewTime, the version its resourceVersion, and the
text of `dump` an annotation.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeAlias

from upon import UponError

Version: TypeAlias = str  # of a record in its store, to compare only


def schedule_key(service: str, function: str, trigger: object) -> str:
    """By what a schedule's record is found, here and wherever its Lease is made."""
    return f"{service}/{function}/{trigger}"


class FiringError(UponError):
    """A store can't be read or written; what it holds is unchanged or, where an answer was lost, unknown."""


@dataclass(frozen=True, slots=True)
class Firing:
    """holder: the process that fires, "" for none. duration: seconds for which it counts as alive unless it renews.

    renewals: grows with each write, so that others see the holder live without comparing clocks. until: every tick
    up to this time was claimed or missed. unfinished: of these, the ones claimed and not finished. last: the newest
    of those claimed last.
    """

    holder: str
    duration: float
    until: datetime
    renewals: int = 0
    unfinished: tuple[datetime, ...] = ()
    last: datetime | None = None

    def dump(self) -> str:
        last = None if self.last is None else self.last.isoformat()
        unfinished = [tick.isoformat() for tick in self.unfinished]
        values = {"holder": self.holder, "duration": self.duration, "until": self.until.isoformat()}
        return json.dumps({**values, "renewals": self.renewals, "unfinished": unfinished, "last": last})

    @classmethod
    def load(cls, text: str) -> Firing:
        """What `dump` wrote, with times in UTC. Raises FiringError for anything else."""
        try:
            found = json.loads(text)
            return cls(
                str(found["holder"]),
                float(found["duration"]),
                _time(found["until"]),
                int(found["renewals"]),
                tuple(_time(tick) for tick in found["unfinished"]),
                None if found["last"] is None else _time(found["last"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise FiringError(f"the state of a schedule can't be read: {text[:80]!r} ({error!r})") from None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


class FiringStore(Protocol):
    """Where schedules' records are kept. Every call may raise FiringError and returns within seconds."""

    def open(self) -> None:
        """Make it ready. Raises FiringError, with the remedy, where nothing can be kept."""

    def read(self, schedule: str) -> tuple[Firing, Version] | None:
        """The record of a schedule and its version; None before the first write."""
        ...

    def write(self, schedule: str, firing: Firing, version: Version | None) -> Version | None:
        """Replace the record of that version, or make the first one (None); None if another was quicker."""
        ...

    def close(self) -> None:
        """Let go of it, once per `open`."""


class MemoryFirings:
    """A store for one process: state that ends with it."""

    def __init__(self) -> None:
        self._records: dict[str, tuple[Firing, Version]] = {}
        self._lock = threading.Lock()

    def open(self) -> None:
        pass

    def read(self, schedule: str) -> tuple[Firing, Version] | None:
        with self._lock:
            return self._records.get(schedule)

    def write(self, schedule: str, firing: Firing, version: Version | None) -> Version | None:
        with self._lock:
            found = self._records.get(schedule)
            if (None if found is None else found[1]) != version:
                return None
            written = str(1 if version is None else int(version) + 1)
            self._records[schedule] = (firing, written)
            return written

    def close(self) -> None:
        pass
