"""What becomes of an event, from its number alone: the functions under test and their judge read this one file."""

from __future__ import annotations

import zlib

RETRY = 2  # delivery.retry: tries after the first
SLOW = 0.02  # seconds
VERY_SLOW = 1.0

# Of 10,000 events; the others are handled at once.
FATES = {"slow": 100, "very slow": 3, "flaky": 100, "later": 50, "rejected": 50, "broken": 30}


def fate(seed: int, function: str, number: int) -> str:
    draw = zlib.crc32(f"{seed}/{function}/{number}".encode()) % 10_000
    for name, share in FATES.items():
        draw -= share
        if draw < 0:
            return name
    return "fine"


def said(destiny: str, attempt: int) -> str:
    """What the function answers at this try: done, error, retry or reject."""
    if destiny == "rejected":
        return "reject"
    if destiny == "broken" or (destiny == "flaky" and attempt == 1):
        return "error"
    return "retry" if destiny == "later" and attempt == 1 else "done"


def is_last(answer: str, attempt: int) -> bool:
    """Whether the event is finished by this answer: handled, or on its way to the dead letter."""
    return answer in ("done", "reject") or attempt > RETRY
