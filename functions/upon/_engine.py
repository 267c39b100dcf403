"""How a Model, Topic or resource finds what is behind it. One of three files that may import upwards, late."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from upon._ids import name_id

if TYPE_CHECKING:
    from upon._event import Event
    from upon._model import Model


class OpenModel(Protocol):
    """A model that is open: the same four calls as upon.Model, with inputs already gathered in one dict."""

    def call(self, inputs: dict[str, Any]) -> dict[str, Any]: ...
    def batch(self, inputs: dict[str, Any]) -> dict[str, Any]: ...
    async def acall(self, inputs: dict[str, Any]) -> dict[str, Any]: ...
    async def abatch(self, inputs: dict[str, Any]) -> dict[str, Any]: ...
    def close(self) -> None: ...


class Publisher(Protocol):
    """Writes events to topics. `on_done(None)`: confirmed by the broker; it comes exactly once, from any thread."""

    def publish(
        self, topic: str, event: Event[Any], key: bytes | None, on_done: Callable[[BaseException | None], None]
    ) -> None: ...


class Sent(NamedTuple):
    """A record that a handler has sent and a transaction will write."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Sends:
    """The topic sends of one handler call: all must be confirmed before its event is acknowledged."""

    __slots__ = ("_condition", "_error", "_pending")

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._pending = 0
        self._error: BaseException | None = None

    def begin(self) -> Callable[[BaseException | None], None]:
        with self._condition:
            self._pending += 1
        return self._end

    def _end(self, error: BaseException | None) -> None:
        with self._condition:
            self._pending -= 1
            self._error = self._error or error
            self._condition.notify_all()

    def wait(self, timeout: float | None) -> None:
        """Wait for every confirmation; raises the first error, or TimeoutError."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._pending == 0, timeout):
                raise TimeoutError(f"{self._pending} sends were not confirmed within {timeout} s")
            if self._error is not None:
                raise self._error


class Invocation:
    """What is known about the handler call that runs on this thread or task.

    deadline: time.monotonic() or None. event: what it handles; None for a batch, whose company changes.
    outbox: takes the sends where the event's source writes them in its transaction; else None.
    """

    __slots__ = ("_sends", "_sent", "deadline", "event", "function", "outbox", "service")

    def __init__(
        self, function: str, service: str = "", deadline: float | None = None, event: Event[Any] | None = None
    ) -> None:
        self.function = function
        self.service = service
        self.deadline = deadline
        self.event = event
        self.outbox: list[Sent] | None = None
        self._sends: Sends | None = None
        self._sent = 0

    def next_id(self, topic: str) -> str | None:
        """The id of this call's next event for a topic: the same when the handled event is delivered again."""
        if self.event is None:
            return None
        self._sent += 1
        return name_id(f"{self.event.source}\n{self.event.id}\n{self.function}\n{topic}\n{self._sent}")

    @property
    def sends(self) -> Sends:
        if self._sends is None:
            self._sends = Sends()
        return self._sends

    @property
    def unconfirmed(self) -> Sends | None:
        """The sends of this call, or None where it made none."""
        return self._sends


invocation: ContextVar[Invocation | None] = ContextVar("upon_invocation", default=None)


def open_model(model: Model) -> OpenModel:
    """Open a model without a runtime (pytest, a notebook): the same checks, no queue."""
    from upon_runtime.inference import open_alone

    return open_alone(model)
