"""Which events a service has handled: its store, what stands before and behind it, and a guard for each function."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeAlias

from upon import Event
from upon_runtime.idempotency.guard import Guard
from upon_runtime.idempotency.keeper import Keeper
from upon_runtime.idempotency.reach import Reach
from upon_runtime.idempotency.store import Store, StoreUnavailable
from upon_runtime.observe import origin
from upon_runtime.spec import FunctionSpec, ServiceSpec

log = logging.getLogger("upon.events")

OnRepeated: TypeAlias = Callable[[str], None]

THREADS = 8  # that ask the store for async handlers, whose loop must not wait


class Journal:
    """on_repeated(function) is called for each event that was handled before."""

    def __init__(self, spec: ServiceSpec, store: Store, on_repeated: OnRepeated = lambda function: None) -> None:
        self._reach = Reach(store)
        self._keeper = Keeper(self._reach, spec.idempotency.ttl)
        self._pool = ThreadPoolExecutor(THREADS, "upon-idempotency")
        self._on_repeated = on_repeated
        # A laptop that reads the cluster's topics in a group of its own must not make the cluster skip them.
        self._scope = f"{spec.namespace}\n{spec.group_suffix}"
        self._ttl = spec.idempotency.ttl

    def guard(self, function: FunctionSpec) -> Guard:
        return Guard(
            function.name,
            function.timeout,
            reach=self._reach,
            keeper=self._keeper,
            pool=self._pool,
            ttl=self._ttl,
            scope=self._scope,
            on_repeated=self._repeated,
        )

    def open(self) -> None:
        """A store that can't be reached is waited for. Raises UponError for one that can't be used at all."""
        with suppress(StoreUnavailable):  # said in the log
            self._reach.open()
        self._keeper.start()

    def close(self) -> None:
        """After the handlers."""
        self._pool.shutdown()
        self._keeper.close()
        self._reach.store.close()

    def state(self) -> dict[str, Any]:
        return self._reach.state()

    def _repeated(self, function: str, events: Sequence[Event[Any]]) -> None:
        for event in events:
            self._on_repeated(function)
            if not log.isEnabledFor(logging.DEBUG):
                continue
            fields = {
                "function": function,
                "trigger": origin(event),
                "event_id": event.id,
                "event_source": event.source,
                "outcome": "repeated",
            }
            log.debug("%s: repeated: event %r was handled before", function, event.id, extra={"fields": fields})
