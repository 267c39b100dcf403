"""The decorators. Each adds one piece of data to a Function and does nothing else."""

from __future__ import annotations

from typing import Any, Literal

from upon._errors import MalformedEvent, UsageError
from upon._event import ValueFormat, check_attribute
from upon._function import Decorator, Function, need_parentheses
from upon._topic import Topic
from upon._triggers import (
    Batched,
    CloudEventTrigger,
    CronTrigger,
    HttpTrigger,
    KafkaTrigger,
    Options,
    Ordering,
    Overlap,
    Trigger,
    check_topic,
)


def kafka(
    topic: str | Topic,
    /,
    *,
    group: str | None = None,
    value: ValueFormat = "json",
    ordering: Ordering = "partition",
    start: Literal["earliest", "latest"] = "earliest",
    reply_to: str | Topic | None = None,
    reply_type: str | None = None,
) -> Decorator:
    """Handle the records of a Kafka topic, at least once and in order.

    group: the consumer group, by default `{service}.{function}`. value: how to read a record without a content
    type. ordering: what waits for what: records of one partition, of one key, or nothing. start: where a new
    group begins. reply_to: the topic that takes the replies, written before the record is committed.
    """
    need_parentheses("kafka", topic, '"topic"')
    reply = _topic_name(reply_to)
    return _adding("kafka", KafkaTrigger(_topic_name(topic) or "", group, value, ordering, start, reply, reply_type))


def cron(
    schedule: str,
    /,
    *,
    timezone: str = "UTC",
    overlap: Overlap = "forbid",
    catch_up: int = 0,
    jitter: float = 0.0,
    reply_to: str | Topic | None = None,
    reply_type: str | None = None,
) -> Decorator:
    """Fire on a schedule of five fields (minute hour day month weekday) in a timezone.

    overlap: what happens when a tick is due while the one before still runs: both run, the new one is skipped,
    or the old one is given up. catch_up: how many missed ticks to make up for, at a new start too.
    jitter: spread the ticks of many functions on one minute: each fires up to so many seconds late.
    """
    need_parentheses("cron", schedule, '"0 3 * * *"')
    return _adding(
        "cron", CronTrigger(schedule, timezone, overlap, catch_up, _topic_name(reply_to), reply_type, jitter)
    )


def http(route: str, /, *, reply_to: str | Topic | None = None, reply_type: str | None = None) -> Decorator:
    """Answer plain HTTP on `METHOD /path/{param}`."""
    need_parentheses("http", route, '"POST /path"')
    return _adding("http", HttpTrigger(route, _topic_name(reply_to), reply_type))


def cloudevent(
    *args: object,
    type: str | None = None,
    source: str | None = None,
    reply_to: str | Topic | None = None,
    reply_type: str | None = None,
    **extensions: str,
) -> Decorator:
    """Handle CloudEvents whose attributes have exactly these values, as a Knative Trigger filters."""
    if args:
        need_parentheses("cloudevent", args[0], 'type="com.example.created"')
        raise UsageError(f"@upon.cloudevent takes keywords only: write type={args[0]!r}")
    wanted = {"type": type, "source": source, **extensions}
    attributes = {name: value for name, value in wanted.items() if value is not None}
    for name, value in attributes.items():
        try:
            check_attribute(name, value)
        except MalformedEvent as error:
            raise UsageError(f"@upon.cloudevent: {error}") from None
        if not isinstance(value, str):
            raise UsageError(f"@upon.cloudevent: {name}={value!r} must be a string")
    trigger = CloudEventTrigger(tuple(sorted(attributes.items())), _topic_name(reply_to), reply_type)
    return _adding("cloudevent", trigger)


def options(
    *args: object,
    timeout: float | None = None,
    concurrency: int | None = None,
    retry: int | None = None,
    idempotent: bool | None = None,
) -> Decorator:
    """How a function is run. timeout: seconds for one try. concurrency: tries at once in this process.

    retry: tries after the first one failed. idempotent: an event (by source and id) that was handled is not
    handled again, and gets the same reply; `idempotency` in func.yaml says where that is remembered.
    """
    if args:
        need_parentheses("options", args[0], "timeout=30")
        raise UsageError(f"@upon.options takes keywords only, not {args[0]!r}")
    added = Options(timeout, concurrency, retry, idempotent)

    def add(function: Function[..., Any]) -> Function[..., Any]:
        mine, theirs = added, function.options
        for name in ("timeout", "concurrency", "retry", "idempotent"):
            both = getattr(mine, name), getattr(theirs, name)
            if None not in both and both[0] != both[1]:
                raise UsageError(f"@upon.options says {name} twice for {function.name}: {both[1]!r} and {both[0]!r}")
        return Function(function.plain, function.triggers, mine.over(theirs), function.batched)

    return Decorator("options", add)


def batched(*args: object, max_size: int = 100, max_wait: float = 0.0) -> Decorator:
    """Bounds for a batch handler (one that takes a list): events at once, and seconds to wait for more."""
    if args:
        need_parentheses("batched", args[0], "max_size=32")
        raise UsageError(f"@upon.batched takes keywords only, not {args[0]!r}")
    bounds = Batched(max_size, max_wait)

    def add(function: Function[..., Any]) -> Function[..., Any]:
        if function.batched not in (None, bounds):
            raise UsageError(f"@upon.batched stands twice on {function.name}: keep one")
        return Function(function.plain, function.triggers, function.options, bounds)

    return Decorator("batched", add)


def _adding(name: str, trigger: Trigger) -> Decorator:
    def add(function: Function[..., Any]) -> Function[..., Any]:
        if str(trigger) in map(str, function.triggers):
            raise UsageError(f"{function.name} has the trigger '{trigger}' twice: remove one")
        return Function(function.plain, (*function.triggers, trigger), function.options, function.batched)

    return Decorator(name, add)


def _topic_name(topic: str | Topic | None) -> str | None:
    if topic is None:
        return None
    return topic.name if isinstance(topic, Topic) else check_topic(topic)
