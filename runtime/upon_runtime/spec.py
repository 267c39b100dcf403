"""A service, resolved: what the project file, the environment and the decorators add up to, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upon import Function, Model, Resource, Topic
from upon_triggers.settings import Delivery, KafkaConnection


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """One function with its effective settings. timeout: seconds; concurrency: tries at once, None is no limit."""

    function: Function[..., Any]
    timeout: float = 60.0
    concurrency: int | None = None
    delivery: Delivery = Delivery()  # noqa: RUF009 - frozen

    @property
    def name(self) -> str:
        return self.function.name


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """Everything the runtime needs. folder: func.yaml's, from which relative model paths count.

    admission: HTTP requests handled at once. Sizes in bytes, times in seconds.
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
