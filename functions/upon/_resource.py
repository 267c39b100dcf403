"""Something a function needs open while it runs: a tokenizer, a connection pool, a feature store."""

from __future__ import annotations

import atexit
import inspect
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Any, Generic, TypeVar, cast, overload

from upon._errors import UponError, UsageError

T = TypeVar("T")


class Resource(Generic[T]):
    """Made by `@upon.resource`. Calling it gives the open value, the same one each time.

    The runtime opens it before readiness and closes it after the drain, in reverse order of opening. Without a
    runtime it opens at first use and closes when the process ends.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._lock = threading.RLock()
        self._opened: tuple[T] | None = None
        self._generator: Generator[T, None, None] | None = None
        self.name = make.__name__
        self.__doc__ = make.__doc__

    def __repr__(self) -> str:
        return f"<Resource {self.name}: {'open' if self._opened else 'closed'}>"

    def __call__(self) -> T:
        opened = self._opened
        if opened is None:
            self._open()
            atexit.register(self._close)
            opened = cast("tuple[T]", self._opened)
        return opened[0]

    def _open(self) -> None:
        with self._lock:
            if self._opened is not None:
                return
            made = self._make()
            if not inspect.isgenerator(made):
                self._opened = (cast(T, made),)
                return
            generator = cast("Generator[T, None, None]", made)
            try:
                self._opened = (next(generator),)
            except StopIteration:
                raise UponError(f"resource {self.name} did not yield a value: `yield` it exactly once") from None
            self._generator = generator

    def _close(self) -> None:
        with self._lock:
            generator, self._generator, self._opened = self._generator, None, None
        if generator is None:
            return
        try:
            next(generator)
        except StopIteration:
            return
        generator.close()
        raise UponError(f"resource {self.name} yielded twice: `yield` exactly once, then clean up")


@overload
def resource(make: Callable[[], Iterator[T]], /) -> Resource[T]: ...
@overload
def resource(make: Callable[[], T], /) -> Resource[T]: ...
def resource(make: Callable[[], Any], /) -> Resource[Any]:
    """Turn a function without parameters into a Resource: `yield` the value to clean up afterwards, or return it."""
    if not inspect.isfunction(make):
        raise UsageError(f"@upon.resource takes a function and no parentheses, not {make!r}")
    if inspect.iscoroutinefunction(make) or inspect.isasyncgenfunction(make):
        raise UsageError(f"@upon.resource: {make.__name__} must be a plain function or generator, not async")
    if inspect.signature(make).parameters:
        raise UsageError(f"@upon.resource: {make.__name__} must take no parameters: read settings inside it")
    return Resource(make)
