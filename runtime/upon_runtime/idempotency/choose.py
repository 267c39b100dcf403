"""Which store a service has: the only place that looks at its settings."""

from __future__ import annotations

from upon import UsageError
from upon_runtime.idempotency.store import Store
from upon_runtime.spec import ServiceSpec


def make_store(spec: ServiceSpec) -> Store:
    """Not opened yet. Raises UsageError for settings that lack something, and MissingExtra."""
    wanted = spec.idempotency.store
    if wanted == "sqlite":
        from upon_runtime.idempotency.sqlite import SqliteStore

        if spec.state_dir is None:
            raise UsageError("idempotency in SQLite needs a folder: set run.stateDir in func.yaml")
        return SqliteStore(spec.state_dir)
    url = spec.idempotency.url
    if not url:
        raise UsageError(
            f"idempotency.store is {wanted!r} and has no address: set idempotency.url in func.yaml, as a reference"
            " such as {{ secret:name:key }}"
        )
    if wanted == "redis":
        from upon_runtime.idempotency.redis import RedisStore

        return RedisStore(url, f"upon:{spec.name}:")
    from upon_runtime.idempotency.postgresql import PostgresqlStore

    return PostgresqlStore(url, f"{spec.name}:")
