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
        _check_choice("value", self.value, ("json", "text", "bytes"))
        _check_choice("ordering", self.ordering, ("partition", "key", "unordered"))
        _check_choice("start", self.start, ("earliest", "latest"))

    def __str__(self) -> str:
        return f"kafka {self.topic}"


@dataclass(frozen=True, slots=True)
class CronTrigger:
    """A schedule of five fields in a timezone. catch_up: how many missed ticks to fire after a pause."""

    kind: ClassVar[str] = "cron"
    schedule: str
    timezone: str = "UTC"
    overlap: Overlap = "forbid"
    catch_up: int = 0
    reply_to: str | None = None
    reply_type: str | None = None

    def __post_init__(self) -> None:
        _check_choice("overlap", self.overlap, ("allow", "forbid", "replace"))
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
        match = re.fullmatch(r"([A-Z]+) (/\S*)", self.route) if isinstance(self.route, str) else None
        if match is None or match[1] not in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"):
            raise UsageError(f"route {self.route!r} must be a method and a path, such as 'POST /score/{{model}}'")
        method, path = match[1], match[2]
        if path == "/" or any(path == r or path.startswith(r + "/") for r in RESERVED_ROUTES):
            raise UsageError(
                f"route {self.route!r} is taken: '/' and everything under {', '.join(RESERVED_ROUTES)} belong to Upon"
            )
        names = re.findall(r"{([^{}]*)}", path)
        if not all(name.isidentifier() for name in names) or len(set(names)) < len(names):
            raise UsageError(f"route {self.route!r}: path parameters must be distinct names, such as {{id}}")
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
        if self.timeout is not None and not self.timeout > 0:
            raise UsageError(f"timeout={self.timeout!r} must be a number of seconds > 0")
        if self.concurrency is not None and not (type(self.concurrency) is int and self.concurrency >= 1):
            raise UsageError(f"concurrency={self.concurrency!r} must be a whole number >= 1")
        if self.retry is not None and not (type(self.retry) is int and self.retry >= 0):
            raise UsageError(f"retry={self.retry!r} must be a whole number >= 0")

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
        if not (type(self.max_size) is int and self.max_size >= 1):
            raise UsageError(f"max_size={self.max_size!r} must be a whole number >= 1")
        if not self.max_wait >= 0:
            raise UsageError(f"max_wait={self.max_wait!r} must be a number of seconds >= 0")
