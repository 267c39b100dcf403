from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest

import upon
from upon import Done, Event, Failed, UponError, UsageError
from upon.testing import Client

times: list[datetime | None] = []


@upon.cron("0 * * * *", timezone="Europe/Berlin", reply_to="refreshed")
def refresh(event: Event) -> dict[str, Any]:
    times.append(event.time)
    return {"at": event.time}


@pytest.fixture(autouse=True)
def forget() -> None:
    times.clear()


def test_tick_fires_for_any_time_and_returns_the_outcome() -> None:
    at = datetime(2030, 1, 1, 3, 5, tzinfo=UTC)
    with Client(refresh) as client:
        outcome = client.tick("refresh", at=at)
        assert isinstance(outcome, Done)
        assert [at] == times
        assert ["2030-01-01T03:05:00Z"] == [
            r.data["at"].replace("+00:00", "Z") for r in client.kafka.records("refreshed")
        ]


def test_tick_reads_a_naive_time_in_the_timezone_of_the_schedule_and_defaults_to_now() -> None:
    with Client(refresh) as client:
        client.tick("refresh", at=datetime(2030, 7, 1, 3, 0))
        client.tick("refresh")
        assert [datetime(2030, 7, 1, 1, 0, tzinfo=UTC), client.now] == times


def test_ticks_come_as_time_goes_on() -> None:
    with Client(refresh, at=datetime(2025, 3, 29, 23, 30, tzinfo=UTC)) as client:
        client.advance(4 * 3600)
        assert ["00:00", "01:00", "02:00", "03:00"] == [t.strftime("%H:%M") for t in times if t]
        assert 4 == len(client.kafka.records("refreshed"))


def test_jitter_holds_on_the_clients_clock() -> None:
    fired: list[tuple[datetime, datetime | None]] = []

    @upon.cron("0 * * * *", jitter=3000)
    def late(event: Event) -> None:
        fired.append((client.now, event.time))

    with Client(late, at=datetime(2025, 1, 1, 0, 30, tzinfo=UTC)) as client:
        client.advance(6 * 3600)
    assert [1, 2, 3, 4, 5] == [time.hour for _, time in fired if time and time.minute == 0][:5]
    delays = {(now - time).total_seconds() for now, time in fired if time}
    assert len(fired) == len(delays)
    assert all(0 <= delay <= 3000 for delay in delays)


def test_two_clients_do_not_share_what_was_fired() -> None:
    at = datetime(2025, 1, 1, 0, 30, tzinfo=UTC)
    for _ in range(2):
        with Client(refresh, at=at) as client:
            client.advance(3600)
    assert [datetime(2025, 1, 1, 1, 0, tzinfo=UTC)] * 2 == times


def test_a_failed_tick_is_tried_again_on_the_clients_clock() -> None:
    attempts: list[int] = []

    @upon.cron("0 3 * * *")
    @upon.options(retry=2)
    def fails(event: Event) -> None:
        attempts.append(event.attempt)
        raise ValueError("no")

    began = time.monotonic()
    with Client(fails) as client:
        outcome = client.tick("fails")
        assert isinstance(outcome, Failed)
        assert ("error", [1]) == (outcome.kind, attempts)
        client.advance(60)
        assert [1, 2, 3] == attempts
    assert time.monotonic() - began < 10


def test_a_tick_that_overlap_forbids_is_told() -> None:
    @upon.cron("0 3 * * *")
    def fails() -> None:
        raise ValueError("no")

    with Client(fails) as client:
        client.tick("fails")  # waits for its retry from here on
        with pytest.raises(UponError, match="the tick of fails was skipped"):
            client.tick("fails")


def test_a_tick_that_hangs() -> None:
    release = threading.Event()

    @upon.cron("0 3 * * *")
    def hangs() -> None:
        release.wait(20)

    with Client(hangs) as client:
        with pytest.raises(TimeoutError, match="hangs still handles event"):
            client.tick("hangs", timeout=0.2)
        release.set()
        client.settle()


def test_which_schedule_is_meant() -> None:
    @upon.cron("0 3 * * *")
    @upon.cron("0 15 * * *")
    def twice(event: Event) -> None:
        times.append(event.time)

    with Client(twice, refresh) as client:
        with pytest.raises(
            UsageError, match=r"fits 2 cron triggers: its schedules are '0 15 \* \* \*', '0 3 \* \* \*'"
        ):
            client.tick("twice")
        with pytest.raises(UsageError, match=r"fits 0 cron triggers: it has no @upon.cron"):
            client.tick("other")
        client.tick("twice", schedule="0 15 * * *")
        assert 1 == len(times)
