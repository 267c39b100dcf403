"""Ticks on their way: tries, retries and replies of one schedule, and what happens where two ticks overlap.

Everything here runs on the thread of the source's `step`; callbacks leave a message by `post`.
"""

from __future__ import annotations

import logging
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias, cast

from upon import Busy, Event
from upon._engine import Publisher
from upon._outcome import Done, Failed, Outcome, failure_from
from upon._reply import reply_key
from upon._sink import Sink
from upon._triggers import CronTrigger
from upon_triggers.retry import Again, busy_delay, decide
from upon_triggers.settings import Delivery

log = logging.getLogger("upon.cron")

MAX_RUNS = 100  # unfinished ticks with overlap="allow"

Message: TypeAlias = Callable[[datetime], object]  # what is to be done, given the time at which it is done


@dataclass(slots=True, eq=False)
class Run:
    """One tick. tick: the time for which it was claimed, None where it was fired by hand.

    due: when to go on, or None while a try is under way. handled: only its reply is missing.
    """

    event: Event[Any]
    tick: datetime | None = None
    attempt: int = 1
    busy: int = 0
    due: datetime | None = None
    handled: Done | None = None

    def fields(self) -> dict[str, Any]:
        event = self.event
        return {"event_id": event.id, "scheduled": event._attributes["time"], "attempt": self.attempt}


class Runs:
    """active: unfinished ticks. over: told of each tick that is done with, whichever way. last: what ended last."""

    def __init__(
        self,
        trigger: CronTrigger,
        function: str,
        sink: Sink,
        publisher: Publisher | None,
        *,
        name: str,
        delivery: Delivery,
        rng: random.Random,
        post: Callable[[Message], None],
        over: Callable[[Run], None],
    ) -> None:
        self.active: list[Run] = []
        self.counts: Counter[str] = Counter()
        self.last: dict[str, Any] | None = None
        self._backlog: deque[Run] = deque()  # due at once, and may not overlap; catch_up bounds them
        self._trigger = trigger
        self._function = function
        self._sink = sink
        self._publisher = publisher
        self._name = name
        self._delivery = delivery
        self._rng = rng
        self._post = post
        self._over = over

    def __len__(self) -> int:
        return len(self.active) + len(self._backlog)

    def due(self, ready: bool) -> datetime | None:
        """When the next retry is due. ready: whether claimed ticks may be tried."""
        times = [run.due for run in self.active if run.due is not None and (ready or run.tick is None)]
        return min(times, default=None)

    def begin_all(self, runs: Sequence[Run]) -> None:
        """Ticks that are due at once, oldest first: all of them, or one after another, as `overlap` says."""
        if self._trigger.overlap == "allow":
            for run in runs:
                self.begin(run)
        elif runs and self.begin(runs[0]):
            self._backlog.extend(runs[1:])
        else:
            for run in runs[1:]:
                self._skip(run)

    def begin(self, run: Run) -> bool:
        if self.active and not self._make_room(run):
            return False
        self.active.append(run)
        self._try(run)
        return True

    def begin_next(self) -> bool:
        """Begin the next of the backlog where nothing is in its way; whether one was begun."""
        return bool(self._backlog) and not self.active and self.begin(self._backlog.popleft())

    def try_due(self, now: datetime, ready: bool) -> None:
        for run in [run for run in self.active if run.due is not None and run.due <= now]:
            if ready or run.tick is None:
                self._try(run)

    def set_back(self, back: timedelta) -> None:
        """The wall clock was set back: what waits for a time still waits as long as it was meant to."""
        for run in self.active:
            if run.due is not None:
                run.due -= back

    def give_up(self, why: str, *, claimed: bool = False) -> list[Run]:
        """Drop what is unfinished (or, of that, what was claimed): its results come to nothing."""
        left = [run for run in (*self.active, *self._backlog) if run.tick is not None or not claimed]
        for run in left:
            log.warning("%s: %s", self._name, why, extra={"fields": run.fields()})
        self.active = [run for run in self.active if run not in left]
        self._backlog.clear()
        return left

    def _make_room(self, run: Run) -> bool:
        """Whether the tick may run although others are unfinished, as `overlap` says."""
        if self._trigger.overlap == "replace":
            replaced = self.give_up("the tick was replaced by the next one")
            self.counts["replaced"] += len(replaced)
            for old in replaced:
                self._over(old)
            return True
        if self._trigger.overlap == "allow" and len(self.active) < MAX_RUNS:
            return True
        self._skip(run)
        return False

    def _skip(self, run: Run) -> None:
        self.counts["skipped"] += 1
        text = "%s: the tick is skipped, for %d before it are unfinished"
        log.warning(text, self._name, len(self.active), extra={"fields": run.fields()})
        self._over(run)

    def _try(self, run: Run) -> None:
        run.due = None
        if run.handled is not None:
            self._reply(run, run.handled)
            return

        def on_done(outcome: Outcome) -> None:
            self._post(lambda now: self._answered(run, outcome, now))

        try:
            self._sink.submit(run.event._copy(attempt=run.attempt), on_done, function=self._function)
        except Exception as error:  # a tick without an outcome would block every later one
            on_done(failure_from(error))

    def _answered(self, run: Run, outcome: Outcome, now: datetime) -> None:
        wanted = self._trigger.reply_to is not None and run in self.active
        if wanted and isinstance(outcome, Done) and isinstance(outcome.reply, Event):
            run.handled = outcome
            self._reply(run, outcome)
        else:
            self._settle(run, outcome, now)

    def _reply(self, run: Run, outcome: Done) -> None:
        """Have the reply confirmed before the tick is done."""

        def on_done(error: BaseException | None) -> None:
            self._post(lambda now: self._replied(run, outcome, error, now))

        reply = cast("Event[Any]", outcome.reply)
        try:
            cast(Publisher, self._publisher).publish(
                cast(str, self._trigger.reply_to), reply, reply_key(run.event, reply), on_done
            )
        except Exception as error:
            on_done(error)

    def _replied(self, run: Run, outcome: Done, error: BaseException | None, now: datetime) -> None:
        if isinstance(error, Busy):  # write it again; the handler has done its part
            log.info("%s: the reply can't be written, trying on: %s", self._name, error)
            run.due = now + timedelta(seconds=busy_delay(run.busy, self._rng))
            run.busy += 1
            return
        run.handled = None
        self._settle(run, outcome if error is None else failure_from(error), now)

    def _settle(self, run: Run, outcome: Outcome, now: datetime) -> None:
        if run not in self.active:  # given up meanwhile
            return
        if isinstance(outcome, Failed):
            decision = decide(outcome, run.attempt, self._delivery, self._rng, busy=run.busy)
            if isinstance(decision, Again):
                run.due = now + timedelta(seconds=decision.delay)
                run.attempt += decision.counts
                run.busy = 0 if decision.counts else run.busy + 1
                return
        self._finish(run, outcome)

    def _finish(self, run: Run, outcome: Outcome) -> None:
        self.active.remove(run)
        self.last = {"id": run.event.id, "time": run.event._attributes["time"], "outcome": outcome.kind}
        self.counts["done" if isinstance(outcome, Done) else "failed"] += 1
        if isinstance(outcome, Failed):
            fields = {**run.fields(), "outcome": outcome.kind, "error": outcome.error}
            text = "%s: the tick failed for good after %d tries: %s"
            log.error(text, self._name, run.attempt, outcome.error, extra={"fields": fields})
        self._over(run)
