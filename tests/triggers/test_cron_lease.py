"""Schedules' records in Leases: what the API server is asked, and what is said where it fails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.leases import LeaseServer, lease_server
from upon_triggers.firing import Firing, FiringError
from upon_triggers.firing_lease import RECORD, lease_name

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
FIRST = Firing("a", 12.5, NOON)
KEY = "reviews/replay/cron 0 3 * * * Europe/Berlin"


@pytest.fixture
def double(tmp_path: Path) -> Iterator[LeaseServer]:
    with lease_server(tmp_path) as server:
        yield server


def test_a_lease_says_who_fires_to_everybody(double: LeaseServer) -> None:
    store = double.store(clock=lambda: NOON)
    store.open()
    store.write(KEY, FIRST, None)
    (lease,) = double.leases.values()
    assert lease_name(KEY) == lease["metadata"]["name"]
    assert {"app.kubernetes.io/name": "demo"} == lease["metadata"]["labels"]
    assert FIRST.dump() == lease["metadata"]["annotations"][RECORD]
    expected = {"holderIdentity": "a", "leaseDurationSeconds": 13, "renewTime": "2025-01-01T12:00:00.000000Z"}
    assert expected == lease["spec"]


@pytest.mark.parametrize(
    ("schedule", "readable"),
    [
        (KEY, "reviews-replay"),
        ("s", "s"),
        ("a-service/A_Function/cron * * * * *", "a-service-a-function"),
        (f"{'s' * 63}/{'f' * 63}/x", "s" * 50),
    ],
)
def test_names_of_leases(schedule: str, readable: str) -> None:
    name = lease_name(schedule)
    assert readable == name[:-11]
    assert len(name) <= 63


def test_two_schedules_of_a_function_have_two_leases() -> None:
    assert lease_name(KEY) != lease_name(KEY.replace("3", "4"))


def test_a_token_that_was_replaced_is_read_again(double: LeaseServer) -> None:
    store = double.store()
    store.open()
    version = store.write(KEY, FIRST, None)
    double.rotate("second")
    assert (FIRST, version) == store.read(KEY)


def test_without_the_rights_it_does_not_open(double: LeaseServer) -> None:
    double.token = "another"
    with pytest.raises(FiringError, match="refuses to get Leases in the namespace 'ml': Unauthorized: give the pod"):
        double.store().open()


def test_outside_of_a_pod(tmp_path: Path, double: LeaseServer) -> None:
    (tmp_path / "token").unlink()
    (tmp_path / "namespace").unlink()
    with pytest.raises(FiringError, match="holds no service account"):
        double.store().open()


@pytest.mark.parametrize("fault", [500, 429, 404, "cut", "hang"])
def test_failures_are_told_and_change_nothing(double: LeaseServer, fault: int | str) -> None:
    store = double.store(timeout=0.3)
    store.open()
    version = store.write(KEY, FIRST, None)
    double.fault = fault
    with pytest.raises(FiringError, match="the API server"):
        store.write(KEY, Firing("b", 12.0, NOON), version)
    double.fault = None
    assert (FIRST, version) == store.read(KEY)


def test_a_lease_of_somebody_else_is_not_taken(double: LeaseServer) -> None:
    store = double.store()
    store.open()
    store.write(KEY, FIRST, None)
    del double.leases[lease_name(KEY)]["metadata"]["annotations"]
    with pytest.raises(FiringError, match=r"is no schedule's record .*: delete it"):
        store.read(KEY)


def test_no_token_in_an_error(double: LeaseServer) -> None:
    double.fault = 403
    with pytest.raises(FiringError) as caught:
        double.store().open()
    assert "first" not in str(caught.value)
