"""A store in one SQLite file, for the processes of one machine. Power loss may undo the last acts, a crash never does.

A marker names the process that holds it: once that has ended, its markers are free, before their lease is over.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from upon import UponError
from upon_runtime.idempotency.store import DEADLINE, FRESH, Begun, Finished, Held, StoreUnavailable
from upon_triggers.holder import Holder, is_gone, this_process

FILE = "idempotency.sqlite"
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS event"
    " (key TEXT PRIMARY KEY, token TEXT NOT NULL, holder TEXT NOT NULL, reply BLOB, expires REAL NOT NULL)",
    "CREATE INDEX IF NOT EXISTS expiry ON event (expires)",
)
_LOOK = "SELECT token, holder, reply, expires FROM event WHERE key = ? AND expires > ?"
_MARK = "REPLACE INTO event (key, token, holder, reply, expires) VALUES (?, ?, ?, NULL, ?)"
_FINISH = """
    INSERT INTO event AS old (key, token, holder, reply, expires) VALUES (?, ?, '', ?, ?)
    ON CONFLICT (key) DO UPDATE SET token = excluded.token, reply = excluded.reply, expires = excluded.expires
    WHERE old.token = excluded.token OR old.expires <= ?"""
_EXTEND = "UPDATE event SET expires = ? WHERE key = ? AND token = ? AND reply IS NULL"
_RELEASE = "DELETE FROM event WHERE key = ? AND token = ? AND reply IS NULL"
_SWEEP = "DELETE FROM event WHERE rowid IN (SELECT rowid FROM event WHERE expires <= ? LIMIT ?)"


class SqliteStore:
    """folder: made with mode 0700 where it is missing. clock: seconds since 1970; processes compare theirs."""

    name = "sqlite"

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time, me: Holder | None = None) -> None:
        self.path = folder / FILE
        self._clock = clock
        self._me = me or this_process()
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    def open(self) -> None:
        """Raises UponError where the file can't be made or is no database of ours."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            self._connection = self._connect()
        except (OSError, sqlite3.Error) as error:
            raise UponError(
                f"idempotency needs the file {str(self.path)!r}, which can't be used: {error}; name a folder on a"
                " local disk in run.stateDir, or remove a damaged file"
            ) from error

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreUnavailable(f"{self.path} is closed")
        connection = sqlite3.connect(self.path, timeout=DEADLINE / 2, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")  # no fsync while the file's lock is held
            for statement in _SCHEMA:
                connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        return connection

    def begin(self, keys: Sequence[str], token: str, lease: float) -> list[Begun]:
        with self._writing() as connection:
            now = self._clock()
            return [self._begin(connection, key, token, now, lease) for key in keys]

    def _begin(self, connection: sqlite3.Connection, key: str, token: str, now: float, lease: float) -> Begun:
        row = connection.execute(_LOOK, (key, now)).fetchone()
        if row is not None:
            held_by, holder, reply, expires = row
            if reply is not None:
                return Finished(reply)
            if held_by != token and not is_gone(holder, self._me):
                return Held(expires - now)
        connection.execute(_MARK, (key, token, str(self._me), now + lease))
        return FRESH

    def finish(self, replies: Mapping[str, bytes], token: str, ttl: float) -> set[str]:
        with self._writing() as connection:
            now = self._clock()
            rows = {key: (key, token, reply, now + ttl, now) for key, reply in replies.items()}
            return {key for key, row in rows.items() if connection.execute(_FINISH, row).rowcount == 1}

    def release(self, keys: Sequence[str], token: str) -> None:
        with self._writing() as connection:
            connection.executemany(_RELEASE, [(key, token) for key in keys])

    def extend(self, keys: Sequence[str], token: str, lease: float) -> set[str]:
        with self._writing() as connection:
            expires = self._clock() + lease
            return {key for key in keys if connection.execute(_EXTEND, (expires, key, token)).rowcount == 1}

    def sweep(self, limit: int) -> int:
        with self._writing() as connection:
            return int(connection.execute(_SWEEP, (self._clock(), limit)).rowcount)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that holds the file from its begin, so that what it reads stays true."""
        if not self._lock.acquire(timeout=DEADLINE / 2):
            raise StoreUnavailable(f"{self.path}: other acts take longer than {DEADLINE / 2:g} s")
        try:
            connection = self._connection = self._connection or self._connect()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:  # locked by another process, disk full, disk gone
            self._disconnect()
            raise StoreUnavailable(f"{self.path}: {error}") from error
        finally:
            self._lock.release()
