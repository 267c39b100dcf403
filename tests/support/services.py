"""Short ways to a service in this process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from upon import Function
from upon_runtime.dispatcher import Dispatcher
from upon_runtime.observe import Observer
from upon_runtime.spec import FunctionSpec, ServiceSpec


def spec_of(*functions: Function[..., Any] | Callable[..., Any], timeout: float = 5.0, **more: Any) -> ServiceSpec:
    """A service named `svc`; each function keeps its own timeout and concurrency."""
    wrapped = [f if isinstance(f, Function) else Function(f) for f in functions]
    specs = tuple(FunctionSpec(f, f.options.timeout or timeout, f.options.concurrency) for f in wrapped)
    return dataclasses.replace(ServiceSpec("svc", Path.cwd(), specs), **more)


def dispatcher_of(*functions: Any, observer: Observer | None = None, **more: Any) -> Dispatcher:
    return Dispatcher(spec_of(*functions, **more), observer)
