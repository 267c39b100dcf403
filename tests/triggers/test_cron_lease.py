"""Schedules' records in Leases: what the API server is asked, and what is said where it fails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support.leases import LeaseServer, lease_server
from upon_triggers.firing import Firing, FiringError
from upon_triggers.firing_lease import RECORD, SCHEDULE, LeaseFirings, lease_name

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


def opened(double: LeaseServer) -> LeaseFirings:
    store = double.store()
    store.open()
    return store


def deployed(double: LeaseServer, schedule: str = KEY) -> dict[str, Any]:
    """The Lease as `func deploy` makes it: without a record."""
    metadata = {"name": lease_name(schedule), "labels": {"team": "search"}, "annotations": {SCHEDULE: schedule}}
    return double.keep({"metadata": metadata})


def test_a_lease_of_a_deployment_is_filled_in(double: LeaseServer) -> None:
    deployed(double)
    store = opened(double)
    assert store.read(KEY) is None
    version = store.write(KEY, FIRST, None)
    assert (FIRST, version) == store.read(KEY)
    (lease,) = double.leases.values()
    assert {"team": "search"} == lease["metadata"]["labels"]  # what others say of it stays
    assert {SCHEDULE: KEY, RECORD: FIRST.dump()} == lease["metadata"]["annotations"]


def test_of_two_that_find_it_empty_one_is_first(double: LeaseServer) -> None:
    deployed(double)
    one, other = opened(double), opened(double)
    assert one.read(KEY) is None is other.read(KEY)
    assert one.write(KEY, FIRST, None) is not None
    assert other.write(KEY, Firing("b", 12.0, NOON), None) is None


def test_a_deployment_in_between_is_another_version(double: LeaseServer) -> None:
    store = opened(double)
    version = store.write(KEY, FIRST, None)
    (lease,) = double.leases.values()
    lease["metadata"]["labels"] = {"team": "other"}
    double.keep(lease)
    assert store.write(KEY, FIRST, version) is None
    found = store.read(KEY)
    assert found is not None
    assert store.write(KEY, FIRST, found[1]) is not None


def test_a_lease_that_is_removed_is_not_made_again_by_who_held_it(double: LeaseServer) -> None:
    store = opened(double)
    version = store.write(KEY, FIRST, None)
    double.leases.clear()
    assert store.write(KEY, FIRST, version) is None
    assert {} == double.leases


def test_a_lease_of_another_schedule_is_not_taken(double: LeaseServer) -> None:
    deployed(double)["metadata"]["annotations"][SCHEDULE] = "another"
    with pytest.raises(FiringError, match="is no schedule's record"):
        opened(double).read(KEY)


def test_who_answers_something_else_is_no_api_server(double: LeaseServer) -> None:
    double.fault = 200
    with pytest.raises(FiringError, match="is no API server: it sent no Lease"):
        double.store().open()


def test_without_the_right_to_make_one(double: LeaseServer) -> None:
    store = opened(double)
    double.forbidden = "POST"
    with pytest.raises(FiringError, match=r"refuses to create Leases .*: deploy again, which makes the Lease"):
        store.write(KEY, FIRST, None)


def test_a_token_that_was_replaced_is_read_again(double: LeaseServer) -> None:
    store = opened(double)
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
    store = opened(double)
    store.write(KEY, FIRST, None)
    del double.leases[lease_name(KEY)]["metadata"]["annotations"]
    with pytest.raises(FiringError, match=r"is no schedule's record .*: delete it"):
        store.read(KEY)


def test_no_token_in_an_error(double: LeaseServer) -> None:
    double.fault = 403
    with pytest.raises(FiringError) as caught:
        double.store().open()
    assert "first" not in str(caught.value)
