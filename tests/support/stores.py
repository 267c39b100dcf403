"""Each kind of idempotency store, for one set of tests; `later` moves time on for its leases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from upon_runtime.idempotency import MemoryStore, Store

KINDS = ["memory", "sqlite", "redis", "postgresql"]


@dataclass
class Made:
    """A store, how to make another one on the same data, and a wait of so many seconds by the store's clock."""

    store: Store
    another: Callable[[], Store]
    later: Callable[[float], None]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def later(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Made]:
    opened: list[Store] = []
    make, later = maker(request.param, request, tmp_path)

    def another() -> Store:
        store = make()
        store.open()
        opened.append(store)
        return store

    yield Made(another(), another, later)
    for store in opened:
        store.close()


def maker(kind: str, request: pytest.FixtureRequest, folder: Path) -> tuple[Callable[[], Store], Callable[..., None]]:
    """How to make a store of a kind that has nothing in it, and its clock's wait."""
    clock = Clock()
    if kind == "memory":
        store = MemoryStore(clock)
        return lambda: store, clock.later
    if kind == "sqlite":
        from upon_runtime.idempotency.sqlite import SqliteStore

        return lambda: SqliteStore(folder / "state", clock=clock), clock.later
    prefix = f"test-{uuid4().hex}:"
    server: Any = request.getfixturevalue(f"{kind}_server")
    if kind == "redis":
        from upon_runtime.idempotency.redis import RedisStore

        return lambda: RedisStore(server.url, prefix), time.sleep
    from upon_runtime.idempotency.postgresql import PostgresqlStore

    url = schema_at(server.url)
    return lambda: PostgresqlStore(url, prefix), time.sleep


def schema_at(url: str) -> str:
    """A PostgreSQL's URL with an empty schema of the caller's own."""
    import psycopg

    name = f"test_{uuid4().hex}"
    with psycopg.connect(url) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{url}?options=-csearch_path%3D{name}"
