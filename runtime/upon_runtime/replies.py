"""Writes the replies of HTTP and CloudEvent triggers to their topics; Kafka and cron sources write their own. And what
an exactly-once function sends: its source takes it into a transaction, unless there is none behind the event."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from upon import Event, Response
from upon._engine import Invocation, Publisher, Sends
from upon._outcome import Done, Failed, Outcome, failure_from
from upon._reply import reply_event, reply_key
from upon_runtime.binding import BoundFunction


def write_reply(
    publisher: Publisher | None, bound: BoundFunction, event: Event[Any], outcome: Outcome
) -> Callable[[], Outcome]:
    """Begin to write the reply to its trigger's reply_to, where there is both.

    What is returned waits for the confirmation, as long as the function may take, and gives the event's outcome.
    """
    trigger = bound.trigger_of(event)
    if trigger is None or trigger.reply_to is None or not isinstance(outcome, Done):
        return lambda: outcome
    reply = outcome.reply
    if reply is None or (isinstance(reply, Response) and (reply.data is None or reply.status >= 400)):
        return lambda: outcome
    if publisher is None:
        failed = Failed("error", f"reply_to={trigger.reply_to!r} needs Kafka, and none is configured")
        return lambda: failed
    sends = Sends()
    deadline = time.monotonic() + bound.spec.timeout
    try:
        if isinstance(reply, Response):
            reply = reply_event(event, reply, service=bound.service, function=bound.name, type=trigger.reply_type)
        publisher.publish(trigger.reply_to, reply, reply_key(event, reply), sends.begin())
    except Exception as error:  # whatever the broker says becomes this event's outcome
        refused = failure_from(error)
        return lambda: refused

    def confirmed() -> Outcome:
        try:
            sends.wait(max(deadline - time.monotonic(), 0.001))
        except Exception as error:
            return failure_from(error)
        return outcome

    return confirmed


def with_sends(call: Invocation, outcome: Outcome) -> Outcome:
    """What the handler sent goes the way of its outcome: a failed try has sent nothing."""
    if not call.outbox or not isinstance(outcome, Done):
        return outcome
    return replace(outcome, sent=tuple(call.outbox))


def with_sends_of_all(call: Invocation, outcomes: list[Outcome]) -> list[Outcome]:
    """A batch handler's sends belong to no item: they go with the first that is done, or nowhere."""
    if call.outbox:
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, Done):
                return [*outcomes[:index], with_sends(call, outcome), *outcomes[index + 1 :]]
    return outcomes


def write_sends(publisher: Publisher | None, outcome: Done, timeout: float) -> Outcome:
    """Write them here, for an event whose sender has no transaction. Waits up to `timeout` seconds."""
    from upon_triggers.kafka.transport import RecordPublisher

    if publisher is None:
        return Failed("error", "the function sends to a topic, and no Kafka is configured")
    sends = Sends()
    try:
        for topic, key, value, headers in outcome.sent:
            cast(RecordPublisher, publisher).publish_raw(topic, key, value, headers, sends.begin())
        sends.wait(timeout)
    except Exception as error:  # whatever the broker says becomes this event's outcome
        return failure_from(error)
    return replace(outcome, sent=())
