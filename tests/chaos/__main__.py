"""`python -m chaos --events N --kills K`: loses nothing, or says what it lost. The same seed does the same again."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from chaos.plan import Plan
from chaos.report import summary
from chaos.run import run
from support.kafka import KafkaUnavailable


def main() -> int:
    given = _arguments()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(10**6)
    plan = Plan(seed, given.events, given.kills, given.members, given.partitions, given.mode, given.max_in_flight)
    began = time.monotonic()
    print(f"chaos: --seed {seed} --events {plan.events} --kills {plan.kills} --mode {plan.mode}", flush=True)

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f}] {text}", flush=True)

    folder = Path(tempfile.mkdtemp(prefix="upon-chaos-"))
    try:
        result = run(plan, folder, say)
    except KafkaUnavailable as error:
        print(error, file=sys.stderr)
        return 2
    print(summary(result))
    if given.json:
        Path(given.json).parent.mkdir(parents=True, exist_ok=True)
        Path(given.json).write_text(json.dumps(result.as_json(), indent=1) + "\n")
    if result.passed and not given.keep:
        shutil.rmtree(folder)
    else:
        print(f"logs: {folder}")
    return 0 if result.passed else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=20, help="kill -9 of members and the broker")
    parser.add_argument("--seed", type=int, help="by default another one each time")
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--mode", choices=("direct", "host"), default="direct")
    parser.add_argument("--max-in-flight", type=int, default=1000)
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument("--keep", action="store_true", help="keep the logs of a run that passed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
