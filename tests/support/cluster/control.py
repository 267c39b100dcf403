"""How tests tell a running cluster what is to go wrong: one line of JSON each way, over a socket in its folder."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

NAME = "control"
TIMEOUT = 180.0  # an API server on a loaded machine takes its time to come back


class Refused(Exception):
    """The cluster could not do what it was told."""


def tell(folder: Path, *words: str) -> None:
    """Returns once it is done. Raises Refused, OSError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(str(folder / NAME))
        connection.sendall(json.dumps(words).encode() + b"\n")
        with connection.makefile() as answer:
            said = answer.readline()
    if json.loads(said or "null") != "":
        raise Refused(f"{' '.join(words)}: {said.strip() or 'no answer'}")


def listen(folder: Path, obey: Callable[[Sequence[str]], None]) -> None:
    """In a thread of its own, one after the other."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / NAME))
    server.listen()
    threading.Thread(target=_serve, args=(server, obey), name="control", daemon=True).start()


def _serve(server: socket.socket, obey: Callable[[Sequence[str]], None]) -> None:
    while True:
        connection, _ = server.accept()
        with connection, connection.makefile("rw") as lines:
            try:
                obey(json.loads(lines.readline()))
                answer = ""
            except Exception as error:
                answer = f"{type(error).__name__}: {error}"
            print(json.dumps(answer), file=lines)
