"""Dispatchers for a test, closed at its end, and outcomes collected from their callbacks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from support.services import dispatcher_of
from upon import Event
from upon._outcome import Outcome
from upon_runtime.dispatcher import Dispatcher


@pytest.fixture
def closing() -> Iterator[list[Dispatcher]]:
    """Dispatchers put in here are closed at the end."""
    made: list[Dispatcher] = []
    yield made
    assert all(dispatcher.close(5) for dispatcher in made)


@pytest.fixture
def make(closing: list[Dispatcher]) -> Any:
    def build(*functions: Any, **more: Any) -> Dispatcher:
        closing.append(dispatcher_of(*functions, **more))
        return closing[-1]

    return build


class Collected:
    """Outcomes from callbacks, and a wait for their number."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self._changed = threading.Condition()

    def __call__(self, *args: Any) -> None:
        outcome = args[-1]
        with self._changed:
            self.outcomes.extend(outcome if isinstance(outcome, (list, tuple)) else [outcome])
            self._changed.notify_all()

    def wait(self, count: int, timeout: float = 5) -> list[Outcome]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.outcomes) >= count, timeout), self.outcomes
        return self.outcomes

    @property
    def kinds(self) -> list[str]:
        return [outcome.kind for outcome in self.outcomes]


def plain(event: Event) -> Any:
    return event.data
