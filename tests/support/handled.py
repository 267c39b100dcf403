"""A service's dispatcher with idempotent functions, whose store a test holds in its hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from support.services import spec_of
from upon_runtime.dispatcher import Dispatcher
from upon_runtime.idempotency import Journal, Store
from upon_runtime.spec import ServiceSpec


def idempotent(*functions: Any, **more: Any) -> ServiceSpec:
    """A service in which every function is."""
    spec = spec_of(*functions, **more)
    return dataclasses.replace(
        spec, functions=tuple(dataclasses.replace(function, idempotent=True) for function in spec.functions)
    )


def guarded(
    stack: ExitStack,
    store: Store,
    *functions: Any,
    on_repeated: Callable[[str], None] = lambda function: None,
    **more: Any,
) -> Dispatcher:
    """Closed with the stack; the store is not."""
    spec = idempotent(*functions, **more)
    journal = Journal(spec, store, on_repeated)
    journal.open()
    dispatcher = Dispatcher(spec, journal=journal)
    stack.callback(journal.close)
    stack.callback(dispatcher.close, 5.0)
    return dispatcher
