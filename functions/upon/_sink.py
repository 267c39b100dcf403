"""The contract between sources and whatever runs functions. A source never knows which sink it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from upon._event import Event
from upon._outcome import Outcome

OnDone: TypeAlias = Callable[[Outcome], None]
OnItem: TypeAlias = Callable[[int, Outcome], None]
OnBatch: TypeAlias = Callable[[Sequence[Outcome]], None]


class Sink(Protocol):
    """Takes events for functions. `function` names the one to run; without it, subscriptions decide.

    Callbacks come from any thread, exactly once, must not block or raise, and may come before the call returns.
    """

    def submit(self, event: Event[Any], on_done: OnDone, *, function: str | None = None) -> None:
        """Handle one event; returns at once."""

    def submit_run(self, events: Sequence[Event[Any]], on_item: OnItem, *, function: str | None = None) -> None:
        """Handle an ordered run one after another, for one hand-off; returns at once.

        on_item(index, outcome) is called once per event, in order; after the first outcome that is not Done
        nothing further is handled and nothing further is called.
        """

    def submit_batch(self, events: Sequence[Event[Any]], on_batch: OnBatch, *, function: str | None = None) -> None:
        """Give a batch handler all these events at once; one outcome per event, in order; returns at once."""

    def deliver(self, event: Event[Any], *, function: str | None = None) -> Outcome:
        """Handle one event and return its outcome; a sync handler runs on the calling thread."""
        ...
