"""A Function: the person's function, still callable as it was, with its triggers and options beside it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from upon._errors import UsageError
from upon._triggers import Batched, Options, Trigger

P = ParamSpec("P")
R = TypeVar("R")


class Function(Generic[P, R]):
    """What a decorator returns. Calling it calls the plain function; the runtime reads the rest.

    name: the function's own name, and its address under `/functions/`. triggers: in canonical order, so that
    the order of stacking does not matter. Immutable: each decorator makes a new one.
    """

    plain: Callable[P, R]
    name: str
    triggers: tuple[Trigger, ...]
    options: Options
    batched: Batched | None

    def __init__(
        self,
        plain: Callable[P, R],
        triggers: tuple[Trigger, ...] = (),
        options: Options = Options(),  # noqa: B008 - frozen
        batched: Batched | None = None,
    ) -> None:
        functools.update_wrapper(self, plain)
        self.plain = plain
        self.name = plain.__name__
        self.triggers = tuple(sorted(triggers, key=str))
        self.options = options
        self.batched = batched

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.plain(*args, **kwargs)

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.plain)

    def __repr__(self) -> str:
        return f"<Function {self.name}: {', '.join(map(str, self.triggers)) or 'no trigger'}>"


class Decorator:
    """What `upon.kafka(...)` and its like return: it takes a plain function or a Function."""

    __slots__ = ("_add", "_name")

    def __init__(self, name: str, add: Callable[[Function[..., Any]], Function[..., Any]]) -> None:
        self._name = name
        self._add = add

    @overload
    def __call__(self, target: Function[P, R], /) -> Function[P, R]: ...
    @overload
    def __call__(self, target: Callable[P, R], /) -> Function[P, R]: ...
    def __call__(self, target: Any, /) -> Any:
        function = target if isinstance(target, Function) else Function(_check_target(self._name, target))
        return self._add(cast("Function[..., Any]", function))


def _check_target(decorator: str, target: object) -> Callable[..., Any]:
    name = f"@upon.{decorator}"
    if isinstance(target, type):
        raise UsageError(f"{name} takes a function, not the class {target.__qualname__}")
    if isinstance(target, (staticmethod, classmethod)) or inspect.ismethod(target):
        raise UsageError(f"{name} takes a module-level function, not a method: move {target!r} out of its class")
    if not inspect.isfunction(target):
        raise UsageError(f"{name} takes a function, not {target!r}")
    scope, _, own = target.__qualname__.rpartition(".")
    if scope and not scope.endswith("<locals>"):
        raise UsageError(f"{name} takes a function, not the method {scope}.{own}: move it out of its class")
    if not own.isidentifier():
        raise UsageError(f"{name} takes a named function, not {own}: its name becomes its address")
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        raise UsageError(
            f"{name}: {own} is a generator, and a handler returns once: return a value, send several events with"
            " topic.send(...), or use @upon.resource for something opened and closed"
        )
    return target


def need_parentheses(decorator: str, argument: object, example: str) -> None:
    """Refuse `@upon.kafka` without parentheses, which hands the function over as the first argument."""
    if callable(argument):
        raise UsageError(f"@upon.{decorator} needs its arguments: write @upon.{decorator}({example})")
