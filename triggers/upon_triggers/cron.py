"""Fires a function on its schedule.

All state belongs to whoever calls `step`: a thread in production, upon.testing.Client in a test. Everybody else
(the sink's and the publisher's callbacks, `fire`) leaves a message in the inbox, so that there is no lock.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from upon import Busy, Event, UsageError
from upon._engine import Publisher
from upon._outcome import Done, Failed, Outcome, failure_from
from upon._reply import reply_key
from upon._sink import Sink
from upon._triggers import CronTrigger
from upon_triggers.due import DueTicks
from upon_triggers.retry import Again, busy_delay, decide
from upon_triggers.schedule import Schedule
from upon_triggers.settings import Delivery
from upon_triggers.tick import tick_event

log = logging.getLogger("upon.cron")

LONGEST_SLEEP = 30.0  # seconds; how late a change of the wall clock is noticed
MAX_RUNS = 100  # unfinished ticks with overlap="allow"


def wall_clock() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True, eq=False)
class _Run:
    """One tick on its way. due: when to go on, or None while a try is under way. handled: only its reply is missing."""

    event: Event[Any]
    attempt: int = 1
    busy: int = 0
    due: datetime | None = None
    handled: Done | None = None


class CronSource:
    """One cron trigger of one function.

    overlap, when a tick is due while the one before is unfinished (its retries included): "allow" runs both,
    "forbid" skips the new one, "replace" gives the old one up: no more retries, and its result and reply are
    dropped; a handler that is in the middle of its work is not interrupted. A tick that fails in the end is
    logged with its id and counted; there is no dead letter, for the next tick comes by itself.
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
        clock: Callable[[], datetime] = wall_clock,
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
        self._sink = sink
        self._publisher = publisher
        self._service = service
        self._namespace = namespace
        self._delivery = delivery
        self._clock = clock
        self._rng = rng or random.Random()
        self._inbox: deque[Callable[[datetime], object]] = deque()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._runs: list[_Run] = []
        self._backlog: deque[Event[Any]] = deque()  # ticks due at once that may not overlap; catch_up bounds them
        self._seen = clock().astimezone(UTC)
        self._ticks = self._ticks_after(self._seen)
        self._paused = self._stopping = False
        self._counts: Counter[str] = Counter()
        self._last: dict[str, Any] | None = None

    # The life of the source

    def start(self) -> None:
        self._seen = self._clock().astimezone(UTC)
        self._ticks = self._ticks_after(self._seen)  # what was due while models opened is not ours
        self._thread = threading.Thread(target=self._loop, name=f"upon-{self.name}", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        self._paused = True
        self._wake.set()

    def stop(self, timeout: float) -> None:
        """Wait for the tries under way; a tick that waits for its next try is given up, with a log line."""
        self._paused = self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)
        left, self._runs = [*self._runs, *map(_Run, self._backlog)], []
        self._backlog.clear()
        for run in left:
            log.warning("%s: the tick was not finished before the stop", self.name, extra={"fields": _fields(run)})
        self._wake.set()

    def state(self) -> dict[str, Any]:
        """next: when the next tick is due. last: id, time and outcome of the tick that finished last.

        done, failed: ticks that finished. skipped, replaced: by `overlap`. gaps: times that ticks were missed.
        """
        runs = list(self._runs)
        return {
            "connected": True,
            "in_flight": len(runs) + len(self._backlog),
            "retrying": sum(run.due is not None for run in runs),
            "next": None if self._paused else self._ticks.next.astimezone(self.schedule.zone).isoformat(),
            "last": self._last,
            "gaps": self._ticks.gaps,
            **{name: self._counts[name] for name in ("done", "failed", "skipped", "replaced")},
        }

    def fire(self, at: datetime) -> Event[Any]:
        """Have the next step fire a tick for this scheduled time, on the schedule or not; returns its event.

        A time without timezone is one in the schedule's timezone.
        """
        if at.tzinfo is None:
            at = at.replace(tzinfo=self.schedule.zone)
        event = self._event(at)
        self._post(lambda now: self._begin(event))
        return event

    def _loop(self) -> None:
        while True:
            now = self._clock()
            pause = LONGEST_SLEEP
            try:
                due = self.step(now)
                if due is not None:
                    pause = min((due - now).total_seconds(), LONGEST_SLEEP)
            except Exception:  # a schedule must outlive a fault in one of its ticks
                log.exception("%s: a step failed", self.name)
                pause = 1.0
            if self._stopping and all(run.due is not None for run in self._runs):
                return
            self._wake.wait(max(pause, 0.0))
            self._wake.clear()

    def _post(self, message: Callable[[datetime], object]) -> None:
        self._inbox.append(message)
        self._wake.set()

    # Everything below runs on the thread that calls step

    def step(self, now: datetime) -> datetime | None:
        """Do what is due now; returns when there is something to do next, or None."""
        now = now.astimezone(UTC)  # arithmetic within one zone would be on its wall clock
        self._notice_jump(now)
        self._read_inbox(now)
        if not self._paused:
            self._fire_due(now)
        for run in [run for run in self._runs if run.due is not None and run.due <= now]:
            self._try(run)
        self._read_inbox(now)  # a sink may answer before submit returns
        while self._backlog and not self._runs and not self._paused:
            self._begin(self._backlog.popleft())
            self._read_inbox(now)
        return self.due()

    def is_due(self, now: datetime) -> bool:
        """Whether `step` would do anything now."""
        due = self.due()
        return bool(self._inbox) or (due is not None and due <= now)

    def due(self) -> datetime | None:
        """When `step` has something to do by itself: the next tick or retry."""
        times = [run.due for run in self._runs if run.due is not None]
        if not self._paused:
            times.append(self._ticks.next)
        return None if self._stopping else min(times, default=None)

    def _read_inbox(self, now: datetime) -> None:
        while self._inbox:
            self._inbox.popleft()(now)

    def _notice_jump(self, now: datetime) -> None:
        """A wall clock that was set back: what waits for a time still waits as long as it was meant to."""
        back = self._seen - now
        self._seen = now
        if back <= timedelta(0):
            return
        for run in self._runs:
            if run.due is not None:
                run.due -= back
        self._ticks.set_back(now, back)

    def _fire_due(self, now: datetime) -> None:
        events = [self._event(at) for at in self._ticks.take(now)]
        if self.trigger.overlap == "allow":
            for event in events:
                self._begin(event)
        elif events and self._begin(events[0]):
            self._backlog.extend(events[1:])

    def _event(self, at: datetime) -> Event[Any]:
        return tick_event(self.trigger, at, service=self._service, function=self.function, namespace=self._namespace)

    def _ticks_after(self, now: datetime) -> DueTicks:
        return DueTicks(self.schedule, now, catch_up=self.trigger.catch_up, name=self.name)

    def _begin(self, event: Event[Any]) -> bool:
        run = _Run(event)
        if self._runs and not self._make_room(run):
            return False
        self._runs.append(run)
        self._try(run)
        return True

    def _make_room(self, run: _Run) -> bool:
        """Whether the tick may run although others are unfinished, as `overlap` says."""
        if self.trigger.overlap == "replace":
            for old in self._runs:
                log.warning("%s: the tick was replaced by the next one", self.name, extra={"fields": _fields(old)})
            self._counts["replaced"] += len(self._runs) + len(self._backlog)
            self._runs = []
            self._backlog.clear()
            return True
        if self.trigger.overlap == "allow" and len(self._runs) < MAX_RUNS:
            return True
        self._counts["skipped"] += 1
        text = "%s: the tick is skipped, for %d before it are unfinished"
        log.warning(text, self.name, len(self._runs), extra={"fields": _fields(run)})
        return False

    def _try(self, run: _Run) -> None:
        run.due = None
        if run.handled is not None:
            self._reply(run, run.handled)
            return

        def on_done(outcome: Outcome) -> None:
            self._post(lambda now: self._answered(run, outcome, now))

        try:
            self._sink.submit(run.event._copy(attempt=run.attempt), on_done, function=self.function)
        except Exception as error:  # a tick without an outcome would block every later one
            on_done(failure_from(error))

    def _answered(self, run: _Run, outcome: Outcome, now: datetime) -> None:
        wanted = self.trigger.reply_to is not None and run in self._runs
        if wanted and isinstance(outcome, Done) and isinstance(outcome.reply, Event):
            run.handled = outcome
            self._reply(run, outcome)
        else:
            self._settle(run, outcome, now)

    def _reply(self, run: _Run, outcome: Done) -> None:
        """Have the reply confirmed before the tick is done."""

        def on_done(error: BaseException | None) -> None:
            self._post(lambda now: self._replied(run, outcome, error, now))

        reply = cast("Event[Any]", outcome.reply)
        try:
            cast(Publisher, self._publisher).publish(
                cast(str, self.trigger.reply_to), reply, reply_key(run.event, reply), on_done
            )
        except Exception as error:
            on_done(error)

    def _replied(self, run: _Run, outcome: Done, error: BaseException | None, now: datetime) -> None:
        if isinstance(error, Busy):  # write it again; the handler has done its part
            log.info("%s: the reply can't be written, trying on: %s", self.name, error)
            run.due = now + timedelta(seconds=busy_delay(run.busy, self._rng))
            run.busy += 1
            return
        run.handled = None
        self._settle(run, outcome if error is None else failure_from(error), now)

    def _settle(self, run: _Run, outcome: Outcome, now: datetime) -> None:
        if run not in self._runs:  # replaced meanwhile
            return
        if isinstance(outcome, Failed):
            decision = decide(outcome, run.attempt, self._delivery, self._rng, busy=run.busy)
            if isinstance(decision, Again):
                run.due = now + timedelta(seconds=decision.delay)
                run.attempt += decision.counts
                run.busy = 0 if decision.counts else run.busy + 1
                return
        self._finish(run, outcome)

    def _finish(self, run: _Run, outcome: Outcome) -> None:
        self._runs.remove(run)
        self._last = {"id": run.event.id, "time": run.event._attributes["time"], "outcome": outcome.kind}
        self._counts["done" if isinstance(outcome, Done) else "failed"] += 1
        if isinstance(outcome, Failed):
            fields = {**_fields(run), "outcome": outcome.kind, "error": outcome.error}
            text = "%s: the tick failed for good after %d tries: %s"
            log.error(text, self.name, run.attempt, outcome.error, extra={"fields": fields})


def _fields(run: _Run) -> dict[str, Any]:
    event = run.event
    return {"event_id": event.id, "scheduled": event._attributes["time"], "attempt": run.attempt}
