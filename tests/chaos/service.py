"""The functions under test. Each writes what it does to a log, in one append, before it returns: kill -9 can't lie.

Copied into the project that the members run. A line begins with a line feed of its own, so that one that was cut
by kill -9 spoils no other, and ends with a full stop, so that it is recognised.
"""

from __future__ import annotations

import os
import time
from typing import Any

import behaviour

import upon
from upon import Event

SEED = int(os.environ.get("CHAOS_SEED", "0"))
FOLDER = os.environ.get("CHAOS_JOURNALS", ".")
PID = os.getpid()


class Journal:
    """The log of one function, shared by all processes."""

    def __init__(self, function: str) -> None:
        self.function = function
        self._file = os.open(f"{FOLDER}/{function}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def decide(self, event: Event[Any]) -> tuple[str, bytes]:
        """The answer to this event, and its line."""
        number, attempt = event.data["n"], event.attempt
        destiny = behaviour.fate(SEED, self.function, number)
        if destiny in ("slow", "very slow"):
            time.sleep(behaviour.SLOW if destiny == "slow" else behaviour.VERY_SLOW)
        answer = behaviour.said(destiny, attempt)
        line = f"\n{number} {attempt} {answer} {PID} {event.id} {time.monotonic_ns()} .\n"
        return answer, line.encode()

    def write(self, lines: bytes) -> None:
        os.write(self._file, lines)

    def handle(self, event: Event[Any]) -> None:
        answer, line = self.decide(event)
        self.write(line)
        if answer != "done":
            raise failure(answer)


def failure(answer: str) -> Exception:
    if answer == "reject":
        return upon.Reject("by its number")
    return upon.Retry(after=0.05) if answer == "retry" else ValueError("by its number")


partition, key, unordered, batch = map(Journal, ("partition", "key", "unordered", "batch"))


@upon.kafka("chaos.partition", ordering="partition")
def in_partition(event: Event[Any]) -> None:
    partition.handle(event)


@upon.kafka("chaos.key", ordering="key")
def by_key(event: Event[Any]) -> None:
    key.handle(event)


@upon.kafka("chaos.unordered", ordering="unordered", reply_to="chaos.replies")
def without_order(event: Event[Any]) -> dict[str, int]:
    unordered.handle(event)
    return {"n": event.data["n"]}


@upon.batched(max_size=50)
@upon.kafka("chaos.batch")
def in_batches(events: list[Event[Any]]) -> list[Exception | None]:
    decided = [batch.decide(event) for event in events]
    batch.write(b"".join(line for _, line in decided))
    return [None if answer == "done" else failure(answer) for answer, _ in decided]
