"""Events to a receiver and outcomes back: which of them go in one request, and what its answer says of each."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from upon import Event, Failed, Outcome
from upon._outcome import KINDS
from upon_triggers.http_sink.answers import has_outcomes, is_ours, no_answer, outcome_of, outcomes_of
from upon_triggers.http_sink.connection import Answer, NoAnswer, Poster
from upon_triggers.http_sink.reach import Reach
from upon_triggers.http_sink.requests import parts, write_many, write_one
from upon_triggers.http_sink.suspects import Suspects

log = logging.getLogger("upon.sink")

MOST_BATCH = 2**20  # bytes of a batch, about; a receiver that takes less says so once
LEAST_BATCH = 2**14


class Exchange:
    """What is known of the receiver, and the way to it. timeouts: seconds by function; `timeout` for the others.

    Several events go in one request only to a receiver whose last answer said `Upon-Outcome`: nobody gets a batch who
    may not know what that is.
    """

    def __init__(
        self, poster: Poster, reach: Reach, *, timeouts: Mapping[str, float], timeout: float, batches: bool
    ) -> None:
        self._poster = poster
        self._reach = reach
        self._timeouts = timeouts
        self._timeout = timeout
        self._batches = batches
        self._ours = False
        self._most = MOST_BATCH
        self._suspects = Suspects()

    def some(self, events: Sequence[Event[Any]], function: str | None, *, ordered: bool) -> list[Outcome]:
        """Outcomes of the first events, at least of one. ordered: they are handled one after another, and what comes
        after the first that is not Done is left out."""
        while self._ours and self._batches:
            part = next(parts(events[: self._suspects.before(function, events)], self._most), ())
            if len(part) < 2:
                break
            outcomes = self._several(part, function, ordered)
            if outcomes:
                return outcomes
        return [self.one(events[0], function)]

    def one(self, event: Event[Any], function: str | None) -> Outcome:
        try:
            headers, body = write_one(event)
        except Exception as error:  # an event that has no form on HTTP never will
            return Failed("malformed", f"the event can't be written as a request: {error}", cause=error)
        try:
            answer = self._post(function, headers, body)
        except NoAnswer as error:
            return self._reach.saw(no_answer(self._poster.url, error))
        self._ours = is_ours(answer)
        self._suspects.clear(function, event)
        return self._reach.saw(_named(outcome_of(self._poster.url, answer), function))

    def _several(self, part: Sequence[Event[Any]], function: str | None, ordered: bool) -> list[Outcome]:
        """Nothing where the receiver has to be asked otherwise: in smaller parts, or one by one."""
        try:
            headers, body = write_many(part, ordered=ordered)
        except Exception:  # one of them has no form in JSON; alone, each is told for itself
            self._suspects.add(function, part)
            return []
        try:
            answer = self._post(function, headers, body)
        except NoAnswer as error:
            return self._for_all(no_answer(self._poster.url, error), part, function, ordered)
        if has_outcomes(answer) and 200 <= answer.status <= 299:
            return self._read(answer, len(part), function, ordered)
        if answer.status == 413 and len(body) > LEAST_BATCH:
            self._most = min(self._most, len(body)) // 2
            log.info("%s does not take %d bytes at once: batches are smaller from now on", self._poster.url, len(body))
            return []
        return self._for_all(_named(outcome_of(self._poster.url, answer), function), part, function, ordered)

    def _read(self, answer: Answer, count: int, function: str | None, ordered: bool) -> list[Outcome]:
        outcomes = [_named(outcome, function) for outcome in outcomes_of(self._poster.url, answer, count)]
        self._reach.saw(outcomes[0])
        if not ordered:
            return outcomes
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, Failed):  # a run that ended for want of time or room goes on where it ended
                return outcomes[:index] if index > 0 and _is_busy(outcome) else outcomes[: index + 1]
        return outcomes

    def _for_all(
        self, outcome: Outcome, part: Sequence[Event[Any]], function: str | None, ordered: bool
    ) -> list[Outcome]:
        """What an answer without outcomes means. Busy: nobody has seen any of them. Anything else says nothing of any
        single one, or comes from somebody who knows no batches: they are sent one by one, and counted then."""
        if isinstance(outcome, Failed) and _is_busy(outcome):
            self._reach.saw(outcome)
            return [outcome] * (1 if ordered else len(part))
        if KINDS[outcome.kind].verdict != "counts" and self._batches:
            self._batches = False  # for good: each further try might be handled, and be sent again all the same
            log.warning("%s gives no outcomes for a batch: it gets one event a request from now on", self._poster.url)
        self._suspects.add(function, part)
        return []

    def _post(self, function: str | None, headers: Mapping[str, str], body: bytes) -> Answer:
        path = "/" if function is None else f"/functions/{function}"
        return self._poster.post(path, headers, body, self._timeouts.get(function or "", self._timeout))


def _is_busy(failed: Failed) -> bool:
    return KINDS[failed.kind].verdict == "busy"


def _named(outcome: Outcome, function: str | None) -> Outcome:
    """A receiver that has no function of this name says nothing about the event: it is of another version."""
    if function is not None and isinstance(outcome, Failed) and outcome.kind == "unsubscribed":
        return Failed("draining", outcome.error, after=1.0)
    return outcome
