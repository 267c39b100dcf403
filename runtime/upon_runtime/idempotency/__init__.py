"""Events that were handled are not handled again: markers and replies in a store that replicas share."""

from upon_runtime.idempotency.choose import make_store
from upon_runtime.idempotency.guard import Guard
from upon_runtime.idempotency.journal import Journal
from upon_runtime.idempotency.memory import MemoryStore
from upon_runtime.idempotency.store import Begun, Finished, Fresh, Held, Store, StoreUnavailable

__all__ = [
    "Begun",
    "Finished",
    "Fresh",
    "Guard",
    "Held",
    "Journal",
    "MemoryStore",
    "Store",
    "StoreUnavailable",
    "make_store",
]
