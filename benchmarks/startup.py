"""What starting costs: `import upon` and `func --help`, over a Python that does nothing. Interleaved; medians count."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import bench

ROUNDS = 21
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import upon": [sys.executable, "-c", "import upon"],
    "func --help": [str(Path(sys.executable).parent / "func"), "--help"],
}

# Installed packages have their bytecode; a variable that keeps Python from writing it would time the compiler.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def milliseconds(command: list[str]) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60, env=ENVIRONMENT)
    return (time.perf_counter() - begin) * 1e3


def main() -> None:
    machine = bench.machine()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for command in COMMANDS.values():  # once, so that bytecode and disk caches are warm
        milliseconds(command)
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            times[name].append(milliseconds(command))
    medians = {name: round(statistics.median(all_times), 1) for name, all_times in times.items()}
    bare = medians["python -c pass"]
    over = {name: round(median - bare, 1) for name, median in medians.items()}
    print(f"medians of {ROUNDS}, ms: {medians}; over bare Python: {over}")
    result = {
        "machine": machine,
        "versions": bench.versions(sys.executable, "upon"),
        "median_ms": medians,
        "over_bare_ms": over,
        "rounds_ms": times,
    }
    bench.save("startup", result, medians, "Milliseconds", "Time to start, warm caches")


if __name__ == "__main__":
    main()
