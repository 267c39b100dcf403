"""Run one command and write what it took to a file, as JSON.

    python benchmarks/measure.py RESULT COMMAND...

A process of its own: Linux counts the memory of whoever starts a command as the command's largest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time


def main(result: str, *command: str) -> int:
    began = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = {
        "wall_s": time.monotonic() - began,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "rss_mib": usage.ru_maxrss / 1024,
    }
    with open(result, "w") as file:
        json.dump(took, file)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
