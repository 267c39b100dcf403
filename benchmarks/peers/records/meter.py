"""Counts handled records in whichever process handles them, and writes one JSON file when there were enough."""

import json
import os
import threading
import time
from pathlib import Path

BOOTSTRAP, TOPIC, GROUP = (os.environ.get(name, "") for name in ("BOOTSTRAP", "TOPIC", "GROUP"))
VARIANT = os.environ.get("VARIANT", "")
COUNT = int(os.environ.get("COUNT", "0"))
WARM_UP = COUNT // 20  # records before the clock starts


def resident_kib() -> int:
    """RssAnon and the rest, as the kernel counts it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


class Meter:
    """done: COUNT records were handled after the first WARM_UP ones."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self._lock = threading.Lock()
        self._handled = 0
        self._began = (0, 0.0, 0.0)  # records, wall clock, CPU time
        self._early = 0

    def add(self, records: int) -> None:
        """From any thread."""
        with self._lock:
            before, self._handled = self._handled, self._handled + records
        if before < WARM_UP <= before + records:
            self._began = (before + records, time.perf_counter(), time.process_time())
        if before < WARM_UP + COUNT // 10 <= before + records:
            self._early = resident_kib()
        if before < WARM_UP + COUNT <= before + records:
            self._write(before + records)

    def _write(self, handled: int) -> None:
        first, wall, cpu = self._began
        records = handled - first
        result = {
            "records": records,
            "per_second": round(records / (time.perf_counter() - wall), 1),
            "cpu_us": round((time.process_time() - cpu) / records * 1e6, 2),
            "rss_mib_at_10_percent": round(self._early / 1024, 1),
            "rss_mib_at_100_percent": round(resident_kib() / 1024, 1),
        }
        part = Path(os.environ["RESULT"] + ".part")
        part.write_text(json.dumps(result))
        part.rename(os.environ["RESULT"])
        self.done.set()


meter = Meter()
