"""A batch of CloudEvents in one request: every item is handled by itself, and one answer speaks for all."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from upon import Event, MalformedEvent, _http_codec, _json
from upon._outcome import KINDS, Done, Failed, Outcome
from upon._triggers import Batched
from upon_runtime.binding import BoundFunction
from upon_runtime.dispatcher import Dispatcher
from upon_runtime.http.answer import OUTCOME, Answer, done, failure

OUTCOMES_TYPE = "application/vnd.upon.outcomes+json"
BATCH_TYPE = "application/cloudevents-batch+json"
GRACE = 1.0  # seconds over the handlers' own timeouts
_SEVERITY = {"done": 0, "final": 1, "busy": 2, "counts": 3}


def deliver_all(
    dispatcher: Dispatcher, items: Sequence[Event[Any] | MalformedEvent], function: str | None
) -> list[Outcome]:
    """Outcomes in the order of the items; the wait is bounded by the functions' timeouts.

    Events for a batch handler go to it together, others side by side.
    """
    collected = _Collected(len(items))
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
    for name, indexes in batches.items():
        for part in _parts(indexes, dispatcher.functions[name]):
            events = [event for index in part if isinstance(event := items[index], Event)]
            dispatcher.submit_batch(events, partial(collected.put_all, part), function=name)
    outcomes = collected.wait(max((bound.spec.timeout for bound in found.values()), default=0.0) + GRACE)
    return _replies_written(dispatcher, items, found, outcomes)


def _replies_written(
    dispatcher: Dispatcher,
    items: Sequence[Event[Any] | MalformedEvent],
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
    """Outcomes as they come from any thread; what is missing at the end is a timeout."""

    def __init__(self, count: int) -> None:
        self._outcomes: list[Outcome | None] = [None] * count
        self._missing = count
        self._changed = threading.Condition()

    def put(self, index: int, outcome: Outcome) -> None:
        self.put_all([index], [outcome])

    def put_all(self, indexes: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        with self._changed:
            for index, outcome in zip(indexes, outcomes, strict=True):
                self._outcomes[index] = outcome
            self._missing -= len(indexes)
            self._changed.notify_all()

    def wait(self, timeout: float) -> list[Outcome]:
        late = Failed("timeout", f"the item was not finished within {timeout:g} s")
        with self._changed:
            self._changed.wait_for(lambda: self._missing == 0, timeout)
            return [outcome or late for outcome in self._outcomes]


def answer_of(outcomes: Sequence[Outcome], accept: str) -> Answer:
    """One answer for all items: each outcome where the sender asks for it, else the replies or the worst failure."""
    if OUTCOMES_TYPE in accept.lower():
        items = [_item(index, outcome) for index, outcome in enumerate(outcomes)]
        worst = _worst(outcomes)
        kind = worst.kind if worst is not None else "done"
        return Answer(200, [("content-type", OUTCOMES_TYPE), (OUTCOME, kind)], _json.dumps(items))
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
    failed = outcome if isinstance(outcome, Failed) else None
    reply = outcome.reply if isinstance(outcome, Done) else None
    return {
        "index": index,
        "outcome": outcome.kind,
        "after": failed.after if failed is not None else None,
        "reason": failed.error if failed is not None else None,
        "event": _http_codec.to_dict(reply) if isinstance(reply, Event) else None,
    }
