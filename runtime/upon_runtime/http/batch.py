"""A batch of CloudEvents in one request: every item is handled by itself, and one answer speaks for all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import orjson

from upon import Event, MalformedEvent, _http_codec
from upon._http_codec import BATCH_TYPE
from upon._outcome import KINDS, Done, Failed, Outcome
from upon._relay import OUTCOMES_TYPE
from upon._triggers import Batched
from upon_runtime.binding import BoundFunction
from upon_runtime.dispatcher import Dispatcher
from upon_runtime.http.answer import OUTCOME, Answer, done, failure
from upon_runtime.http.early import KEY, Responder
from upon_runtime.http.relay import Items, patience

OnLate: TypeAlias = Callable[[list[Outcome]], None] | None
GRACE = 1.0  # seconds over the handlers' own timeouts
_SEVERITY = {"done": 0, "final": 1, "busy": 2, "counts": 3}


def deliver_all(
    dispatcher: Dispatcher, items: Items, function: str | None, *, replies: bool = True, on_late: OnLate = None
) -> list[Outcome]:
    """Outcomes in the order of the items; the wait is bounded by the functions' timeouts.

    Events for a batch handler go to it together, others side by side. replies: written to their topics. on_late gets
    the outcomes, from another thread, where a batch handler is past its timeout and still runs here.
    """
    collected = _Collected(items)
    batches: dict[str, list[int]] = {}
    found: dict[int, BoundFunction] = {}
    for index, event in enumerate(items):
        if isinstance(event, MalformedEvent):
            collected.put(index, Failed("malformed", str(event)))
            continue
        bound = dispatcher.find(event, function)
        if isinstance(bound, Failed):
            collected.put(index, bound)
            continue
        found[index] = bound
        if bound.is_batch:
            batches.setdefault(bound.name, []).append(index)
        else:
            dispatcher.submit(event, partial(collected.put, index), function=bound.name)
    _submit_batches(dispatcher, items, batches, collected, on_late if len(batches) == 1 else None)
    outcomes = collected.wait(max((bound.spec.timeout for bound in found.values()), default=0.0) + GRACE)
    return _replies_written(dispatcher, items, found, outcomes) if replies else outcomes


def _submit_batches(
    dispatcher: Dispatcher, items: Items, batches: dict[str, list[int]], collected: _Collected, on_late: OnLate
) -> None:
    """The last part is handled on this thread, which would only wait for it."""
    parts = [
        (dispatcher.functions[name], part)
        for name, indexes in batches.items()
        for part in _parts(indexes, dispatcher.functions[name])
    ]
    for bound, part in parts[:-1]:
        dispatcher.submit_batch(_events(items, part), partial(collected.put_all, part), function=bound.name)
    for bound, part in parts[-1:]:

        def late(failed: Failed, part: list[int] = part) -> None:
            if on_late is not None:
                collected.put_all(part, [failed] * len(part))
                on_late(collected.wait(0.0))

        outcomes = dispatcher.deliver_batch(
            bound, _events(items, part), on_late=late, patience=patience(bound.spec.timeout)
        )
        collected.put_all(part, outcomes)


def _events(items: Items, indexes: Sequence[int]) -> list[Event[Any]]:
    return [event for index in indexes if isinstance(event := items[index], Event)]


def _replies_written(
    dispatcher: Dispatcher,
    items: Items,
    found: dict[int, BoundFunction],
    outcomes: list[Outcome],
) -> list[Outcome]:
    """The outcomes once the replies with a topic are there; written together, and in the order of the items."""
    confirmed = {
        index: dispatcher.write_reply(bound, event, outcomes[index])
        for index, bound in found.items()
        if bound.answers_elsewhere and isinstance(event := items[index], Event)
    }
    return [confirmed[index]() if index in confirmed else outcome for index, outcome in enumerate(outcomes)]


def _parts(indexes: list[int], bound: BoundFunction) -> list[list[int]]:
    size = (bound.spec.function.batched or Batched()).max_size
    return [indexes[start : start + size] for start in range(0, len(indexes), size)]


class _Collected:
    """Outcomes as they come from any thread; what is missing at the end is a timeout, or was never begun."""

    def __init__(self, items: Items) -> None:
        self._items = items
        self._outcomes: list[Outcome | None] = [None] * len(items)
        self._missing = len(items)
        self._changed = threading.Condition()

    def put(self, index: int, outcome: Outcome) -> None:
        self.put_all([index], [outcome])

    def put_all(self, indexes: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        with self._changed:
            for index, outcome in zip(indexes, outcomes, strict=True):
                self._missing -= self._outcomes[index] is None
                self._outcomes[index] = outcome
            self._changed.notify_all()

    def wait(self, timeout: float) -> list[Outcome]:
        with self._changed:
            self._changed.wait_for(lambda: self._missing == 0, timeout)
            return [outcome or self._late(index, timeout) for index, outcome in enumerate(self._outcomes)]

    def _late(self, index: int, timeout: float) -> Failed:
        item = self._items[index]
        if isinstance(item, Event) and item._deadline is None:  # which the dispatcher sets as it begins
            return Failed("overloaded", f"the item found no free place within {timeout:g} s", after=1.0)
        return Failed("timeout", f"the item was not finished within {timeout:g} s")


def accepted(environ: dict[str, Any]) -> str:
    """What the sender accepts as an answer."""
    accept: str | None = environ.get("HTTP_ACCEPT")
    return accept or ""


def on_late(environ: dict[str, Any]) -> OnLate:
    """A function that answers this request at once; see early.on_late."""
    respond: Responder | None = environ.get(KEY)
    return None if respond is None else lambda outcomes: respond(*answer_of(outcomes, accepted(environ)))


def answer_of(outcomes: Sequence[Outcome], accept: str) -> Answer:
    """One answer for all items: each outcome where the sender asks for it, else the replies or the worst failure."""
    if OUTCOMES_TYPE in accept.lower():
        items = [_item(index, outcome) for index, outcome in enumerate(outcomes)]
        worst = _worst(outcomes)
        kind = worst.kind if worst is not None else "done"
        return Answer(200, [("content-type", OUTCOMES_TYPE), (OUTCOME, kind)], orjson.dumps(items))
    worst = _worst(outcomes)
    if worst is not None:
        return failure(worst)
    replies = [o.reply for o in outcomes if isinstance(o, Done) and isinstance(o.reply, Event)]
    if not replies:
        return done()
    return Answer(200, [("content-type", BATCH_TYPE), (OUTCOME, "done")], _http_codec.write_batch(replies))


def _worst(outcomes: Sequence[Outcome]) -> Failed | None:
    """The failure that makes the sender do most: one that is to be tried again goes before one that is final."""
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    if not failures:
        return None
    worst = max(failures, key=lambda f: (_SEVERITY[KINDS[f.kind].verdict], KINDS[f.kind].status))
    others = f"; {len(failures)} of {len(outcomes)} items failed" if len(outcomes) > 1 else ""
    return Failed(worst.kind, worst.error + others, after=worst.after, pointers=worst.pointers)


def _item(index: int, outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Failed):
        after = outcome.after
        return {"index": index, "outcome": outcome.kind, "after": after, "reason": outcome.error, "event": None}
    reply = outcome.reply
    event = orjson.Fragment(_http_codec.write_structured(reply)) if isinstance(reply, Event) else None
    return {"index": index, "outcome": "done", "after": None, "reason": None, "event": event}
