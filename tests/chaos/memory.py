"""`python -m chaos.memory --events N`: one process' memory while it handles N records, which must stay as it is."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from chaos.plan import Plan
from chaos.run import SETTLE, Run, broker_with_topics
from chaos.writer import Writer

EVERY = 1.0  # seconds
GROWTH = 16.0  # MiB that the last quarter may have over the second: less than 22 bytes a record in a million
LEAST = 12  # samples, so that quarters mean something


class Sample(NamedTuple):
    """events: done with so far. mebibytes: resident."""

    events: int
    mebibytes: float


def resident(pid: int) -> float:
    """MiB of physical memory."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def growth(samples: Sequence[Sample]) -> float:
    """MiB between the second quarter and the last, by their medians. The first quarter is the warm-up."""
    quarter = len(samples) // 4
    second, last = samples[quarter : 2 * quarter], samples[-quarter:]
    return statistics.median(s.mebibytes for s in last) - statistics.median(s.mebibytes for s in second)


def slope(samples: Sequence[Sample]) -> float:
    """MiB per million events after the first quarter, by least squares."""
    warm = samples[len(samples) // 4 :]
    return statistics.linear_regression([s.events for s in warm], [s.mebibytes for s in warm]).slope * 1e6


def measure(plan: Plan, folder: Path) -> list[Sample]:
    """Samples of the only member, until every event is done with. Raises TimeoutError."""
    samples: list[Sample] = []
    with broker_with_topics(folder / "kafka", plan) as kafka:
        this = Run(plan, folder, kafka, print)
        try:
            this.start_members()
            this.until(this.is_shared_out, SETTLE, "the member has all partitions")
            member = this.members[0]
            writer = Writer(kafka.bootstrap, plan, lambda: this.settled)
            writer.start()
            due = 0.0

            def is_over() -> bool:
                nonlocal due
                if time.monotonic() >= due and member.pid is not None:
                    due = time.monotonic() + EVERY
                    samples.append(Sample(this.settled, round(resident(member.pid), 1)))
                    if len(samples) % 15 == 0:
                        print(f"{this.settled} of {plan.events} events, {samples[-1].mebibytes} MiB", flush=True)
                return this.settled == plan.events

            try:
                this.until(is_over, plan.deadline, f"{plan.events} events are done with")
            finally:
                writer.stop()
            if member.told["could not start"] or member.troubles:
                raise TimeoutError(f"the member did not live through it: {member.last_words}")
        finally:
            this.end()
    return samples


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos.memory", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", metavar="FILE")
    given = parser.parse_args()
    plan = Plan(given.seed, given.events, kills=0, members=1)
    folder = Path(tempfile.mkdtemp(prefix="upon-memory-"))
    began = time.monotonic()
    samples = measure(plan, folder)
    shutil.rmtree(folder)
    if len(samples) < LEAST:
        print(f"only {len(samples)} samples: take more events", file=sys.stderr)
        return 2
    rate = plan.events / (time.monotonic() - began)
    figures = {"growthMiB": round(growth(samples), 1), "slopeMiBPerMillion": round(slope(samples), 1)}
    print(f"{plan.events} events, {rate:.0f}/s: {samples[0].mebibytes} MiB at first, {samples[-1].mebibytes} at last")
    print(f"from the second quarter to the last {figures['growthMiB']} MiB (at most {GROWTH:g}),", end=" ")
    print(f"{figures['slopeMiBPerMillion']} MiB per million events")
    if given.json:
        Path(given.json).parent.mkdir(parents=True, exist_ok=True)
        Path(given.json).write_text(json.dumps({**figures, "samples": samples}) + "\n")
    passed = growth(samples) <= GROWTH
    print("PASSED: memory is flat" if passed else "FAILED: memory grows")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
