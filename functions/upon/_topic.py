"""A Kafka topic that functions write to."""

from __future__ import annotations

import contextlib
from typing import Any

from upon._attributes import attribute_text
from upon._engine import Publisher, Sends, Sent, invocation
from upon._errors import UponError, UsageError
from upon._event import Event, as_event
from upon._kafka_codec import write_record
from upon._triggers import check_topic

SEND_TIMEOUT = 60.0  # seconds without a confirmation; the producer gives up before


class Topic:
    """A topic to write to: `reviews = upon.Topic("reviews")`, then `reviews.send(data, key="42")`.

    In a handler, sends are confirmed by the broker before the handler's event is acknowledged; a send that can't
    be confirmed fails the handler. Elsewhere `send` returns after the confirmation.
    """

    def __init__(self, name: str) -> None:
        self.name = check_topic(name)
        self._publisher: Publisher | None = None

    def __repr__(self) -> str:
        return f"Topic({self.name!r})"

    def _bind(self, publisher: Publisher | None) -> None:
        self._publisher = publisher

    def send(self, data_or_event: object, /, *, key: str | bytes | None = None) -> None:
        """Write an Event, or data that becomes one. key: the record's key; by default the event's partitionkey.

        Raises UsageError for a key of another type, DataError for data without a JSON form, and UponError when no
        runtime is there; a broker's refusal is raised here outside a handler, and fails the event inside one.
        """
        call = invocation.get()
        if call is not None and call.outbox is not None:
            call.outbox.append(self._held(data_or_event, key))
            return
        if call is not None:
            self._publish(data_or_event, key, call.sends)
            return
        sends = Sends()
        self._publish(data_or_event, key, sends)
        sends.wait(SEND_TIMEOUT)

    async def asend(self, data_or_event: object, /, *, key: str | bytes | None = None) -> None:
        """As `send`, and returns after the broker's confirmation, without blocking the event loop."""
        import asyncio

        call = invocation.get()
        if call is not None and call.outbox is not None:
            call.outbox.append(self._held(data_or_event, key))
            return
        loop = asyncio.get_running_loop()
        confirmed: asyncio.Future[None] = loop.create_future()

        def settle(error: BaseException | None) -> None:
            if confirmed.done():
                return
            if error is None:
                confirmed.set_result(None)
            else:
                confirmed.set_exception(error)

        def on_done(error: BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, error)

        publisher = self._bound()
        event, key_bytes = self._prepare(data_or_event, key)
        publisher.publish(self.name, event, key_bytes, on_done)
        await asyncio.wait_for(confirmed, SEND_TIMEOUT)

    def _publish(self, data_or_event: object, key: str | bytes | None, sends: Sends) -> None:
        publisher = self._bound()
        event, key_bytes = self._prepare(data_or_event, key)
        on_done = sends.begin()
        try:
            publisher.publish(self.name, event, key_bytes, on_done)
        except BaseException:
            on_done(None)  # raised here, so there is nothing left to wait for
            raise

    def _held(self, data_or_event: object, key: str | bytes | None) -> Sent:
        """For the transaction that takes the handler's replies and its offset; until then nobody sees it."""
        event, key_bytes = self._prepare(data_or_event, key)
        return Sent(self.name, *write_record(event, key_bytes))

    def _bound(self) -> Publisher:
        if self._publisher is None:
            raise UponError(
                f"topic {self.name!r} has no broker here: start the project with `func run`, or use"
                " upon.testing.Client in a test or notebook"
            )
        return self._publisher

    def _prepare(self, data_or_event: object, key: str | bytes | None) -> tuple[Event[Any], bytes | None]:
        if key is not None and not isinstance(key, (str, bytes)):
            raise UsageError(f"key must be str or bytes, not {key!r}")
        event = as_event(data_or_event) or self._event_of(data_or_event)
        if key is None and (partition_key := event._attributes.get("partitionkey")) is not None:
            key = attribute_text(partition_key)
        return event, key.encode() if isinstance(key, str) else key

    def _event_of(self, data: object) -> Event[Any]:
        """Data as an event whose id is the same when the handler's event is delivered again."""
        call = invocation.get()
        if call is None:
            return Event.of(data)
        return Event.of(
            data,
            id=call.next_id(self.name),
            source=f"/{call.service}/{call.function}",
            type=f"{call.service}.{call.function}.event",
        )
