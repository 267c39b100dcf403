"""Exactly once, in memory and on a real Apache Kafka: outputs and offsets appear together."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from support.brokers import Broker, InMemory, OverTheNetwork, real, until
from support.committed import committed_values
from support.delivery import QUICK, Bench
from support.kafka import RealKafka
from upon import Done, Event, Failed, Outcome
from upon._engine import Sent
from upon_triggers.kafka.memory import MemoryBroker, MemoryTransactor
from upon_triggers.kafka.transaction import OnTransacted, Unsettled
from upon_triggers.kafka.transactor import STEP_SECONDS

EXACT = replace(QUICK, guarantee="exactly-once")
COUNT = 300


@pytest.fixture(params=["memory", pytest.param("real", marks=[pytest.mark.kafka, pytest.mark.slow])])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    found: Broker = InMemory() if request.param == "memory" else real(request.getfixturevalue("kafka"))
    yield found
    found.close()


def values(bench: Bench, topic: str) -> list[bytes | None]:
    """What a reader of committed records sees."""
    if isinstance(bench.broker, OverTheNetwork):
        return committed_values(bench.broker.connection.bootstrap[0], topic)
    return [record.value for record in bench.broker.records(topic)]


def write(bench: Bench, count: int = COUNT, partitions: int = 3) -> list[bytes | None]:
    inputs = [b'{"n":%d}' % n for n in range(count)]
    bench.broker.produce_many(bench.topic, [(n % partitions, value) for n, value in enumerate(inputs)])
    return list(inputs)


def reply(event: Event[Any]) -> Event[Any]:
    return Event._trusted({"specversion": "1.0", "id": event.id, "source": "/s", "type": "t"}, event.body)


def answer(event: Event[Any]) -> Done:
    return Done(reply(event))


@pytest.mark.parametrize("ordering", ["partition", "key", "unordered"])
def test_each_reply_once_with_the_offset(broker: Broker, ordering: str) -> None:
    bench = Bench(broker, partitions=3)
    inputs = write(bench)
    with bench.running(answer, delivery=EXACT, reply_to=bench.out, ordering=ordering):
        until(lambda: sum(broker.committed(bench.group, bench.topic).values()) == COUNT)
    assert sorted(inputs) == sorted(values(bench, bench.out))


def test_sends_go_with_the_reply_and_the_offset(broker: Broker) -> None:
    bench = Bench(broker)
    inputs = write(bench, 20, partitions=1)

    def send_and_answer(event: Event[Any]) -> Outcome:
        return Done(reply(event), sent=(Sent(bench.out, b"k", b"sent:" + event.body, ()),))

    with bench.running(send_and_answer, delivery=EXACT, reply_to=bench.out):
        until(lambda: broker.committed(bench.group, bench.topic) == {0: 20})
    expected = [value for i in inputs if i is not None for value in (b"sent:" + i, i)]
    assert expected == values(bench, bench.out)


def test_a_dead_letter_goes_with_the_offset(broker: Broker) -> None:
    bench = Bench(broker)
    write(bench, 3, partitions=1)

    def fail_second(event: Event[Any]) -> Outcome:
        return Failed("rejected", "no") if event.data["n"] == 1 else Done(reply(event))

    with bench.running(fail_second, delivery=EXACT, reply_to=bench.out):
        until(lambda: broker.committed(bench.group, bench.topic) == {0: 3})
    assert [b'{"n":0}', b'{"n":2}'] == values(bench, bench.out)
    assert [b'{"n":1}'] == values(bench, bench.dead)


def test_a_reply_too_large_becomes_a_dead_letter_without_its_sends(broker: Broker) -> None:
    bench = Bench(broker)
    write(bench, 3, partitions=1)

    def huge_second(event: Event[Any]) -> Outcome:
        body = bytes(2 * 2**20) if event.data["n"] == 1 else event.body
        answered = Event._trusted({"specversion": "1.0", "id": event.id, "source": "/s", "type": "t"}, body)
        return Done(answered, sent=(Sent(bench.out, None, b"sent:" + event.body, ()),))

    with bench.running(huge_second, delivery=EXACT, reply_to=bench.out):
        until(lambda: broker.committed(bench.group, bench.topic) == {0: 3})
    assert [b'sent:{"n":0}', b'{"n":0}', b'sent:{"n":2}', b'{"n":2}'] == values(bench, bench.out)
    assert [b'{"n":1}'] == values(bench, bench.dead)


def test_nothing_is_seen_of_what_a_stop_cut_short(broker: Broker) -> None:
    bench = Bench(broker)
    write(bench, 2, partitions=1)
    gate = threading.Event()

    def hang_on_second(event: Event[Any]) -> Outcome:
        if event.data["n"] == 1:
            assert gate.wait(30)
        return answer(event)

    try:
        with bench.running(hang_on_second, delivery=EXACT, reply_to=bench.out) as source:
            until(lambda: len(bench.seen) == 2)
            source.stop(0.2)
    finally:
        gate.set()
    assert [b'{"n":0}'] == values(bench, bench.out)
    with bench.running(answer, delivery=EXACT, reply_to=bench.out):
        until(lambda: broker.committed(bench.group, bench.topic) == {0: 2})
    assert [b'{"n":0}', b'{"n":1}'] == values(bench, bench.out)


def test_members_that_come_and_go_double_nothing(broker: Broker) -> None:
    bench = Bench(broker, partitions=3)
    inputs = write(bench)

    def slowly(event: Event[Any]) -> Outcome:
        threading.Event().wait(0.005)
        return answer(event)

    with bench.running(slowly, delivery=EXACT, reply_to=bench.out):
        for _ in range(3):
            with bench.running(slowly, delivery=EXACT, reply_to=bench.out) as other:
                until(lambda source=other: source.state()["handled"] > 5 or _all(bench), 60)  # type: ignore[misc]
        until(lambda: _all(bench), 60)
    assert sorted(inputs) == sorted(values(bench, bench.out))


def _all(bench: Bench) -> bool:
    return sum(bench.broker.committed(bench.group, bench.topic).values()) == COUNT


class InDoubt(MemoryTransactor):
    """Loses the answer to some commits, of which some have taken place."""

    def __init__(self, broker: MemoryBroker, lost: dict[int, bool]) -> None:
        super().__init__(broker)
        self._lost = lost  # number of the commit: whether it took place
        self._number = 0

    def commit(self, membership: Any, positions: Any, outputs: Any, on_done: OnTransacted) -> None:
        self._number += 1
        took_place = self._lost.pop(self._number, None)
        if took_place is None:
            super().commit(membership, positions, outputs, on_done)
            return
        if took_place:
            super().commit(membership, positions, outputs, lambda _: None)
        on_done(Unsettled("the answer is lost"))


@pytest.mark.parametrize("took_place", [True, False])
def test_a_commit_in_doubt_is_read_not_guessed(took_place: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = InMemory()
    lost = {3: took_place, 6: took_place}
    monkeypatch.setattr(memory.broker, "open_transactor", lambda group: InDoubt(memory.broker, lost))
    bench = Bench(memory)
    inputs = write(bench, 20, partitions=1)

    def slowly(event: Event[Any]) -> Outcome:
        time.sleep(0.05)  # so that there are many commits
        return answer(event)

    with bench.running(slowly, delivery=EXACT, reply_to=bench.out):
        until(lambda: memory.committed(bench.group, bench.topic) == {0: 20})
    assert {} == lost
    assert inputs == values(bench, bench.out)


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_a_broker_that_fails_amid_transactions_doubles_nothing(kafka: RealKafka, fault: str) -> None:
    """Some commits are in doubt then: whether they took place is read, not guessed."""
    broker = real(kafka)
    bench = Bench(broker, partitions=3)
    inputs = write(bench, 3000)

    def slowly(event: Event[Any]) -> Outcome:
        time.sleep(0.002)
        return answer(event)

    with bench.running(slowly, delivery=EXACT, reply_to=bench.out):
        for share in (500, 1200, 1900):
            until(lambda least=share: len(bench.seen) >= least, 90)  # type: ignore[misc]
            if fault == "killed":
                kafka.kill()
                kafka.start()
            else:
                kafka.pause()
                time.sleep(STEP_SECONDS + 1)  # longer than a step of a transaction is waited for
                kafka.resume()
        until(lambda: sum(bench.committed().values()) == 3000, 120)
    broker.close()
    assert sorted(inputs) == sorted(values(bench, bench.out))
