"""Stands between the dispatcher and an idempotent function's handler: only fresh events get through.

The order of acts: marker taken → handler done and its sends confirmed → reply stored → outcome. A crash leaves the
marker to its lease; a failure gives it back at once, for the next try. A handler past its timeout keeps its marker
until its thread returns, and what it returns then is stored for the next try: two never run at once for one event.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from upon import Done, Event, Failed, Outcome
from upon._outcome import Repeated, failure_from
from upon_runtime.idempotency import replies
from upon_runtime.idempotency.keeper import MARGIN, Claim, Keeper, Pending
from upon_runtime.idempotency.keys import is_unrepeatable, key_of
from upon_runtime.idempotency.reach import Reach, StoreAway
from upon_runtime.idempotency.store import Begun, Finished, Fresh, Held, StoreUnavailable

Events: TypeAlias = Sequence[Event[Any]]
Handle: TypeAlias = Callable[[Events], Sequence[Outcome]]
HandleAsync: TypeAlias = Callable[[Events], Awaitable[Sequence[Outcome]]]
T = TypeVar("T")

LEAST, MOST = 0.1, 1.0  # seconds to ask others to wait: the holder ends when its handler does, long before its lease


@dataclass(eq=False, slots=True)
class Taken:
    """What begin found, by position. fresh: those to be handled, whose markers `claim` holds.

    first: the position of each key. same: those of events that stand in the batch twice, with that of the first.
    claim: None where there is nothing to hold.
    """

    events: Events
    first: dict[str, int] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    same: dict[int, int] = field(default_factory=dict)
    claim: Claim | None = None

    @property
    def fresh(self) -> list[int]:
        return [index for index in range(len(self.events)) if index not in self.outcomes and index not in self.same]


class Guard:
    """Of one function. timeout: its handler's, in seconds. scope: see keys.key_of."""

    def __init__(
        self,
        function: str,
        timeout: float,
        *,
        reach: Reach,
        keeper: Keeper,
        pool: ThreadPoolExecutor,
        ttl: float,
        scope: str,
        on_repeated: Callable[[str, Events], None],
    ) -> None:
        self._function = function
        self._timeout = timeout
        self._reach = reach
        self._keeper = keeper
        self._pool = pool
        self._ttl = ttl
        self._scope = scope
        self._on_repeated = on_repeated

    # For the dispatcher

    def one(self, event: Event[Any], handle: Callable[[], Outcome]) -> Outcome:
        """The event's outcome, from the handler or from the store."""
        if is_unrepeatable(event):
            return handle()
        return self.many((event,), lambda events: (handle(),))[0]

    def many(self, events: Events, handle: Handle) -> Sequence[Outcome]:
        """The same for a batch; `handle` gets the fresh ones, in order, and is not called where there are none."""
        taken = self._take(events)
        if not (fresh := taken.fresh):
            return self._settle(taken, ())
        try:
            outcomes = handle([events[index] for index in fresh])
        except BaseException:
            self._give_up(taken)
            raise
        return self._settle(taken, outcomes)

    async def one_async(self, event: Event[Any], handle: Callable[[], Awaitable[Outcome]]) -> Outcome:
        if is_unrepeatable(event):
            return await handle()

        async def handle_it(events: Events) -> Sequence[Outcome]:
            return (await handle(),)

        return (await self.many_async((event,), handle_it))[0]

    async def many_async(self, events: Events, handle: HandleAsync) -> Sequence[Outcome]:
        taking = self._pool.submit(self._take, events)
        try:
            taken = await _result_of(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(lambda done: self._give_up(done.result()))
            return [_stopping()] * len(events)
        outcomes: Sequence[Outcome] = ()
        if fresh := taken.fresh:
            try:
                outcomes = await handle([events[index] for index in fresh])
            except BaseException:
                self._pool.submit(self._give_up, taken)
                raise
        try:
            return await _result_of(self._pool.submit(self._settle, taken, outcomes))
        except asyncio.CancelledError:  # the outcome is stored, and nobody waits for it
            return [_stopping()] * len(events)

    # Before the handler

    def _take(self, events: Events) -> Taken:
        taken = Taken(events)
        for index, event in enumerate(events):
            key = key_of(event, self._function, self._scope)
            if taken.first.setdefault(key, index) != index:
                taken.same[index] = taken.first[key]
        self._begin(taken)
        return taken

    def _begin(self, taken: Taken) -> None:
        first = taken.first
        keys, token = list(first), secrets.token_hex(8)
        late = time.monotonic() + self._timeout
        try:
            begun = self._reach.ask(lambda: self._reach.store.begin(keys, token, self._timeout + MARGIN))
        except StoreUnavailable as error:
            if not isinstance(error, StoreAway):  # it may have set the markers all the same
                self._keeper.later(Pending(token, release=keys))
            taken.outcomes = dict.fromkeys(first.values(), _unavailable(error))
            return
        mine = [key for key, found in zip(keys, begun, strict=True) if isinstance(found, Fresh)]
        if mine:
            taken.claim = Claim(token, mine, late)
            self._keeper.hold(taken.claim)
        repeated = []
        for key, found in zip(keys, begun, strict=True):
            index = first[key]
            if not isinstance(found, Fresh):
                taken.outcomes[index] = outcome = _outcome_of(taken.events[index], found)
                repeated += [taken.events[index]] if isinstance(outcome, Repeated) else []
        self._on_repeated(self._function, repeated)

    # After the handler

    def _settle(self, taken: Taken, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Store what is done, give back what failed; the outcomes of all events in order."""
        taken.outcomes |= dict(zip(taken.fresh, outcomes, strict=True))
        if taken.claim is not None:
            self._keeper.drop(taken.claim)  # what is stored can't be extended; there is time left for it
            self._store(taken, taken.claim)
        for index, first in taken.same.items():
            outcome = taken.outcomes[first]
            if isinstance(outcome, Done):
                taken.outcomes[index] = Repeated(outcome.reply, sent=outcome.sent)
                self._on_repeated(self._function, [taken.events[index]])
            else:
                taken.outcomes[index] = _held(LEAST)
        return [taken.outcomes[index] for index in range(len(taken.events))]

    def _store(self, taken: Taken, claim: Claim) -> None:
        kept: dict[str, bytes] = {}
        for key in claim.keys:
            index = taken.first[key]
            taken.outcomes[index] = _kept(taken.events[index], taken.outcomes[index], key, kept)
        if kept:
            self._finish(taken, claim, kept)
        failed = [key for key in claim.keys if key not in kept]
        if failed:
            self._release(claim, failed)

    def _finish(self, taken: Taken, claim: Claim, kept: Mapping[str, bytes]) -> None:
        """Whatever is not stored is not done: nobody may acknowledge it."""
        lost: Failed
        try:
            stored = self._reach.ask(lambda: self._reach.store.finish(kept, claim.token, self._ttl))
            lost = _held(LEAST)
        except StoreUnavailable as error:
            self._keeper.later(Pending(claim.token, replies=kept))
            stored, lost = set(), _unavailable(error)
        for key in kept.keys() - stored:
            taken.outcomes[taken.first[key]] = lost

    def _release(self, claim: Claim, keys: Sequence[str]) -> None:
        try:
            self._reach.ask(lambda: self._reach.store.release(keys, claim.token))
        except StoreUnavailable:
            self._keeper.later(Pending(claim.token, release=keys))

    def _give_up(self, taken: Taken) -> None:
        if taken.claim is not None:
            self._keeper.drop(taken.claim)
            self._release(taken.claim, taken.claim.keys)


async def _result_of(future: Future[T]) -> T:
    """Being cancelled ends the wait and not the act."""
    return await asyncio.shield(asyncio.wrap_future(future))


def _kept(event: Event[Any], outcome: Outcome, key: str, kept: dict[str, bytes]) -> Outcome:
    """Puts what is to be stored under `key` into `kept`; what can't be stored is a failure."""
    if not isinstance(outcome, Done) or not replies.is_kept(outcome):
        return outcome
    try:
        reply = replies.dump(event, outcome)
    except Exception as error:
        return failure_from(error)
    if len(reply) > replies.LIMIT:
        size = f"{len(reply)} bytes to be stored, and an idempotent function's may have {replies.LIMIT}"
        return Failed("rejected", f"the reply has {size}: reply with a reference to the data")
    kept[key] = reply
    return outcome


def _outcome_of(event: Event[Any], found: Begun) -> Outcome:
    if not isinstance(found, Finished):
        return _held(found.left if isinstance(found, Held) else LEAST)
    try:
        return replies.load(event, found.reply)
    except Exception as error:  # another version wrote it, or somebody's hand
        return failure_from(error)


def _held(left: float) -> Failed:
    return Failed("overloaded", "the event is being handled already", after=min(max(left, LEAST), MOST))


def _unavailable(error: StoreUnavailable) -> Failed:
    return Failed("draining", f"idempotency needs its store, which can't be reached: {error}", after=MOST, cause=error)


def _stopping() -> Failed:
    return Failed("draining", "the service stopped before the function was done", after=MOST)
