"""The publisher: confirmed, in order, never blocking, and never spoilt by one bad record."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.brokers import OverTheNetwork, embedded, real, until
from support.kafka import RealKafka
from upon import Busy, Draining, Event, TooLarge
from upon_triggers.kafka.embedded import EmbeddedBroker
from upon_triggers.kafka.library import close_producer, construct, library
from upon_triggers.kafka.publisher import KafkaPublisher
from upon_triggers.settings import KafkaConnection
from upon_triggers.source import SourceError

NOBODY = KafkaConnection(("127.0.0.1:1",))


class Answers:
    """Collects confirmations and refusals."""

    def __init__(self) -> None:
        self.got: list[BaseException | None] = []
        self._lock = threading.Lock()

    def __call__(self, error: BaseException | None) -> None:
        with self._lock:
            self.got.append(error)


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Iterator[OverTheNetwork]:
    if request.param == "embedded":
        with EmbeddedBroker() as started:
            yield embedded(started)
    else:
        yield real(request.getfixturevalue("kafka"))


@pytest.fixture
def publisher(broker: OverTheNetwork) -> Iterator[KafkaPublisher]:
    made = KafkaPublisher(broker.connection)
    yield made
    made.close(5)


@pytest.fixture
def topic(broker: OverTheNetwork) -> str:
    name = f"p{time.monotonic_ns()}"
    broker.create(name, 1)
    return name


def test_events_arrive_as_cloudevents_in_order(broker: OverTheNetwork, publisher: KafkaPublisher, topic: str) -> None:
    answers = Answers()
    for n in range(300):
        publisher.publish(topic, Event.of({"n": n}, id=str(n), source="/t", type="t"), b"k", answers)
    assert publisher.flush(20)
    assert [None] * 300 == answers.got
    found = broker.records(topic)
    assert [(b"k", b'{"n":%d}' % n) for n in range(300)] == [(r.key, r.value) for r in found]
    assert (b"7", b"application/json") == (found[7].header("ce_id"), found[7].header("content-type"))


def test_records_keep_value_and_headers(broker: OverTheNetwork, publisher: KafkaPublisher, topic: str) -> None:
    answers = Answers()
    publisher.publish_raw(topic, b"\xff", None, [("a", b"1"), ("a", None)], answers)
    publisher.publish_raw(topic, None, None, [], answers)
    assert publisher.flush(20)
    assert [None, None] == answers.got
    tombstone, empty = broker.records(topic)
    assert (b"\xff", None, [("a", b"1"), ("a", b"")]) == (tombstone.key, tombstone.value, tombstone.headers)
    assert (None, b"") == (empty.key, empty.value)


def test_a_record_over_the_limit_spoils_nothing(broker: OverTheNetwork, publisher: KafkaPublisher, topic: str) -> None:
    answers = Answers()
    for value in (b"before", b"x" * 2**20, b"after"):
        publisher.publish_raw(topic, None, value, [], answers)
    assert publisher.flush(20)
    assert 1 == sum(isinstance(error, TooLarge) for error in answers.got)
    assert [b"before", b"after"] == [r.value for r in broker.records(topic)]


def test_the_largest_record_that_is_accepted_arrives(
    broker: OverTheNetwork, publisher: KafkaPublisher, topic: str
) -> None:
    answers = Answers()
    publisher.publish_raw(topic, None, b"x" * (2**20 - 200), [], answers)
    assert publisher.flush(20)
    assert [None] == answers.got


@pytest.mark.kafka
def test_a_refusal_by_the_broker_spoils_nothing(kafka: RealKafka) -> None:
    broker = real(kafka)
    kafka.create_topics("small", "other", configs={"max.message.bytes": "2000"})
    publisher = KafkaPublisher(broker.connection)
    answers = Answers()
    publisher.publish_raw("small", None, b"x" * 5000, [], answers)
    until(lambda: len(answers.got) == 1)
    for topic in ("small", "other"):
        again = Answers()
        publisher.publish_raw(topic, None, b"fine", [], again)
        until(lambda again=again: again.got == [None])
    publisher.close(5)
    assert [TooLarge] == [type(error) for error in answers.got]
    assert [b"fine"] == [r.value for r in broker.records("small")]


def test_an_unknown_broker_is_named_at_open() -> None:
    publisher = KafkaPublisher(NOBODY, open_timeout=0.5)
    with pytest.raises(SourceError, match=r"no Kafka broker answers at '127\.0\.0\.1:1'"):
        publisher.open()
    publisher.close(0.1)


def test_publishing_never_blocks() -> None:
    publisher = KafkaPublisher(NOBODY, open_timeout=0.5)
    answers = Answers()
    began = time.monotonic()
    publisher.publish_raw("t", None, b"x", [], answers)
    took = time.monotonic() - began
    until(lambda: len(answers.got) == 1, 20)
    publisher.close(0.1)
    assert took < 0.2
    assert isinstance(answers.got[0], Busy)


@pytest.mark.kafka
def test_an_unknown_topic_is_busy_and_holds_up_nobody(kafka: RealKafka) -> None:
    publisher = KafkaPublisher(KafkaConnection((kafka.bootstrap,)), metadata_timeout=1.0)
    answers = Answers()
    publisher.publish_raw("never-made", None, b"x", [], answers)
    until(lambda: len(answers.got) == 1)
    publisher.close(5)
    [error] = answers.got
    assert isinstance(error, Busy)
    assert "'never-made'" in str(error)


def test_after_close_everything_is_refused() -> None:
    publisher = KafkaPublisher(NOBODY)
    publisher.close(0.1)
    answers = Answers()
    publisher.publish_raw("t", None, b"x", [], answers)
    assert [Draining] == [type(error) for error in answers.got]


def test_too_much_unconfirmed_is_refused_not_kept() -> None:
    publisher = KafkaPublisher(NOBODY, open_timeout=0.5, most_unconfirmed=3)
    answers = Answers()
    for _ in range(5):
        publisher.publish_raw("t", None, b"x", [], answers)
    assert 2 == len(answers.got)
    until(lambda: len(answers.got) == 5, 20)
    publisher.close(0.1)


@pytest.mark.kafka
@pytest.mark.slow
def test_what_is_under_way_survives_a_restart_of_the_broker(kafka: RealKafka) -> None:
    broker = real(kafka)
    kafka.create_topics("restart")
    publisher = KafkaPublisher(broker.connection)
    answers = Answers()
    publisher.publish_raw("restart", None, b"0", [], answers)
    until(lambda: answers.got == [None])
    kafka.kill()
    for n in range(1, 20):
        publisher.publish_raw("restart", None, b"%d" % n, [], answers)
    kafka.start()
    until(lambda: len(answers.got) == 20, 60)
    publisher.close(5)
    written: list[Any] = [r.value for r in broker.records("restart")]
    assert [b"%d" % n for n in range(20)] == written


@pytest.mark.kafka
def test_what_a_frozen_broker_does_not_take_leaves_nothing_open(kafka: RealKafka) -> None:
    kafka.create_topics("frozen")
    _close_with_much_to_send(kafka)
    gc.collect()  # whatever it finds open fails this test


def _close_with_much_to_send(kafka: RealKafka) -> None:
    connection = KafkaConnection((kafka.bootstrap,))
    producer = construct(library().KafkaProducer, connection, {"bootstrap_servers": kafka.bootstrap})
    producer.send("frozen", b"first").get(10)
    client = producer._sender._client
    kafka.pause()
    try:
        for node in client._manager._conns.values():  # more than its socket takes
            client._net.call_soon_threadsafe(lambda to=node.transport: to.write(bytes(50_000_000)))
        producer.send("frozen", b"second")
        close_producer(producer, 0.5)
        until(lambda: not producer._sender.is_alive())
    finally:
        kafka.resume()
