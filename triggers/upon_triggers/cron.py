"""Fires a function on its schedule.

All state belongs to whoever calls `step`: a thread in production, upon.testing.Client in a test. Everybody else
(the sink's and the publisher's callbacks, `fire`) leaves a message in the inbox, so that there is no lock.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from upon import Event, UsageError
from upon._engine import Publisher
from upon._sink import Sink
from upon._triggers import CronTrigger
from upon_triggers.due import ON_TIME, DueTicks
from upon_triggers.election import LEASE, Election
from upon_triggers.firing import FiringError, FiringStore, MemoryFirings, schedule_key
from upon_triggers.holder import this_process
from upon_triggers.runs import Message, Run, Runs
from upon_triggers.schedule import Schedule, check_jitter
from upon_triggers.settings import Delivery
from upon_triggers.source import SourceError
from upon_triggers.tick import jittered, tick_event

log = logging.getLogger("upon.cron")

LONGEST_SLEEP = 30.0  # seconds; how late a change of the wall clock is noticed
_SECOND = timedelta(seconds=1)


def wall_clock() -> datetime:
    return datetime.now(UTC)


class CronSource:
    """One cron trigger of one function.

    overlap, when a tick is due while the one before is unfinished (its retries included): "allow" runs both,
    "forbid" skips the new one, "replace" gives the old one up: no more retries, and its result and reply are
    dropped; a handler that is in the middle of its work is not interrupted. A tick that fails in the end is
    logged with its id and counted; there is no dead letter, for the next tick comes by itself.

    store: where it is kept what was fired last, and by whom; of all processes with one store one fires. lease:
    seconds without a sign of life after which another one takes over.
    """

    def __init__(
        self,
        trigger: CronTrigger,
        function: str,
        sink: Sink,
        publisher: Publisher | None = None,
        *,
        service: str,
        namespace: str = "default",
        delivery: Delivery = Delivery(),  # noqa: B008 - frozen
        store: FiringStore | None = None,
        lease: float = LEASE,
        clock: Callable[[], datetime] = wall_clock,
        monotonic: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        if trigger.reply_to is not None and publisher is None:
            raise UsageError(
                f"{trigger} replies to topic {trigger.reply_to!r}, and no Kafka is configured: set kafka.bootstrap"
            )
        self.name = f"{trigger} -> {function}"
        self.trigger = trigger
        self.function = function
        self.schedule = Schedule(trigger.schedule, trigger.timezone)
        check_jitter(self.schedule, trigger.jitter)
        self._service = service
        self._namespace = namespace
        self._clock = clock
        self._store = store or MemoryFirings()
        key = schedule_key(service, function, trigger)
        self._election = Election(key, self._store, this_process(), name=self.name, duration=lease, monotonic=monotonic)
        self._runs = Runs(
            trigger,
            function,
            sink,
            publisher,
            name=self.name,
            delivery=delivery,
            rng=rng or random.Random(),
            post=self._post,
            over=self._over,
        )
        self._inbox: deque[Message] = deque()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._gaps = 0
        self._seen = clock().astimezone(UTC)
        self._ticks = self._fresh_ticks(self._seen)
        self._opened = self._paused = self._stopping = False

    # The life of the source

    def open(self) -> None:
        """Be ready for `step`: the time begins now. Raises SourceError where the store can't be used."""
        try:
            self._store.open()
        except FiringError as error:
            raise SourceError(f"{self.name}: {error}") from None
        self._opened = True
        self._seen = self._clock().astimezone(UTC)
        self._ticks = self._fresh_ticks(self._seen)  # what was due while models opened is not ours, unless recorded
        self._keep_turn(self._seen)

    def start(self) -> None:
        self.open()
        self._thread = threading.Thread(target=self._loop, name=f"upon-{self.name}", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        self._paused = True
        self._wake.set()

    def stop(self, timeout: float) -> None:
        """Wait for the tries under way; a tick that waits for its next try is given up, with a log line.

        What is given up stays recorded as not finished: whoever fires next fires it, if it is not too late.
        """
        self._paused = self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)
        self._runs.give_up("the tick was not finished before the stop")
        self._election.release()
        if self._opened:  # others may share it
            self._store.close()
        self._opened = False
        self._wake.set()

    def state(self) -> dict[str, Any]:
        """next: when the next tick is scheduled, next_fires: and when it fires, which is later with `jitter`.

        leader: whether this process fires. last_fired: the tick that came due last, here or in another process.
        last: id, time and outcome of the tick that finished last here. done, failed: ticks that finished. skipped,
        replaced: by `overlap`. gaps: times that ticks were missed.
        """
        active, firing = list(self._runs.active), self._election.firing
        following = None if self._paused else self._following()
        return {
            "connected": not self._election.failing,
            "in_flight": len(self._runs),
            "retrying": sum(run.due is not None for run in active),
            "leader": self._election.leads,
            "next": self._shown(following),
            "next_fires": self._shown(self._ticks.fires(following) if following else None),
            "last_fired": self._shown(firing.last if firing else None),
            "last": self._runs.last,
            "gaps": self._gaps + self._ticks.gaps,
            **{name: self._runs.counts[name] for name in ("done", "failed", "skipped", "replaced")},
        }

    def fire(self, at: datetime) -> Event[Any]:
        """Have the next step fire a tick for this scheduled time, on the schedule or not; returns its event.

        It fires in this process whichever one fires the schedule, and is not recorded. A time without timezone is
        one in the schedule's timezone.
        """
        if at.tzinfo is None:
            at = at.replace(tzinfo=self.schedule.zone)
        event = self._event(at)
        self._post(lambda now: self._runs.begin(Run(event)))
        return event

    def _loop(self) -> None:
        while True:
            now = self._clock()
            pause = LONGEST_SLEEP
            try:
                due = self.step(now)
                pause = min(LONGEST_SLEEP, self._election.wait())
                if due is not None:
                    pause = min((due - now).total_seconds(), pause)
            except Exception:  # a schedule must outlive a fault in one of its ticks
                log.exception("%s: a step failed", self.name)
                pause = 1.0
            if self._stopping and all(run.due is not None for run in self._runs.active):
                return
            self._wake.wait(max(pause, 0.0))
            self._wake.clear()

    def _post(self, message: Message) -> None:
        self._inbox.append(message)
        self._wake.set()

    # Everything below runs on the thread that calls step

    def step(self, now: datetime) -> datetime | None:
        """Do what is due now; returns when there is something to do next, or None."""
        now = now.astimezone(UTC)  # arithmetic within one zone would be on its wall clock
        self._notice_jump(now)
        self._keep_turn(now)
        self._read_inbox(now)
        if not self._paused:
            self._fire_due(now)
        self._runs.try_due(now, self._election.ready)
        self._read_inbox(now)  # a sink may answer before submit returns
        while not self._paused and self._runs.begin_next():
            self._read_inbox(now)
        self._election.flush()
        if self._paused and not self._runs.active:
            self._election.release()
        return self.due()

    def is_due(self, now: datetime) -> bool:
        """Whether `step` would do anything now."""
        due = self.due()
        return bool(self._inbox) or (due is not None and due <= now)

    def due(self) -> datetime | None:
        """When `step` has something to do by itself: the next tick or retry."""
        ready = self._election.ready
        times = [self._runs.due(ready)]
        if ready and not self._paused:
            times.append(self._ticks.due)
        return None if self._stopping else min((time for time in times if time is not None), default=None)

    def _read_inbox(self, now: datetime) -> None:
        while self._inbox:
            self._inbox.popleft()(now)

    def _notice_jump(self, now: datetime) -> None:
        back = self._seen - now
        self._seen = now
        if back > timedelta(0):
            self._runs.set_back(back)
            if self._ticks.set_back(now, back):
                self._election.rewind(self._until(now))

    def _keep_turn(self, now: datetime) -> None:
        """See to it that this process fires, or that it does not."""
        led = self._election.leads
        if led or not self._paused:
            self._election.keep(lambda: self._until(now))
        if self._election.leads and not led:
            self._resume(now)
        if led and not self._election.leads:
            self._give_way()

    def _resume(self, now: datetime) -> None:
        """Go on where the record says that whoever fired before has ended."""
        firing = self._election.firing
        if firing is None:
            return
        self._gaps += self._ticks.gaps
        if firing.until <= now + ON_TIME:  # the other's clock may have been ahead
            self._ticks = self._make_ticks(firing.until, again=firing.unfinished)
            return
        text = "%s: a tick of %s is recorded as fired, so the clock was set back since: going on from %s"
        log.warning(text, self.name, firing.until, now)
        self._ticks = self._fresh_ticks(now)
        self._election.rewind(self._until(now))
        self._election.finish(firing.unfinished)

    def _give_way(self) -> None:
        self._runs.give_up("another process fires the schedule since, and this tick too", claimed=True)

    def _fire_due(self, now: datetime) -> None:
        if not self._election.ready:
            return
        ticks = self._ticks.take(now)
        self._election.finish(self._ticks.dropped)
        if not ticks:
            return
        if self._election.claim(ticks):
            self._runs.begin_all([Run(self._event(tick), tick) for tick in ticks])
        elif self._election.leads:
            self._ticks.put_back(ticks)
        else:
            self._give_way()

    def _over(self, run: Run) -> None:
        if run.tick is not None:
            self._election.finish([run.tick])

    def _event(self, at: datetime) -> Event[Any]:
        return tick_event(self.trigger, at, service=self._service, function=self.function, namespace=self._namespace)

    def _make_ticks(self, since: datetime, again: tuple[datetime, ...] = ()) -> DueTicks:
        jitter = self.trigger.jitter
        delay = (lambda tick: jittered(self._event(tick), jitter)) if jitter else (lambda tick: timedelta(0))
        return DueTicks(
            self.schedule,
            since,
            again=again,
            catch_up=self.trigger.catch_up,
            delay=delay,
            jitter=timedelta(seconds=jitter),
            name=self.name,
        )

    def _fresh_ticks(self, now: datetime) -> DueTicks:
        ticks = self._make_ticks(now)
        ticks.skip_to(now)
        return ticks

    def _until(self, now: datetime) -> datetime:
        """A time before the next tick, by which it and all that follow can be found again."""
        return min(now, self._ticks.next - _SECOND)

    def _following(self) -> datetime:
        """The next tick, whoever fires it."""
        ticks = self._ticks if self._election.leads else self._fresh_ticks(self._clock().astimezone(UTC))
        return ticks.next

    def _shown(self, at: datetime | None) -> str | None:
        return None if at is None else at.astimezone(self.schedule.zone).isoformat()
