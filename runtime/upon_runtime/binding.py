"""A Function made ready to run: how an event becomes its arguments, and its result an outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from upon import DataError, Event, Function, Response
from upon._engine import Invocation
from upon._event import as_event, attribute_text
from upon._outcome import DONE, Done, Failed, Outcome, failure_from, invalid_from
from upon._reply import reply_event
from upon._signature import analyse
from upon._triggers import CloudEventTrigger, CronTrigger, HttpTrigger, KafkaTrigger, Trigger
from upon_runtime.idempotency import Guard
from upon_runtime.payload import reader
from upon_runtime.spec import FunctionSpec

PING = "dev.knative.sources.ping"


class BoundFunction:
    """One function of a running service. guard: what keeps an idempotent one from handling an event twice."""

    def __init__(self, spec: FunctionSpec, service: str, guard: Guard | None = None) -> None:
        function: Function[..., Any] = spec.function
        signature = analyse(function.plain)
        self.spec = spec
        self.name = function.name
        self.service = service
        self.guard = guard
        self.plain = function.plain
        self.is_async = function.is_async
        self.is_batch = signature.batch
        self.argument = _argument(signature.form, signature.type)
        self.takes_nothing = signature.form == "nothing"
        self.takes_event = signature.form == "event" and signature.type in (None, Any)  # as it is
        self._transacts = spec.delivery.guarantee == "exactly-once"
        self.filters = tuple(t.attributes for t in function.triggers if isinstance(t, CloudEventTrigger))
        self._names_types = any(t.reply_type for t in function.triggers)
        self.answers_elsewhere = any(t.reply_to or t.reply_type for t in function.triggers)

    def call(self, deadline: float, first: Event[Any], *, is_batch: bool = False) -> Invocation:
        """What the handler's own calls find out about it. Where the event's source writes in a transaction, the
        handler's sends are kept for it."""
        call = Invocation(self.name, self.service, deadline, None if is_batch else first)
        if self._transacts and first.kafka is not None:
            call.outbox = []
        return call

    def accepts(self, event: Event[Any]) -> bool:
        """Whether one of the @upon.cloudevent filters matches the event exactly."""
        for wanted in self.filters:  # noqa: SIM110 - a generator costs more than the comparisons
            if _matches(wanted, event._attributes):
                return True
        return False

    def trigger_of(self, event: Event[Any]) -> Trigger | None:
        """The trigger an event came through, as far as its reply is concerned."""
        if not self.answers_elsewhere:
            return None
        for trigger in self.spec.function.triggers:
            if _fits(trigger, event, self.service):
                return trigger
        return None

    def outcome(self, event: Event[Any], result: object) -> Outcome:
        """What the handler returned for one event, as an outcome. Raises DataError where it has no JSON form."""
        if result is None:
            return DONE if event.http is None else Done(Response(None, 204))
        reply = as_event(result)
        if reply is not None:
            return Done(reply)
        if event.http is not None:
            return Done((result if isinstance(result, Response) else Response(result)).encoded())
        if isinstance(result, Response) and result.status >= 400:
            kind: Any = "rejected" if result.status < 500 else "error"
            return Failed(kind, f"the function answered with status {result.status}", status=result.status)
        trigger = self.trigger_of(event) if self._names_types else None
        reply_type = trigger.reply_type if trigger is not None else None
        return Done(reply_event(event, result, service=self.service, function=self.name, type=reply_type))

    def item_outcome(self, event: Event[Any], entry: object) -> Outcome:
        """What a batch handler returned for one item: data, Event, None, or an instance of an exception."""
        if isinstance(entry, BaseException):
            return failure_from(entry)
        try:
            return self.outcome(event, entry)
        except Exception as error:  # no JSON form, or an event of the SDK that is none
            return failure_from(error)

    def batch_outcomes(self, events: Sequence[Event[Any]], result: object) -> list[Outcome]:
        """One outcome per event, in order, from what a batch handler returned."""
        if result is None:
            return [DONE if event._http is None else self.outcome(event, None) for event in events]
        if not isinstance(result, (list, tuple)) or len(result) != len(events):
            given = f"{len(result)} entries" if isinstance(result, (list, tuple)) else type(result).__name__
            error = TypeError(
                f"batch handler {self.name} returned {given} for {len(events)} events: return None, or a list with"
                " one entry per event in order"
            )
            return [failure_from(error)] * len(events)
        return [self.item_outcome(event, entry) for event, entry in zip(events, result, strict=True)]

    def read_all(self, events: Sequence[Event[Any]]) -> tuple[list[Any], Sequence[int], dict[int, Outcome]]:
        """The arguments of a batch, the positions they stand for, and the outcomes of those that do not fit."""
        if self.takes_event:
            return list(events), range(len(events)), {}
        items: list[Any] = []
        positions: list[int] = []
        invalid: dict[int, Outcome] = {}
        for index, event in enumerate(events):
            try:
                items.append(self.argument(event))
                positions.append(index)
            except Exception as error:
                invalid[index] = unreadable(error)
        return items, positions, invalid


def unreadable(error: Exception) -> Failed:
    """Data that does not fit is the event's fault, anything else (a validator with a bug) is not."""
    return invalid_from(error) if isinstance(error, DataError) else failure_from(error)


def _argument(form: str, wanted: Any) -> Callable[[Event[Any]], Any]:
    if form == "nothing":
        return lambda event: None
    if form == "event" and wanted in (None, Any):
        return _itself
    read = reader(wanted)
    if form == "data":
        return read
    return lambda event: event._copy(data=read(event))


def _itself(event: Event[Any]) -> Event[Any]:
    return event


def _fits(trigger: Trigger, event: Event[Any], service: str) -> bool:
    match trigger:
        case KafkaTrigger():
            return event.kafka is not None and event.kafka.topic == trigger.topic
        case CronTrigger():
            return event.type == PING
        case HttpTrigger():
            info = event.http
            if info is None or event.source != f"/{service}{trigger.path}":
                return False
            return info.method == trigger.method or (info.method, trigger.method) == ("HEAD", "GET")
        case CloudEventTrigger():
            return event.http is None and _matches(trigger.attributes, event._attributes)


def _matches(wanted: tuple[tuple[str, str], ...], given: dict[str, Any]) -> bool:
    """Values are compared as text: in structured mode an extension may be a number, in binary mode it never is."""
    for name, value in wanted:
        held = given.get(name)
        if held != value and (held is None or attribute_text(held) != value):
            return False
    return True
