"""A service, resolved: what the project file, the environment and the decorators add up to, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from upon import Function, Model, Resource, Topic
from upon_triggers.settings import Delivery, KafkaConnection


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Where handled events are remembered, and for how long (seconds).

    url: of Redis or PostgreSQL, already resolved from its reference; SQLite lies in the service's state_dir.
    """

    store: Literal["sqlite", "redis", "postgresql"] = "sqlite"
    url: str | None = field(default=None, repr=False)
    ttl: float = 86_400.0


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """One function with its effective settings. timeout: seconds; concurrency: tries at once, None is no limit.

    idempotent: an event that was handled is not handled again.
    """

    function: Function[..., Any]
    timeout: float = 60.0
    concurrency: int | None = None
    delivery: Delivery = Delivery()  # noqa: RUF009 - frozen
    idempotent: bool = False

    @property
    def name(self) -> str:
        return self.function.name


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """Everything the runtime needs. folder: func.yaml's, from which relative model paths count.

    admission: HTTP requests handled at once. Sizes in bytes, times in seconds. state_dir: where this process may
    keep what has to outlast it (the last firing of schedules, handled events); None keeps nothing. closed: paths that
    answer 404 to requests that came through a proxy.
    """

    name: str
    folder: Path
    functions: tuple[FunctionSpec, ...]
    models: tuple[Model, ...] = ()
    topics: tuple[Topic, ...] = ()
    resources: tuple[Resource[Any], ...] = ()
    blueprints: tuple[Any, ...] = ()  # flask.Blueprint objects found beside the functions
    kafka: KafkaConnection | None = None
    namespace: str = "default"
    group_suffix: str = ""
    admission: int = 128
    max_body_size: int = 16 * 2**20
    drain_delay: float = 5.0
    drain_timeout: float = 60.0
    start_timeout: float = 120.0
    state_dir: Path | None = None
    idempotency: Idempotency = Idempotency()
    closed: tuple[str, ...] = ()
