"""A process that fires schedules, for tests that kill and freeze it: `python cron_child.py '{"folder": ...}'`.

Its wall clock runs `speed` times as fast from `base` on (real seconds since the epoch), so that all of them agree. Each
handler writes two lines to `journal`: begin and end, with real times; a tick that is given up is a line as well.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from support.sinks import PoolSink
from upon import Event
from upon._triggers import CronTrigger
from upon_triggers import cron
from upon_triggers.cron import CronSource
from upon_triggers.firing_file import FileFirings


class Journal:
    """Lines appended whole, by many processes."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, what: str, **more: Any) -> None:
        line = json.dumps({"what": what, "pid": os.getpid(), "at": time.time(), **more})
        os.write(self._file, line.encode() + b"\n")


class GiveUps(logging.Handler):
    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        fields = getattr(record, "fields", None)
        if fields:
            self._journal.write("left", id=fields["event_id"], why=record.getMessage())


def main(given: dict[str, Any]) -> None:
    cron.LONGEST_SLEEP = 0.1  # the sources sleep in real time, and count in that of the clock below
    journal = Journal(given["journal"])
    logging.getLogger("upon.cron").addHandler(GiveUps(journal))
    base, speed = given["base"], given["speed"]
    began = datetime(2025, 1, 1, tzinfo=UTC)

    def clock() -> datetime:
        return began + timedelta(seconds=(time.time() - base) * speed)

    def handle(event: Event[Any]) -> None:
        assert event.time is not None
        function = (event.source or "").rpartition("-")[2]
        mark = {"id": event.id, "function": function, "tick": event.time.timestamp()}
        journal.write("begin", late=(clock() - event.time).total_seconds(), **mark)
        time.sleep(given["work"])
        journal.write("end", **mark)

    sink = PoolSink(handle, threads=len(given["schedules"]))
    store = FileFirings(Path(given["folder"]))
    sources = [
        CronSource(
            CronTrigger(schedule, overlap="allow", catch_up=given["catch_up"]),
            f"f{number}",
            sink,
            service="demo",
            store=store,
            lease=given["lease"],
            clock=clock,
        )
        for number, schedule in enumerate(given["schedules"])
    ]
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    for source in sources:
        source.start()
    journal.write("started")
    stopped.wait()
    for source in sources:
        source.pause()
    for source in sources:
        source.stop(5)
    sink.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
