"""A real PostgreSQL for tests: the machine's own programs, or Debian's, fetched once and not installed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from support.servers import Server, Unavailable, free_port, libraries, unpacked

INSTALLED = Path("/usr/lib/postgresql")


class RealPostgresql(Server):
    """One cluster with one user, `postgres`, whom it trusts; PostgreSQL does not run as root, so `nobody` runs it."""

    def __init__(self, folder: Path) -> None:
        user = "nobody" if os.geteuid() == 0 else None
        programs, env = _programs(folder)
        self.port = free_port()
        self._check = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.port), "-t", "1"]
        data = folder / "data"
        if user is not None:
            shutil.chown(folder, user, "nogroup")
        initdb = [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"]
        as_user = {} if user is None else {"user": user, "group": "nogroup", "extra_groups": []}
        subprocess.run(initdb, check=True, capture_output=True, timeout=120, env=env, cwd=folder, **as_user)
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(programs / "postgres"), "-D", str(data), *options]
        super().__init__(command, self._answers_now, folder=folder, env=env, user=user)

    def _answers_now(self) -> bool:
        return subprocess.run(self._check, env=self._env, capture_output=True, timeout=30).returncode == 0

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def pause(self) -> None:
        """Its children, one a connection, are frozen too."""
        super().pause()
        for child in self._children():
            os.kill(child, signal.SIGSTOP)

    def resume(self) -> None:
        for child in self._children():
            os.kill(child, signal.SIGCONT)
        super().resume()

    def _children(self) -> list[int]:
        assert self._process is not None
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # ended meanwhile
                parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        return [child for child, parent in parents.items() if parent == self._process.pid]

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Fast: connections are cut."""
        super().stop(number)


def _programs(folder: Path) -> tuple[Path, Mapping[str, str]]:
    found = sorted(INSTALLED.glob("*/bin/initdb"))
    if found:
        return found[-1].parent, {**os.environ, "LC_ALL": "C.UTF-8"}
    root = folder / "programs"
    shutil.copytree(unpacked("postgresql"), root, symlinks=True)  # nobody may not look into root's home
    return next(iter(root.glob("usr/lib/postgresql/*/bin"))), libraries(root)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[RealPostgresql]:
    """A PostgreSQL that all tests share; one that stops it brings it back."""
    with tempfile.TemporaryDirectory(prefix="upon-postgresql-") as folder:  # pytest's own is closed to others
        try:
            server = RealPostgresql(Path(folder))
        except Unavailable as error:
            pytest.skip(str(error))
        server.start()
        yield server
        server.stop()
