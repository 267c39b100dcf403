"""A store in one PostgreSQL table, one statement an act. Its clock is the server's."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from upon import MissingExtra, UponError
from upon_runtime.idempotency.store import DEADLINE, FRESH, Begun, Finished, Held, StoreUnavailable
from upon_runtime.watchdog import Watchdog

if TYPE_CHECKING:
    import psycopg

CONNECTIONS = 4  # at once, of this process; who finds none free waits, DEADLINE seconds at most
TABLE = "upon_idempotency"
REFUSALS = ("authentication failed", "does not exist", "no pg_hba.conf entry")  # libpq gives no code while connecting
DDL = (
    f"CREATE TABLE IF NOT EXISTS {TABLE}"
    " (key text PRIMARY KEY, token text NOT NULL, reply bytea, expires timestamptz NOT NULL)",
    f"CREATE INDEX IF NOT EXISTS {TABLE}_expires ON {TABLE} (expires)",
)
_SOON = "clock_timestamp() + make_interval(secs => %(seconds)s)"
# Rows that another transaction wrote since the statement began are found by the INSERT and not by the SELECT; such a
# key is neither taken nor known, and counts as held. The order keeps statements from waiting for each other.
BEGIN = f"""
WITH asked AS (SELECT unnest(%(keys)s::text[]) AS key),
taken AS (
  INSERT INTO {TABLE} AS old (key, token, expires)
  SELECT key, %(token)s, {_SOON} FROM asked ORDER BY key
  ON CONFLICT (key) DO UPDATE SET token = excluded.token, reply = NULL, expires = excluded.expires
  WHERE old.expires <= clock_timestamp() OR (old.token = excluded.token AND old.reply IS NULL)
  RETURNING key)
SELECT asked.key, taken.key IS NOT NULL, old.reply, extract(epoch FROM old.expires - clock_timestamp())::float8
FROM asked LEFT JOIN taken USING (key) LEFT JOIN {TABLE} AS old USING (key)
"""
FINISH = f"""
INSERT INTO {TABLE} AS old (key, token, reply, expires)
SELECT key, %(token)s, reply, {_SOON}
FROM unnest(%(keys)s::text[], %(replies)s::bytea[]) AS given (key, reply) ORDER BY key
ON CONFLICT (key) DO UPDATE SET token = excluded.token, reply = excluded.reply, expires = excluded.expires
WHERE old.token = excluded.token OR old.expires <= clock_timestamp()
RETURNING key
"""
_MARKS = "key = ANY(%(keys)s) AND token = %(token)s AND reply IS NULL"
RELEASE = f"DELETE FROM {TABLE} WHERE {_MARKS} RETURNING key"
EXTEND = f"UPDATE {TABLE} SET expires = {_SOON} WHERE {_MARKS} RETURNING key"
SWEEP = f"""
DELETE FROM {TABLE} WHERE key IN
  (SELECT key FROM {TABLE} WHERE expires <= clock_timestamp() LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING key
"""


class PostgresqlStore:
    """url: `postgresql://user:password@host:5432/database`, or whatever else libpq takes. prefix: of every key."""

    name = "postgresql"

    def __init__(self, url: str, prefix: str) -> None:
        try:
            import psycopg
        except ImportError:
            raise MissingExtra("idempotency with PostgreSQL", "postgresql") from None
        self._psycopg = psycopg
        self._url = url
        self._prefix = prefix
        self._idle: deque[psycopg.Connection[Any]] = deque()
        self._places = threading.BoundedSemaphore(CONNECTIONS)
        self._watchdog = Watchdog()
        self._closed = False

    def open(self) -> None:
        """Raises UponError where PostgreSQL does not let us in, or the table is missing and can't be made."""
        refused = self._psycopg.errors
        try:
            with self._connected() as connection:
                found = connection.execute("SELECT to_regclass(%s)", (TABLE,)).fetchone()
                for statement in DDL if found == (None,) else ():
                    connection.execute(statement)
        except (refused.UniqueViolation, refused.DuplicateTable):
            pass  # another replica made it at the same moment
        except (refused.InsufficientPrivilege, refused.InvalidSchemaName, refused.ReadOnlySqlTransaction) as error:
            raise UponError(
                f"PostgreSQL has no table {TABLE!r} for idempotency, and it can't be made: {_first_line(error)}; have"
                f" it made: {'; '.join(DDL)}"
            ) from None
        except self._psycopg.Error as error:
            text = _first_line(error)
            if isinstance(error, self._psycopg.ProgrammingError):  # whose text may hold a password
                raise UponError(
                    "idempotency.url is no URL of PostgreSQL: write postgresql://user:password@host:5432/database, and"
                    " percent-encode what stands for itself"
                ) from None
            if any(part in text for part in REFUSALS):
                raise UponError(f"PostgreSQL refuses idempotency.url: {text}") from None
            raise StoreUnavailable(f"PostgreSQL: {text}") from error

    def begin(self, keys: Sequence[str], token: str, lease: float) -> list[Begun]:
        rows = {row[0]: row[1:] for row in self._run(BEGIN, keys, token=token, seconds=lease)}
        return [_begun(*rows[self._prefix + key]) for key in keys]

    def finish(self, replies: Mapping[str, bytes], token: str, ttl: float) -> set[str]:
        return self._keys(FINISH, list(replies), token=token, seconds=ttl, replies=list(replies.values()))

    def release(self, keys: Sequence[str], token: str) -> None:
        self._run(RELEASE, keys, token=token)

    def extend(self, keys: Sequence[str], token: str, lease: float) -> set[str]:
        return self._keys(EXTEND, keys, token=token, seconds=lease)

    def sweep(self, limit: int) -> int:
        return len(self._run(SWEEP, (), limit=limit))

    def close(self) -> None:
        self._closed = True
        self._forget_idle()
        self._watchdog.close()

    def _keys(self, statement: str, keys: Sequence[str], **values: Any) -> set[str]:
        return {row[0].removeprefix(self._prefix) for row in self._run(statement, keys, **values)}

    def _run(self, statement: str, keys: Sequence[str], **values: Any) -> list[tuple[Any, ...]]:
        parameters = {"keys": [self._prefix + key for key in keys], **values}
        try:
            with self._connected() as connection:
                return connection.execute(statement.encode(), parameters, binary=True).fetchall()
        except self._psycopg.Error as error:
            raise StoreUnavailable(f"PostgreSQL: {type(error).__name__}: {_first_line(error)}") from error

    # Connections

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[Any]]:
        """One of ours for one act. It is cut at the deadline: libpq alone would wait for a frozen server for hours."""
        if not self._places.acquire(timeout=DEADLINE):
            raise StoreUnavailable(f"PostgreSQL: {CONNECTIONS} acts take longer than {DEADLINE:g} s")
        try:
            connection = self._take()
            with self._deadline(connection):
                yield connection
        finally:
            self._places.release()

    @contextmanager
    def _deadline(self, connection: psycopg.Connection[Any]) -> Iterator[None]:
        wire = socket.socket(fileno=os.dup(connection.fileno()))
        key = self._watchdog.begin(time.monotonic() + DEADLINE, lambda: _cut(wire))
        try:
            yield
        except BaseException:
            connection.close()
            self._forget_idle()  # they may have gone the same way
            raise
        finally:
            self._watchdog.end(key)
            wire.close()
        self._give_back(connection)

    def _take(self) -> psycopg.Connection[Any]:
        with suppress(IndexError):
            return self._idle.pop()
        if self._closed:
            raise StoreUnavailable("PostgreSQL: the store is closed")
        # Statements are not prepared on the server: a pooler may give each one another session.
        return self._psycopg.connect(
            self._url, autocommit=True, prepare_threshold=None, connect_timeout=2, application_name="upon"
        )

    def _give_back(self, connection: psycopg.Connection[Any]) -> None:
        if self._closed or connection.broken:
            connection.close()
        else:
            self._idle.append(connection)

    def _forget_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()


def _cut(wire: socket.socket) -> None:
    with suppress(OSError):
        wire.shutdown(socket.SHUT_RDWR)


def _begun(taken: bool, reply: bytes | None, left: float | None) -> Begun:
    if taken:
        return FRESH
    if left is None or left <= 0:
        return Held(0.0)
    return Held(left) if reply is None else Finished(reply)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
