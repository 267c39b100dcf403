"""Handlers whose code is elsewhere: they take what the real ones take, and can't be called."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from upon import Event, UsageError

PLACE = "the manifest"


def stand_in(name: str, *, batch: bool) -> Callable[..., Any]:
    """A function of this name with the signature of a handler of one event, or of a batch."""
    like = _batch if batch else _one
    code = like.__code__.replace(co_name=name, co_filename=PLACE, co_firstlineno=1)
    made = types.FunctionType(code, like.__globals__, name)
    made.__qualname__ = name
    made.__module__ = PLACE
    made.__annotations__ = dict(like.__annotations__)
    return made


def _one(event: Event[Any]) -> None:
    raise UsageError(f"the code of this function is not here: event {event.id!r} must be sent to its service")


def _batch(events: list[Event[Any]]) -> None:
    raise UsageError(f"the code of this function is not here: {len(events)} events must be sent to its service")
