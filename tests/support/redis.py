"""A real Redis for tests: the machine's own redis-server, or Debian's, fetched once and not installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from support.servers import Server, Unavailable, accepts, free_port, libraries, unpacked


class RealRedis(Server):
    """In memory only: a stop forgets everything. more: further arguments."""

    def __init__(self, folder: Path, *more: str) -> None:
        program, env = _program()
        self.port = free_port()
        listen = ("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(folder))
        command = [program, *listen, "--save", "", "--appendonly", "no", *more]
        super().__init__(command, lambda: accepts(self.port), folder=folder, env=env)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


def _program() -> tuple[str, Mapping[str, str]]:
    found = shutil.which("redis-server")
    if found is not None:
        return found, os.environ
    root = unpacked("redis-server")
    return str(root / "usr/bin/redis-server"), libraries(root)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRedis]:
    """A Redis that all tests share; one that stops it brings it back."""
    try:
        server = RealRedis(tmp_path_factory.mktemp("redis"))
    except Unavailable as error:
        pytest.skip(str(error))
    server.start()
    yield server
    server.stop()
