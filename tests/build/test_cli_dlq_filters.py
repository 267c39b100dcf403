"""`func dlq`'s options as values: times, places, rates, filters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from upon_build.cli.dlq_filters import filter_from, moment, rate
from upon_build.cli.exits import Exit, Fault

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
NOTHING: dict[str, Any] = {
    "functions": (), "kinds": (), "keys": (), "since": None, "until": None,
    "partition": None, "offset": None, "ids": (), "error": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", NOW - timedelta(hours=2)),
        ("1d12h", NOW - timedelta(hours=36)),
        ("1.5m", NOW - timedelta(seconds=90)),
        ("2026-01-30T00:00:00Z", datetime(2026, 1, 30, tzinfo=UTC)),
        ("2026-01-30T01:00:00+01:00", datetime(2026, 1, 30, tzinfo=UTC)),
        ("2026-01-30", datetime(2026, 1, 30).astimezone(UTC)),
    ],
)
def test_times(text: str, expected: datetime) -> None:
    assert expected == moment("--since", text, NOW)


@pytest.mark.parametrize("text", ["", "yesterday", "2", "2x", "2026-02-30", "99999999999w", "-2h"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(Fault, match=r"--since .* is no time: write how long ago") as caught:
        moment("--since", text, NOW)
    assert Exit.USAGE == caught.value.exit_code


@pytest.mark.parametrize(("text", "expected"), [("100", 100.0), ("2.5/s", 2.5), ("30/m", 0.5), ("0", 0.0)])
def test_rates(text: str, expected: float) -> None:
    assert expected == rate(text)


@pytest.mark.parametrize("text", ["", "fast", "-1", "1/d", "1/s/s"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(Fault, match=r"--rate .* is no rate"):
        rate(text)


def test_places() -> None:
    found = filter_from(NOW, {**NOTHING, "ids": ("0/12", "3/4"), "partition": 1, "offset": 7})
    assert {(0, 12), (3, 4), (1, 7)} == found.ids


def test_all_of_it() -> None:
    given = {**NOTHING, "functions": ("f",), "kinds": ("crashed", "error"), "keys": ("ä",), "since": "2h", "error": "x"}
    rest = {"limit": 3}
    found = filter_from(NOW, given | rest)
    assert ({"f"}, {"crashed", "error"}, {"ä".encode()}, NOW - timedelta(hours=2), None, "x") == (
        found.functions, found.kinds, found.keys, found.since, found.until, found.error
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kinds": ("eror",)}, "--kind 'eror' is no outcome: did you mean 'error'?"),
        ({"offset": 3}, "--offset 3 says nothing without --partition"),
        ({"ids": ("12",)}, "--id '12' is no place: write PARTITION/OFFSET"),
    ],
)
def test_what_can_not_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(Fault) as caught:
        filter_from(NOW, {**NOTHING, **given})
    assert message in caught.value.message
    assert Exit.USAGE == caught.value.exit_code
