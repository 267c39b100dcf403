"""Kafka to Kafka, exactly once, through real `func run` processes that are killed while others come and go."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.brokers import real, until
from support.committed import committed_values
from support.func import Running, func, started
from support.kafka import RealKafka
from support.records import produce
from support.services_on_disk import service_in

COUNT = 20_000
PARTITIONS = 4
KILLS = 6
FREEZE = 4  # in place of that kill
SESSION = 6  # seconds
DEAD = "inputs.handle.dead"
CODE = """
    import time
    import upon
    from upon import Event

    copies = upon.Topic("copies")

    @upon.kafka("inputs", reply_to="outputs")
    def handle(event: Event) -> dict:
        time.sleep(0.001)
        if event.data["n"] % 1000 == 7:
            raise upon.Reject("never")
        copies.send({"n": event.data["n"]})
        return {"n": event.data["n"]}
"""
MORE = f"delivery: {{guarantee: exactly-once}}\nkafka: {{sessionTimeout: {SESSION}}}\n"


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize("seed", [1])
def test_each_inputs_outputs_once_over_kills_and_rebalances(kafka: RealKafka, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    kafka.create_topics("inputs", "outputs", "copies", partitions=PARTITIONS)
    folder = service_in(tmp_path / "p", CODE, more=MORE)
    produce(kafka.bootstrap, "inputs", ({"n": n} for n in range(COUNT)), embedded=False)
    broker = real(kafka)

    def finished() -> int:
        return sum(broker.committed("exact", "inputs").values())

    with ExitStack() as stack:
        members = [stack.enter_context(_member(folder, kafka)) for _ in range(2)]
        for kill in range(1, KILLS + 1):
            until(lambda share=kill: finished() >= COUNT * share // (KILLS + 2), 120)  # type: ignore[misc]
            chosen = rng.randrange(len(members))
            if kill == FREEZE:  # past its session: it comes back behind its group, with results nobody wants
                members[chosen].process.send_signal(signal.SIGSTOP)
                time.sleep(SESSION + 3)
                members[chosen].process.send_signal(signal.SIGCONT)
                continue
            leaving = members.pop(chosen)
            assert leaving.stop(signal.SIGKILL if kill % 2 else signal.SIGTERM) in (-signal.SIGKILL, 0)
            members.append(stack.enter_context(_member(folder, kafka)))
        until(lambda: finished() >= COUNT and _is_all_there(kafka), 180)
        assert [0, 0] == [member.stop() for member in members]
    dead = _numbers(kafka, DEAD)
    crashed = dead.keys() - {n for n in range(COUNT) if n % 1000 == 7}
    assert len(dead) - len(crashed) == COUNT // 1000
    assert len(crashed) <= KILLS // 3, "it takes three deaths to take a record for the culprit"
    assert Counter(dead.keys()) == dead
    expected = Counter(set(range(COUNT)) - dead.keys())
    assert expected == _numbers(kafka, "outputs")
    assert expected == _numbers(kafka, "copies")


@contextmanager
def _member(folder: Path, kafka: RealKafka) -> Iterator[Running]:
    command = ("run", "--port", "0", "-o", "json", "--bootstrap", kafka.bootstrap, "--group", "exact")
    with started(*command, cwd=folder) as running:
        yield running


def _numbers(kafka: RealKafka, topic: str) -> Counter[int]:
    return Counter(json.loads(value or b"")["n"] for value in committed_values(kafka.bootstrap, topic))


def _is_all_there(kafka: RealKafka) -> bool:
    """Offsets and outputs come together, so this only has to look at what is committed last."""
    return sum(len(committed_values(kafka.bootstrap, topic)) for topic in ("outputs", DEAD)) >= COUNT


def test_the_development_broker_says_that_it_has_no_transactions(tmp_path: Path) -> None:
    folder = service_in(tmp_path / "p", CODE, more="delivery: {guarantee: exactly-once}\n")
    with started("run", "--port", "0", "-o", "json", cwd=folder) as run:
        until(lambda: "exactly-once" in run.stderr, 20)
        assert 0 == run.stop()


def test_idempotent_and_exactly_once_exclude_each_other(tmp_path: Path) -> None:
    code = CODE.replace("@upon.kafka", "@upon.options(idempotent=True)\n    @upon.kafka")
    folder = service_in(tmp_path / "p", code, more="delivery: {guarantee: exactly-once}\n")
    checked = func("check", cwd=folder)
    assert (2, True) == (checked.returncode, "exactly-once" in checked.stdout + checked.stderr)
