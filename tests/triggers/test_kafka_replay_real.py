"""Replaying dead letters on a real Apache Kafka, seen from its sources: once, under the same id, by the right group."""

from __future__ import annotations

import json
import signal
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from support.brokers import OverTheNetwork, real, until
from support.delivery import QUICK, Bench
from support.func import FUNC, environment, func
from support.groups import commit
from support.kafka import RealKafka
from support.terminal import on_terminal
from upon import Event, Failed, Outcome
from upon_triggers.kafka.client import KafkaCluster
from upon_triggers.kafka.dead_letters import KafkaArchive, letters, replayed_of
from upon_triggers.kafka.letter import DeadLetter
from upon_triggers.kafka.purge import delete, plan
from upon_triggers.kafka.replay import WINDOW, Planner, Replay, Wish
from upon_triggers.kafka.replay_ledger import GroupLedger
from upon_triggers.kafka.replay_writer import KafkaWriter
from upon_triggers.source import SourceError

pytestmark = pytest.mark.kafka


@pytest.fixture
def broker(kafka: RealKafka) -> Iterator[OverTheNetwork]:
    found = real(kafka)
    yield found
    found.close()


def replay(broker: OverTheNetwork, topic: str, **wish: Any) -> Replay:
    """Run one to its end."""
    made = Wish(**{"rate": 0.0, **wish})
    with ExitStack() as stack:
        archive = stack.enter_context(KafkaArchive(broker.connection))
        bounds = archive.bounds(topic)
        cluster = KafkaCluster(broker.connection, session_timeout=3.0)
        writer = stack.enter_context(KafkaWriter(broker.connection))
        ledger = stack.enter_context(GroupLedger(cluster, archive, topic, bounds))
        run = Replay(archive, topic, bounds, made, Planner(archive, made), writer, ledger)
        run.run()
        return run


def told(number: int, origin: str) -> list[tuple[str, bytes | None]]:
    return [("upon-origin", f"{origin}/0/{number}".encode()), ("upon-group", b"g"), ("upon-error-kind", b"error")]


def test_from_failure_to_success(broker: OverTheNetwork) -> None:
    bench = Bench(broker, partitions=3)
    broker.produce(bench.topic, b'{"n": 1}', key=b"k", headers=[("h", b"1")], partition=2)
    broken = True
    seen: list[Event[Any]] = []
    other: list[Event[Any]] = []

    def handler(event: Event[Any]) -> Outcome | None:
        seen.append(event)
        return Failed("rejected", "broken") if broken else None

    with (
        bench.running(handler) as source,
        bench.running(lambda event: other.append(event), group=f"{bench.group}.other") as bystander,
    ):
        bench.handled(source, 1)
        until(lambda: len(other) == 1)
        [letter] = broker.records(bench.dead)
        assert bench.group.encode() == letter.header("upon-group")
        broken = False
        assert 1 == replay(broker, bench.dead).result.replayed
        until(lambda: source.state()["handled"] == 1)
        until(lambda: bystander.state()["skipped"] == 1)
        assert 0 == replay(broker, bench.dead).result.replayed
        until(lambda: bench.committed() == {2: 2}, what=str(bench.committed()))
        assert (1, 1, 0) == (source.state()["handled"], source.state()["dead_letters"], source.state()["skipped"])
        assert 1 == bystander.state()["handled"] == len(other)
    first, again = seen
    assert (first.id, first.source, first.time, first.subject) == (again.id, again.source, again.time, again.subject)
    assert first.extensions == again.extensions
    assert first.kafka is not None
    assert again.kafka is not None
    assert (b"k", 2, 0, 1) == (again.kafka.key, again.kafka.partition, first.kafka.offset, again.kafka.offset)


def test_what_fails_again_is_a_new_letter(broker: OverTheNetwork) -> None:
    bench = Bench(broker)
    broker.produce(bench.topic, b'{"n": 1}')
    with bench.running(lambda event: Failed("rejected", "broken")) as source:
        for count in (1, 2, 3):
            bench.handled(source, count)
            assert (1, "") == ((result := replay(broker, bench.dead).result).replayed, result.ended)
        bench.handled(source, 4)
    found = broker.records(bench.dead)
    assert [None, b"1", b"2", b"3"] == [dict(letter.headers).get("upon-replays") for letter in found]
    origins = {str(letter.header("upon-replay-origin")).partition("@")[0] for letter in found[1:]}
    assert {f"b'{bench.topic}/0/0"} == origins
    assert 1 == len({len(letter.headers) for letter in found[1:]})
    assert {event.id for event in bench.seen} == {"partition:0/offset:0"}


def test_a_kill_repeats_one_window_at_most(kafka: RealKafka, broker: OverTheNetwork, tmp_path: Path) -> None:
    topic = f"t{uuid.uuid4().hex[:8]}"
    dead = f"{topic}.f.dead"
    kafka.create_topics(topic, dead)
    commit(kafka.bootstrap, "g", topic)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5})
    for number in range(1000):
        producer.produce(dead, b"%d" % number, headers=told(number, topic))
    assert producer.flush(30) == 0
    command = [*FUNC, "dlq", "replay", dead, "--yes", "-o", "json", "--bootstrap", kafka.bootstrap]
    process = subprocess.Popen(
        [*command, "--rate", "250"], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout as lines:
        for _ in range(350):
            assert "replayed" == json.loads(next(lines))["status"]
        process.send_signal(signal.SIGKILL)
    process.wait(10)
    rest = func("dlq", *command[4:], "--rate", "0", cwd=tmp_path)
    assert 0 == rest.returncode, rest.stderr
    found = Counter(record.value for record in broker.records(topic))
    assert {b"%d" % number for number in range(1000)} == set(found)
    assert found.total() - 1000 <= WINDOW
    assert "" == func("dlq", *command[4:], cwd=tmp_path).stdout


def test_letters_of_transactions(kafka: RealKafka, broker: OverTheNetwork) -> None:
    topic = f"t{uuid.uuid4().hex[:8]}"
    dead = f"{topic}.f.dead"
    kafka.create_topics(topic, dead)
    commit(kafka.bootstrap, "g", topic)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    for number in range(4):
        producer.begin_transaction()
        producer.produce(dead, b"%d" % number, headers=told(number, topic))
        assert producer.flush(30) == 0
        (producer.abort_transaction if number == 2 else producer.commit_transaction)(30)
    assert 3 == replay(broker, dead).result.replayed
    assert [b"0", b"1", b"3"] == [record.value for record in broker.records(topic)]
    with KafkaArchive(broker.connection) as archive:
        bounds = archive.bounds(dead)
        assert bounds[0][1] == replayed_of(archive, dead, bounds)[0].pending


def test_one_too_large_stays_and_the_rest_goes(kafka: RealKafka, broker: OverTheNetwork) -> None:
    topic = f"t{uuid.uuid4().hex[:8]}"
    dead = f"{topic}.f.dead"
    kafka.create_topics(dead)
    kafka.create_topics(topic, configs={"max.message.bytes": "2000"})
    commit(kafka.bootstrap, "g", topic)
    for number, value in enumerate([b"a", b"x" * 5000, b"b"]):
        broker.produce(dead, value, headers=told(number, topic))
    run = replay(broker, dead)
    assert (2, 1) == (run.result.replayed, run.result.left)
    assert {b"a", b"b"} == {record.value for record in broker.records(topic)}


def test_a_pointer_brings_the_original(kafka: RealKafka, broker: OverTheNetwork) -> None:
    topic = f"t{uuid.uuid4().hex[:8]}"
    dead = f"{topic}.f.dead"
    kafka.create_topics(topic, dead)
    commit(kafka.bootstrap, "g", topic)
    broker.produce(topic, b"large", key=b"k", headers=[("h", b"1")])
    broker.produce(dead, None, key=b"k", headers=[*told(0, topic), ("upon-omitted", b"the value of 5 bytes")])
    assert 1 == replay(broker, dead).result.replayed
    [_, again] = broker.records(topic)
    assert (b"k", b"large", b"1") == (again.key, again.value, again.header("h"))


def test_purge_cuts_up_to_the_first_that_stays(kafka: RealKafka, broker: OverTheNetwork) -> None:
    topic = f"t{uuid.uuid4().hex[:8]}"
    dead = f"{topic}.f.dead"
    kafka.create_topics(topic, dead)
    commit(kafka.bootstrap, "g", topic)
    for number in range(5):
        broker.produce(dead, b"%d" % number, headers=told(number, topic))
    with KafkaArchive(broker.connection) as archive:
        for ids, goes in (({(0, 0), (0, 1), (0, 3)}, 2), ({(0, 2)}, 2)):
            for place in ids:
                replay(broker, dead, filter=_only(place))
            bounds = archive.bounds(dead)
            done = replayed_of(archive, dead, bounds)

            def may_go(letter: DeadLetter, done: Any = done) -> bool:
                return letter.offset in done[letter.partition]

            cuts = plan(archive, dead, bounds, done, may_go)
            assert [goes] == [cut.goes for cut in cuts]
            delete(broker.connection, dead, cuts)
        assert [b"4"] == [letter.record.value for letter in letters(archive, dead, archive.bounds(dead))]
    assert 1 == replay(broker, dead).result.replayed


def test_purge_says_what_stays(kafka: RealKafka, broker: OverTheNetwork, tmp_path: Path) -> None:
    topic = f"t{uuid.uuid4().hex[:8]}"
    dead = f"{topic}.f.dead"
    kafka.create_topics(topic, dead)
    commit(kafka.bootstrap, "g", topic)
    for number in range(4):
        broker.produce(dead, b"%d" % number, headers=told(number, topic))
    for place in ((0, 0), (0, 2)):
        replay(broker, dead, filter=_only(place))
    command = ["dlq", "purge", dead, "--bootstrap", kafka.bootstrap]

    refused = func(*command, "--replayed", cwd=tmp_path)
    says = f"{dead}/0: 1 go, 3 stay, from 0/1 on, which was not replayed; 1 of those behind it might go, but"
    assert refused.stdout.startswith(says)
    assert (2, "there is no terminal to ask on") == (refused.returncode, refused.stderr[7:37])
    looked = func(*command, "--all", "--dry-run", "-o", "json", cwd=tmp_path)
    assert {
        "topic": dead, "partition": 0, "upTo": 4, "goes": 4, "pending": 2, "stays": 0, "behind": 0, "first": None,
        "dryRun": True,
    } == json.loads(looked.stdout)  # fmt: skip
    assert 4 == len(broker.records(dead))
    done = func(*command, "--replayed", "--yes", cwd=tmp_path)
    assert (0, f"deleted 1 letter of {dead}") == (done.returncode, done.stdout.splitlines()[-1])
    assert [b"1", b"2", b"3"] == [record.value for record in broker.records(dead)]
    assert 0 == func(*command, "--before", "0s", "--yes", cwd=tmp_path).returncode
    assert [] == broker.records(dead)
    broker.produce(dead, b"an order")
    wrong = func(*command, "--all", "--yes", cwd=tmp_path)
    assert 2 == wrong.returncode
    assert f"1 of these records of {dead} are no dead letters" in wrong.stderr
    assert [b"an order"] == [record.value for record in broker.records(dead)]


def _only(place: tuple[int, int]) -> Any:
    from upon_triggers.kafka.letter import Filter

    return Filter(ids={place})


def test_the_time_of_giving_up_is_told(broker: OverTheNetwork) -> None:
    bench = Bench(broker)
    broker.produce(bench.topic, b"{}")
    began = datetime.now(UTC)
    with bench.running(lambda event: Failed("rejected", "broken"), delivery=QUICK) as source:
        bench.handled(source, 1)
    with KafkaArchive(broker.connection) as archive:
        [letter] = letters(archive, bench.dead, archive.bounds(bench.dead))
    assert letter.time is not None
    assert began.replace(microsecond=0) <= letter.time <= datetime.now(UTC)
    assert (bench.group, "f", "rejected", "broken", 1) == (
        letter.group, letter.function, letter.kind, letter.error, letter.attempts
    )  # fmt: skip


def test_two_replays_at_once_are_refused(kafka: RealKafka, broker: OverTheNetwork) -> None:
    dead = f"t{uuid.uuid4().hex[:8]}.f.dead"
    kafka.create_topics(dead, partitions=3)
    with KafkaArchive(broker.connection) as archive:
        cluster, bounds = KafkaCluster(broker.connection, session_timeout=3.0), archive.bounds(dead)
        with GroupLedger(cluster, archive, dead, bounds) as first:
            with pytest.raises(SourceError, match="is under way, or was killed a moment ago"):
                GroupLedger(cluster, archive, dead, bounds, join_seconds=1.0)
            first.save(0)
        assert not archive.has_members(f"{dead}.dlq")


def test_ctrl_c_ends_in_good_order(kafka: RealKafka, broker: OverTheNetwork, tmp_path: Path) -> None:
    topic = f"t{uuid.uuid4().hex[:8]}"
    dead = f"{topic}.f.dead"
    kafka.create_topics(topic, dead)
    commit(kafka.bootstrap, "g", topic)
    for number in range(200):
        broker.produce(dead, b"%d" % number, headers=told(number, topic))
    command = ["dlq", "replay", dead, "--yes", "--bootstrap", kafka.bootstrap]
    with on_terminal([*FUNC, *command, "--rate", "20"], cwd=tmp_path, env=environment()) as terminal:
        terminal.wait_for("replayed 2")
        assert 130 == terminal.ctrl_c()
        until(lambda: "what was replayed is noted" in terminal.text, what=terminal.text)
    done = len(broker.records(topic))
    assert 20 <= done < 200
    rest = func(*command, "--rate", "0", cwd=tmp_path)
    assert (0, f"replayed {200 - done} letters of {dead}\n") == (rest.returncode, rest.stdout)
    assert [b"%d" % number for number in range(200)] == [record.value for record in broker.records(topic)]


def test_silent_brokers_are_not_waited_for_forever(kafka: RealKafka, broker: OverTheNetwork) -> None:
    dead = f"t{uuid.uuid4().hex[:8]}.f.dead"
    kafka.create_topics(dead)
    broker.produce(dead, b"1")
    with KafkaArchive(broker.connection, answer_seconds=1.0) as archive:
        bounds = archive.bounds(dead)
        reading = archive.read(dead, 0, (0, bounds[0][1] + 1))  # one more than there is
        assert b"1" == next(reading).value
        kafka.pause()
        try:
            with pytest.raises(SourceError, match="no Kafka broker answers"):
                archive.topics()
            with pytest.raises(TimeoutError, match="the brokers say nothing more of"):
                next(reading)
        finally:
            kafka.resume()
