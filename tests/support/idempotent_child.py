"""A service in a process of its own that handles one event again and again until it is done.

`python -m support.idempotent_child STORE JOURNAL SECONDS`: STORE is a folder for SQLite or a URL. The handler takes
SECONDS; each begin and end of it is a line in the file JOURNAL, with the process and the time.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from pathlib import Path

from support.handled import idempotent
from upon import Done, Event
from upon_runtime.idempotency import guard, keeper
from upon_runtime.service import Service
from upon_runtime.spec import Idempotency

EVENT = Event.of({"n": 1}, id="a", source="/orders")
TIMEOUT, MARGIN, EVERY = 2.0, 1.0, 0.2  # seconds: a lease is the first two


def main(where: str, journal: str, seconds: float) -> None:
    guard.MARGIN, keeper.EVERY = MARGIN, EVERY  # type: ignore[misc]

    def handle(event: Event) -> dict[str, int]:
        note(journal, "begin")
        time.sleep(seconds)
        note(journal, "end")
        return {"process": os.getpid()}

    spec = idempotent(handle, timeout=TIMEOUT)
    if "://" in where:
        kind = "redis" if where.startswith("redis") else "postgresql"
        spec = dataclasses.replace(spec, idempotency=Idempotency(kind, where))  # type: ignore[arg-type]
    else:
        spec = dataclasses.replace(spec, state_dir=Path(where))
    service = Service(spec)
    service.open()
    while not isinstance(outcome := service.dispatcher.deliver(EVENT), Done):
        time.sleep(0.05)
    service.close(5)
    assert isinstance(outcome.reply, Event)
    print(type(outcome).__name__, outcome.reply.data["process"], flush=True)


def note(journal: str, what: str) -> None:
    """One write of one line, which no other process gets in between."""
    with open(journal, "a") as file:
        file.write(f"{what} {os.getpid()} {time.time()}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
