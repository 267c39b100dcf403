"""Triggers as plain data: what the decorators say, for every room to read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from upon._errors import UsageError
from upon._event import ValueFormat

Ordering: TypeAlias = Literal["partition", "key", "unordered"]
Overlap: TypeAlias = Literal["allow", "forbid", "replace"]

RESERVED_ROUTES = ("/functions", "/health", "/metrics", "/v2")
TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}\Z")


def check_topic(topic: object, what: str = "topic") -> str:
    if not isinstance(topic, str) or not TOPIC_NAME.match(topic) or topic in (".", ".."):
        raise UsageError(f"{what} {topic!r} is not a Kafka topic name: use 1 to 249 letters, digits, '.', '_' and '-'")
    return topic


def check_seconds(name: str, value: object, *, zero: bool) -> None:
    """Raise UsageError unless the value is a finite number of seconds, over zero or, with `zero`, from it."""
    if type(value) in (int, float) and (0 < value < float("inf") or (zero and value == 0)):  # type: ignore[operator]
        return
    raise UsageError(f"{name}={value!r} must be a number of seconds {'>=' if zero else '>'} 0")


def check_whole(name: str, value: object, least: int) -> None:
    """Raise UsageError unless the value is an int (not a bool) that is large enough."""
    if type(value) is not int or value < least:
        raise UsageError(f"{name}={value!r} must be a whole number >= {least}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name}={value!r} is not one of {', '.join(map(repr, choices))}")


@dataclass(frozen=True, slots=True)
class KafkaTrigger:
    """Records of a topic. group: the consumer group, by default `{service}.{function}`."""

    kind: ClassVar[str] = "kafka"
    topic: str
    group: str | None = None
    value: ValueFormat = "json"
    ordering: Ordering = "partition"
    start: Literal["earliest", "latest"] = "earliest"
    reply_to: str | None = None
    reply_type: str | None = None

    def __post_init__(self) -> None:
        check_topic(self.topic)
        if self.group is not None and (not isinstance(self.group, str) or not self.group.strip()):
            raise UsageError(f"group={self.group!r} must be the name of a consumer group")
        _check_choice("value", self.value, ("json", "text", "bytes"))
        _check_choice("ordering", self.ordering, ("partition", "key", "unordered"))
        _check_choice("start", self.start, ("earliest", "latest"))

    def __str__(self) -> str:
        return f"kafka {self.topic}"


@dataclass(frozen=True, slots=True)
class CronTrigger:
    """A schedule of five fields in a timezone. catch_up: how many missed ticks to make up for.

    jitter: each tick fires up to so many seconds late, the same delay every time a tick is fired.
    """

    kind: ClassVar[str] = "cron"
    schedule: str
    timezone: str = "UTC"
    overlap: Overlap = "forbid"
    catch_up: int = 0
    reply_to: str | None = None
    reply_type: str | None = None
    jitter: float = 0.0

    def __post_init__(self) -> None:
        check_seconds("jitter", self.jitter, zero=True)
        _check_choice("overlap", self.overlap, ("allow", "forbid", "replace"))
        check_whole("catch_up", self.catch_up, 0)
        if not isinstance(self.schedule, str):
            raise UsageError(f"schedule must be a string such as '0 3 * * *', not {self.schedule!r}")

    def __str__(self) -> str:
        return f"cron {self.schedule}" + (f" {self.timezone}" if self.timezone != "UTC" else "")


@dataclass(frozen=True, slots=True)
class HttpTrigger:
    """A route: `METHOD /path/{param}`."""

    kind: ClassVar[str] = "http"
    route: str
    reply_to: str | None = None
    reply_type: str | None = None
    method: str = field(init=False)
    path: str = field(init=False)

    def __post_init__(self) -> None:
        match = re.fullmatch(r"([A-Z]+) (/[^\s?#]*)", self.route) if isinstance(self.route, str) else None
        if match is None or match[1] not in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"):
            raise UsageError(f"route {self.route!r} must be a method and a path, such as 'POST /score/{{model}}'")
        method, path = match[1], match[2]
        if path == "/" or any(path == r or path.startswith(r + "/") for r in RESERVED_ROUTES):
            raise UsageError(
                f"route {self.route!r} is taken: '/' and everything under {', '.join(RESERVED_ROUTES)} belong to Upon"
            )
        names = re.findall(r"{([^{}]*)}", path)
        if not all(name.isidentifier() and name.isascii() for name in names) or len(set(names)) < len(names):
            raise UsageError(
                f"route {self.route!r}: path parameters must be distinct names of letters a-z, digits and '_',"
                " such as {id}"
            )
        if re.search(r"[{}<>]", re.sub(r"{[^{}]*}", "", path)):
            raise UsageError(f"route {self.route!r}: a brace or angle bracket is out of place")
        object.__setattr__(self, "method", method)
        object.__setattr__(self, "path", path)

    def __str__(self) -> str:
        return f"http {self.route}"


@dataclass(frozen=True, slots=True)
class CloudEventTrigger:
    """Exact matches on attributes, as a Knative Trigger's filter; no attributes match every event."""

    kind: ClassVar[str] = "cloudevent"
    attributes: tuple[tuple[str, str], ...] = ()
    reply_to: str | None = None
    reply_type: str | None = None

    def __str__(self) -> str:
        return "cloudevent " + (" ".join(f"{name}={value}" for name, value in self.attributes) or "(any)")


Trigger: TypeAlias = KafkaTrigger | CronTrigger | HttpTrigger | CloudEventTrigger


@dataclass(frozen=True, slots=True)
class Options:
    """`@upon.options`; None means: not said here. timeout: seconds. retry: tries after the first."""

    timeout: float | None = None
    concurrency: int | None = None
    retry: int | None = None
    idempotent: bool | None = None

    def __post_init__(self) -> None:
        if self.timeout is not None:
            check_seconds("timeout", self.timeout, zero=False)
        if self.concurrency is not None:
            check_whole("concurrency", self.concurrency, 1)
        if self.retry is not None:
            check_whole("retry", self.retry, 0)
        if self.idempotent not in (None, True, False):
            raise UsageError(f"idempotent={self.idempotent!r} must be True or False")

    def over(self, other: Options) -> Options:
        """These options where they say something, the other's elsewhere."""
        return Options(
            **{
                name: mine if (mine := getattr(self, name)) is not None else getattr(other, name)
                for name in ("timeout", "concurrency", "retry", "idempotent")
            }
        )


@dataclass(frozen=True, slots=True)
class Batched:
    """`@upon.batched`: how many events a batch handler takes at once, and how long (seconds) it waits for more."""

    max_size: int = 100
    max_wait: float = 0.0

    def __post_init__(self) -> None:
        check_whole("max_size", self.max_size, 1)
        check_seconds("max_wait", self.max_wait, zero=True)
