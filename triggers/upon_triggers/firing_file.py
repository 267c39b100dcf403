"""What schedules fired last, in one SQLite file that the processes of a machine share."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from upon_triggers.firing import Firing, FiringError, Version

FILE = "cron.sqlite"
BUSY = 2.0  # seconds to wait for another process's write
_FORGET = "remove the file, and what was fired last is forgotten"
_TABLE = "CREATE TABLE IF NOT EXISTS firing (schedule TEXT PRIMARY KEY, version INTEGER NOT NULL, record TEXT NOT NULL)"


class FileFirings:
    """A store in `folder`, which is made with mode 0700 where it is missing.

    Power loss may undo the last writes, the end of a process never does.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._users = 0

    def open(self) -> None:
        """For one more user, each of whom closes it."""
        with self._lock, self._told():
            if self._connection is None:
                self._connection = self._connect()
            self._users += 1

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None, check_same_thread=False)
        try:
            # A process that is frozen while it holds the file's lock stops all others: without fsync, and with a log
            # to append to, it holds the lock for microseconds.
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(_TABLE)
            self._inode = self.path.stat().st_ino
        except BaseException:
            connection.close()
            raise
        return connection

    def read(self, schedule: str) -> tuple[Firing, Version] | None:
        with self._lock, self._told():
            query = "SELECT record, version FROM firing WHERE schedule = ?"
            row = self._opened().execute(query, (schedule,)).fetchone()
        if row is None:
            return None
        try:
            return Firing.load(row[0]), str(row[1])
        except FiringError as error:
            raise FiringError(f"{self.path}: {error}: {_FORGET}") from None

    def write(self, schedule: str, firing: Firing, version: Version | None) -> Version | None:
        with self._lock, self._told():
            if version is None:
                statement = "INSERT OR IGNORE INTO firing (record, schedule, version) VALUES (?, ?, 1)"
                done = self._opened().execute(statement, (firing.dump(), schedule))
            else:
                statement = "UPDATE firing SET record = ?, version = version + 1 WHERE schedule = ? AND version = ?"
                done = self._opened().execute(statement, (firing.dump(), schedule, int(version)))
        return str(1 if version is None else int(version) + 1) if done.rowcount == 1 else None

    def close(self) -> None:
        with self._lock:
            self._users = max(self._users - 1, 0)
            if self._connection is not None and self._users == 0:
                self._connection.close()
                self._connection = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise FiringError(f"{self.path} is not open")
        if not self._is_there():  # others would go on with a new file, and this process with one that nobody sees
            self._connection.close()
            self._connection = self._connect()
        return self._connection

    def _is_there(self) -> bool:
        try:
            return self.path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error) or "malformed" in str(error):
                remedy = f"it is damaged: {_FORGET}"
            else:
                remedy = f"let this user write to {self.path.parent}, or name another folder in run.stateDir"
            raise FiringError(f"{self.path} can't keep what schedules fired last ({error}): {remedy}") from None
        except OSError as error:
            raise FiringError(
                f"the folder {self.path.parent} can't be made ({error.strerror}): name one in run.stateDir that this"
                " user can write to"
            ) from None
