"""A trigger host's requests: what it says beside its events, and ordered runs of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from upon import Done, Event, Failed, MalformedEvent, Outcome
from upon._relay import ATTEMPT, ORDERED, ORIGIN, RUN, SENDER, TRIGGERS, read_attempts, read_items, read_origin
from upon_runtime.dispatcher import Dispatcher

_ATTEMPT, _RUN, _SENDER = ("HTTP_" + name.upper().replace("-", "_") for name in (ATTEMPT, RUN, SENDER))

__all__ = ["deliver_run", "is_relayed", "is_run", "patience", "read_items", "receive"]

SHARE = 0.1  # of a function's timeout: how long a run goes on to begin items, and waits for a place
LONGEST = 1.0  # seconds of it at most
NOT_HANDLED = Failed("overloaded", "not handled: the run ended before this item")

Items = Sequence[Event[Any] | MalformedEvent]


def receive(environ: Mapping[str, str], items: Items) -> bool:
    """Give the events what the request says beside them; whether a trigger host sent it, who writes the replies."""
    if _ATTEMPT in environ:
        read_attempts(environ[_ATTEMPT], items)
    if not is_relayed(environ):
        return False
    for item in items:
        if isinstance(item, Event) and item._record is None and ORIGIN in item._attributes:
            read_origin(item)
    return True


def is_relayed(environ: Mapping[str, str]) -> bool:
    """Whether a trigger host sent the request."""
    return environ.get(_SENDER) == TRIGGERS


def is_run(environ: Mapping[str, str]) -> bool:
    return _RUN in environ and environ[_RUN].lower() == ORDERED


def patience(timeout: float) -> float:
    """Seconds to wait for a place at a function with this timeout: a sender knows better what to do than we do."""
    return min(timeout * SHARE, LONGEST)


def deliver_run(
    dispatcher: Dispatcher,
    items: Items,
    function: str | None,
    *,
    replies: bool,
    on_late: Callable[[list[Outcome]], None] | None,
) -> list[Outcome]:
    """Handle the items one after another on this thread, up to the first that is not done. An outcome for each.

    The whole run takes no longer than its function's timeout: what is not begun within a tenth of it is not handled,
    and at the end of it on_late gets the outcomes, from another thread, while the handler still runs here.
    """
    run = _Run(items)
    bound = next((dispatcher.find(item, function) for item in items if isinstance(item, Event)), None)
    timeout = 0.0 if bound is None or isinstance(bound, Failed) else bound.spec.timeout
    began = time.monotonic()

    def strike() -> None:
        if key is not None:
            dispatcher.watchdog.end(key)  # the handler is watched for itself
        run.struck = True
        if on_late is not None:
            on_late(run.outcomes(Failed("timeout", f"the run took longer than {timeout:g} s")))

    key = dispatcher.watchdog.begin(began + timeout, strike) if timeout else None
    try:
        while not run.ended and (not run.done or time.monotonic() - began < patience(timeout)):
            item = items[len(run.done)]
            if isinstance(item, MalformedEvent):
                run.done.append(Failed("malformed", str(item)))
            else:
                run.done.append(
                    dispatcher.deliver(item, function=function, replies=replies, patience=patience(timeout))
                )
    finally:
        if key is not None:
            dispatcher.watchdog.end(key)
    return run.outcomes(NOT_HANDLED)


class _Run:
    """How far a run has come. struck: its time was over, and it was answered for."""

    def __init__(self, items: Items) -> None:
        self.done: list[Outcome] = []
        self.struck = False
        self._count = len(items)

    @property
    def ended(self) -> bool:
        done = self.done
        return self.struck or len(done) == self._count or (bool(done) and not isinstance(done[-1], Done))

    def outcomes(self, following: Failed) -> list[Outcome]:
        """Of those that were handled, then `following`, then of those that nobody has touched."""
        done = self.done[:]
        if len(done) == self._count:
            return done
        after = following if not done or isinstance(done[-1], Done) else NOT_HANDLED
        return [*done, after, *[NOT_HANDLED] * (self._count - len(done) - 1)]
