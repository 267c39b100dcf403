"""Where a service's schedules keep what they fired."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import upon
from support.services import spec_of
from upon_runtime.metrics import Metrics
from upon_runtime.service import Service
from upon_runtime.sources import KafkaClients, cron_store, make_sources
from upon_triggers.firing import MemoryFirings
from upon_triggers.firing_file import FileFirings
from upon_triggers.firing_lease import LeaseFirings
from upon_triggers.source import SourceError


@upon.cron("0 3 * * *")
@upon.cron("0 4 * * *", timezone="Europe/Berlin")
def plain() -> None: ...


@upon.cron("0 3 * * *", catch_up=1)
def caught_up() -> None: ...


@upon.http("POST /x")
def other() -> None: ...


def test_in_the_folder_of_the_service(tmp_path: Path) -> None:
    assert isinstance(cron_store(spec_of(plain, state_dir=tmp_path / ".upon")), FileFirings)
    assert (tmp_path / ".upon" / "cron.sqlite").is_file()


def test_in_memory_without_a_folder(tmp_path: Path) -> None:
    assert isinstance(cron_store(spec_of(plain)), MemoryFirings)


def test_in_leases_where_a_deployment_says_so(tmp_path: Path) -> None:
    spec = spec_of(plain, state_dir=tmp_path / ".upon")
    assert isinstance(cron_store(spec, {"UPON_CRON_STORE": "lease"}), LeaseFirings)
    assert isinstance(cron_store(spec, {"UPON_CRON_STORE": ""}), FileFirings)
    with pytest.raises(upon.UsageError, match="UPON_CRON_STORE is 'leese': set it to 'lease', or leave it out"):
        cron_store(spec, {"UPON_CRON_STORE": "leese"})


def test_nothing_is_made_without_a_schedule(tmp_path: Path) -> None:
    cron_store(spec_of(other, state_dir=tmp_path / ".upon"))
    assert not (tmp_path / ".upon").exists()


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    spec = spec_of(plain, state_dir=tmp_path / "file")
    assert isinstance(cron_store(spec), MemoryFirings)
    (record,) = caplog.records
    assert logging.WARNING == record.levelno
    assert "schedules fire in this process without regard to others or to the last run: the folder" in record.message


def test_and_refused_where_ticks_are_to_be_caught_up(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    expected = r"cron 0 3 \* \* \* has catch_up, but the folder .* can't be made \(.*\): name one in run.stateDir"
    with pytest.raises(SourceError, match=expected):
        cron_store(spec_of(plain, caught_up, state_dir=tmp_path / "file"))


def test_a_service_starts_and_stops_with_it(tmp_path: Path) -> None:
    spec = spec_of(plain, state_dir=tmp_path)
    service = Service(spec, make_sources=lambda service: make_sources(service, KafkaClients(None)))
    service.open()
    service.start_sources()
    states = service.source_states()
    assert {"cron 0 3 * * * -> plain", "cron 0 4 * * * Europe/Berlin -> plain"} == set(states)
    assert {(True, True)} == {(state["connected"], state["leader"]) for state in states.values()}
    assert service.close(5.0)
    store = FileFirings(tmp_path)
    store.open()
    found = store.read("svc/plain/cron 0 4 * * * Europe/Berlin")
    assert found is not None
    assert "" == found[0].holder
    store.close()


def test_times_of_a_schedule_are_gauges() -> None:
    metrics = Metrics()
    state = {"leader": True, "gaps": 2, "next": "2025-01-01T03:00:00+01:00", "last_fired": None}
    metrics.watch(lambda: {"cron x -> f": state})
    page = metrics.render()[1].decode()
    lines = [line for line in page.splitlines() if not line.startswith("#") and "cron x" in line]
    assert [
        'upon_source_leader{source="cron x -> f"} 1.0',
        'upon_source_gaps{source="cron x -> f"} 2.0',
        'upon_source_next_timestamp_seconds{source="cron x -> f"} 1.7356968e+09',
    ] == lines
