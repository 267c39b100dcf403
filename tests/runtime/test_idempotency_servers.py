"""Redis and PostgreSQL that refuse, freeze, vanish and come back."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from support.postgresql import RealPostgresql
from support.postgresql import postgresql_server as postgresql_server
from support.redis import RealRedis
from support.redis import redis_server as redis_server
from support.servers import Server, free_port
from support.stores import schema_at
from upon import MissingExtra, UponError
from upon_runtime.idempotency import Finished, Fresh, Store, StoreUnavailable
from upon_runtime.idempotency.postgresql import DDL, TABLE, PostgresqlStore
from upon_runtime.idempotency.redis import RedisStore

SOON = 20.0  # seconds; a frozen server is given up after two, and the machine may be loaded


@pytest.fixture(params=["redis", "postgresql"])
def served(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Store]]:
    server = request.getfixturevalue(f"{request.param}_server")
    store: Store
    if request.param == "redis":
        store = RedisStore(server.url, f"{request.node.name}:")
    else:
        store = PostgresqlStore(schema_at(server.url), "svc:")
    store.open()
    yield server, store
    store.close()


def until(act: Callable[[], Any]) -> Any:
    """What the act returns once the store is back."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return act()
        except StoreUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_frozen_server_is_given_up(served: tuple[Server, Store]) -> None:
    server, store = served
    server.pause()
    try:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            store.begin(["frozen"], "mine", 30)
        assert time.monotonic() - began < SOON
    finally:
        server.resume()
    assert [Fresh()] == until(lambda: store.begin(["frozen"], "mine", 30))  # whether the first act took place or not


def test_a_server_that_comes_back_is_used_again(served: tuple[Server, Store]) -> None:
    server, store = served
    store.begin(["before"], "mine", 30)
    server.stop()
    with pytest.raises(StoreUnavailable):
        store.begin(["away"], "mine", 30)
    server.start()
    assert [Fresh()] == until(lambda: store.begin(["away"], "mine", 30))
    assert {"away"} == store.finish({"away": b"r"}, "mine", 30)


def test_nobody_listens() -> None:
    for store in (RedisStore("redis://127.0.0.1:1/0", "x:"), PostgresqlStore("postgresql://127.0.0.1:1/x", "x:")):
        with pytest.raises(StoreUnavailable):
            store.open()
        store.close()


def test_a_wrong_password(tmp_path: Path, redis_server: RealRedis) -> None:
    server = RealRedis(tmp_path, "--requirepass", "right")
    server.start()
    try:
        RedisStore(f"redis://:right@127.0.0.1:{server.port}/0", "x:").open()
        for url in (server.url, f"redis://:wrong@127.0.0.1:{server.port}/0"):
            store = RedisStore(url, "x:")
            with pytest.raises(UponError, match=r"Redis refuses idempotency.url: .*; correct its user and password"):
                store.open()
            store.close()
    finally:
        server.stop()


@pytest.mark.parametrize("url", ["http://cache:6379", "cache:6379", "redis://:hunt/er2@cache"])
def test_a_url_that_is_not_of_redis(url: str) -> None:
    with pytest.raises(UponError, match=r"idempotency.url is no URL of Redis: .*rediss:// for TLS") as caught:
        RedisStore(url, "x:")
    assert "er2" not in str(caught.value)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl: apt-get install -y openssl")
def test_redis_over_tls(tmp_path: Path, redis_server: RealRedis) -> None:
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    name = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", *name]
    subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60)
    port = free_port()
    files = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate)
    server = RealRedis(tmp_path, "--tls-port", str(port), *files, "--tls-auth-clients", "no")
    server.start()
    trusting = RedisStore(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}", "x:")
    doubting = RedisStore(f"rediss://127.0.0.1:{port}/0", "x:")
    try:
        assert [Fresh()] == until(lambda: trusting.begin(["k"], "mine", 30))
        with pytest.raises(StoreUnavailable, match="certificate"):
            doubting.open()
    finally:
        trusting.close()
        doubting.close()
        server.stop()


def test_a_redis_that_is_full_refuses_and_loses_nothing(tmp_path: Path, redis_server: RealRedis) -> None:
    server = RealRedis(tmp_path, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    server.start()
    store = RedisStore(server.url, "x:")
    try:
        store.begin(["small", "large"], "mine", 30)
        store.finish({"small": b"r"}, "mine", 30)
        large = {f"large{number}": b"x" * 500_000 for number in range(10)}
        with pytest.raises(StoreUnavailable, match="OutOfMemoryError"):
            store.finish(large, "mine", 30)
        assert [Finished(b"r")] == store.begin(["small"], "theirs", 30)
    finally:
        store.close()
        server.stop()


def test_keys_have_the_prefix_and_an_end(redis_server: RealRedis) -> None:
    import redis

    store = RedisStore(redis_server.url, "upon:orders:")
    store.begin(["a", "b"], "mine", 30)
    store.finish({"b": b"r"}, "mine", 60)
    with redis.Redis(port=redis_server.port) as client:
        assert {b"upon:orders:a", b"upon:orders:b"} == set(client.keys("upon:orders:*"))
        assert 25 < client.ttl("upon:orders:a") <= 30
        assert 55 < client.ttl("upon:orders:b") <= 60
    store.close()


# PostgreSQL


@pytest.fixture
def humble(postgresql_server: RealPostgresql) -> tuple[str, str]:
    """URLs of an owner, and of a user who may use tables in the same schema and make none."""
    owner = schema_at(postgresql_server.url)
    schema = owner.rpartition("%3D")[2]
    with psycopg.connect(owner) as connection:
        connection.execute(f"CREATE ROLE user_{schema} LOGIN")
        connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO user_{schema}")
        grant = "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES"
        connection.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} {grant} TO user_{schema}")
    return owner, owner.replace("//postgres@", f"//user_{schema}@")


def test_without_the_right_to_make_the_table_it_is_said_how(humble: tuple[str, str]) -> None:
    owner, user = humble
    store = PostgresqlStore(user, "x:")
    with pytest.raises(UponError, match=f"has no table '{TABLE}' .* have it made: CREATE TABLE IF NOT EXISTS {TABLE}"):
        store.open()
    with psycopg.connect(owner) as connection:
        for statement in DDL:
            connection.execute(statement)
    store.open()
    assert [Fresh()] == store.begin(["k"], "mine", 30)
    store.close()


def test_a_database_that_is_not_there(postgresql_server: RealPostgresql) -> None:
    store = PostgresqlStore(postgresql_server.url.replace("/postgres", "/nowhere"), "x:")
    with pytest.raises(UponError, match=r'PostgreSQL refuses idempotency.url: .*"nowhere" does not exist'):
        store.open()
    store.close()


@pytest.mark.parametrize("url", ["postgresql://host/db?nonsense=1", "user:hunter2@host"])
def test_a_url_that_is_not_of_postgresql(url: str) -> None:
    with pytest.raises(UponError, match=r"idempotency.url is no URL of PostgreSQL: write postgresql://") as caught:
        PostgresqlStore(url, "x:").open()
    assert "hunter2" not in str(caught.value)


MISSING = """
import sys
sys.modules[{library!r}] = None
from upon_runtime.idempotency.{module} import {name}
try:
    {name}("redis://x", "x:")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("library", "module", "name", "what"),
    [("redis", "redis", "RedisStore", "Redis"), ("psycopg", "postgresql", "PostgresqlStore", "PostgreSQL")],
)
def test_a_missing_extra_names_the_command(library: str, module: str, name: str, what: str) -> None:
    code = MISSING.format(library=library, module=module, name=name)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout
    text = f"idempotency with {what} needs the extra [{module}]: pip install 'upon[{module}]'"
    assert f"{MissingExtra.__name__} {text}" == said.strip()
