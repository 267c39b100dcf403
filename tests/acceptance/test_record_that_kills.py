"""A record of which the process dies, through real `func run` processes on a real Kafka."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from support.brokers import real, until
from support.func import started
from support.kafka import RealKafka
from support.records import produce
from support.services_on_disk import service_in

COUNT = 6000
KILLER = 4321
MOST_REPEATED = 3000  # of a partition, by one kill: maxInFlight, and 2000 finished and not committed
CODE = """
    import ctypes
    import upon
    from upon import Event

    handled = open("handled.txt", "a", buffering=1)

    @upon.kafka("kills")
    def handle(event: Event) -> None:
        if event.data["n"] == 4321:
            ctypes.string_at(0)  # a segmentation fault
        handled.write(f"{event.data['n']}\\n")
"""


@pytest.mark.kafka
@pytest.mark.timeout(180)
def test_after_three_restarts_it_is_a_dead_letter_and_the_rest_goes_on(kafka: RealKafka, tmp_path: Path) -> None:
    kafka.create_topics("kills", partitions=2)
    # As a static member the new process takes the partitions over at once, and not after the session timeout.
    folder = service_in(tmp_path / "p", CODE, more="kafka: {groupInstanceId: one}\n")
    produce(kafka.bootstrap, "kills", ({"n": n} for n in range(COUNT)), embedded=False)
    command = ("run", "--port", "0", "-o", "json", "--bootstrap", kafka.bootstrap, "--group", "kills")
    for _ in range(3):
        with started(*command, cwd=folder) as run:
            assert -signal.SIGSEGV == run.wait(60)
    broker = real(kafka)
    with started(*command, cwd=folder) as run:
        until(lambda: len(_handled(folder)) == COUNT - 1, 60)
        until(lambda: broker.committed("kills", "kills") == _ends(broker), 30)
        assert None is run.process.poll()
        assert 0 == run.stop()
    assert set(range(COUNT)) - {KILLER} == set(_handled(folder))
    [letter] = broker.records("kills.handle.dead")
    assert letter.value is not None
    assert ({"n": KILLER}, b"crashed") == (json.loads(letter.value), letter.header("upon-error-kind"))
    repeated = len((folder / "handled.txt").read_text().splitlines()) - (COUNT - 1)
    assert repeated <= 3 * 2 * MOST_REPEATED


def _handled(folder: Path) -> set[int]:
    return set(map(int, (folder / "handled.txt").read_text().split()))


def _ends(broker: object) -> dict[int, int]:
    ends: dict[int, int] = {}
    for record in broker.records("kills"):  # type: ignore[attr-defined]
        ends[record.partition] = record.offset + 1
    return ends
