"""The options by which `func dlq` picks letters, and the times and places they take."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from upon_build.cli.exits import Exit, Fault

if TYPE_CHECKING:
    from upon_triggers.kafka.letter import Filter

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+")
_PLACE = re.compile(r"(\d{1,10})/(\d{1,19})")
_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/([smh]))?")


def filter_options(function: F) -> F:
    """--function to --error; the command gets them as keywords for `filter_from`."""
    for option in (
        click.option("--error", metavar="TEXT", help="Only letters whose error holds this text, in any case."),
        click.option(
            "--id", "ids", multiple=True, metavar="P/O", help="Only this letter, as `show` names it; repeat it."
        ),
        click.option("--offset", type=click.IntRange(min=0), metavar="N", help="Only this offset, with --partition."),
        click.option("--partition", type=click.IntRange(min=0), metavar="N", help="Only this partition."),
        click.option("--until", metavar="TIME", help="Only what was given up before; the same forms."),
        click.option("--since", metavar="TIME", help="Only what was given up since: 2h, 1d12h, or RFC 3339."),
        click.option("--key", "keys", multiple=True, metavar="KEY", help="Only records with this key; repeat it."),
        click.option(
            "--kind", "kinds", multiple=True, metavar="KIND", help="Only this outcome, as rejected; repeat it."
        ),
        click.option("--function", "functions", multiple=True, metavar="NAME", help="Only this function's; repeat it."),
    ):
        function = option(function)
    return function


def filter_from(now: datetime, given: dict[str, Any]) -> Filter:
    """The filter that the options say; takes them out of `given`. Raises Fault for what can't be."""
    from upon._outcome import KINDS
    from upon_build.project.problems import did_you_mean
    from upon_triggers.kafka.letter import Filter

    kinds, offset, partition = given.pop("kinds"), given.pop("offset"), given.pop("partition")
    for kind in kinds:
        if kind not in KINDS:
            raise Fault(f"--kind {kind!r} is no outcome: {did_you_mean(kind, KINDS)}", Exit.USAGE)
    if offset is not None and partition is None:
        raise Fault(f"--offset {offset} says nothing without --partition: add it, or use --id", Exit.USAGE)
    ids = {_place(text) for text in given.pop("ids")}
    since, until = given.pop("since"), given.pop("until")
    return Filter(
        functions=frozenset(given.pop("functions")),
        kinds=frozenset(kinds),
        keys=frozenset(key.encode() for key in given.pop("keys")),
        since=moment("--since", since, now) if since is not None else None,
        until=moment("--until", until, now) if until is not None else None,
        partition=partition,
        ids=frozenset(ids if offset is None else {*ids, (partition, offset)}),
        error=given.pop("error"),
    )


def moment(option: str, text: str, now: datetime) -> datetime:
    """`2h` is two hours before now; a time without a zone is this machine's. Raises Fault."""
    try:
        if _DURATION.fullmatch(text):
            parts = re.findall(r"(\d+(?:\.\d+)?)([smhdw])", text)
            return now - timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Fault(
            f"{option} {text!r} is no time: write how long ago, as 30m, 2h or 1d12h, or 2026-01-31T12:00:00Z",
            Exit.USAGE,
        ) from None


def rate(text: str) -> float:
    """Letters a second: `100`, `100/s`, `30/m`; 0 is no limit. Raises Fault."""
    found = _RATE.fullmatch(text)
    if found is None:
        raise Fault(f"--rate {text!r} is no rate: write 100/s, 30/m, or 0 for no limit", Exit.USAGE)
    return float(found[1]) / _UNITS[found[2] or "s"]


def _place(text: str) -> tuple[int, int]:
    found = _PLACE.fullmatch(text)
    if found is None:
        raise Fault(f"--id {text!r} is no place: write PARTITION/OFFSET, as `func dlq show` does", Exit.USAGE)
    return int(found[1]), int(found[2])
