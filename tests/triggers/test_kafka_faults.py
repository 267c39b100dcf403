"""Records and topics that are not as one would wish: nothing stands still, nothing is lost in silence."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Producer

from support.brokers import OverTheNetwork, real, until
from support.delivery import Bench
from support.kafka import RealKafka
from upon import Event, Reject
from upon_triggers.kafka import lenient
from upon_triggers.kafka.library import library
from upon_triggers.kafka.place import Place
from upon_triggers.kafka.transport import Partition, TransportError
from upon_triggers.kafka.troubles import LASTS, Troubles, tell
from upon_triggers.settings import KafkaConnection

LOCAL = KafkaConnection(("b:9092",))
CODECS = ("gzip", "snappy", "lz4", "zstd")


@pytest.fixture
def broker(kafka: RealKafka) -> Iterator[OverTheNetwork]:
    made = real(kafka)
    yield made
    made.close()


@pytest.fixture
def admin(kafka: RealKafka) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from kafka import KafkaAdminClient
    made = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    yield made
    made.close()


def ignore(event: Event[Any]) -> None:
    """A handler."""


def refuse(event: Event[Any]) -> None:
    raise Reject("no")


def kinds(bench: Bench) -> list[bytes | None]:
    return [letter.header("upon-error-kind") for letter in bench.broker.records(bench.dead)]


# Compression


@pytest.mark.kafka
@pytest.mark.parametrize("codec", CODECS)
def test_every_compression_is_read(kafka: RealKafka, broker: OverTheNetwork, codec: str) -> None:
    bench = Bench(broker)
    values = [b'{"n":%d}' % n for n in range(200)]
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap, "compression.type": codec, "linger.ms": 100, "log_level": 0}
    )
    for value in values:
        producer.produce(bench.topic, value)
    assert 0 == producer.flush(30)
    with bench.running(ignore) as source:
        bench.handled(source, len(values))
    assert values == [event.body for event in bench.seen]


@pytest.mark.kafka
@pytest.mark.parametrize("codec", CODECS)
def test_a_large_compressed_record_is_read(kafka: RealKafka, broker: OverTheNetwork, codec: str) -> None:
    bench = Bench(broker)
    large = b'"' + b"0123456789" * 400_000 + b'"'
    settings = {"bootstrap.servers": kafka.bootstrap, "compression.type": codec, "message.max.bytes": 8_000_000}
    producer = Producer({**settings, "log_level": 0})
    producer.produce(bench.topic, large)
    assert 0 == producer.flush(30)
    with bench.running(ignore) as source:
        bench.handled(source, 1)
    assert [large] == [event.body for event in bench.seen]


@pytest.mark.kafka
def test_a_compression_without_its_package(
    broker: OverTheNetwork, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from kafka import codec

    bench = Bench(broker)
    broker.produce(bench.topic, b"1")
    producer = Producer({"bootstrap.servers": broker.connection.bootstrap[0], "compression.type": "zstd"})
    producer.produce(bench.topic, b'"%s"' % (b"2" * 500))
    assert 0 == producer.flush(30)
    monkeypatch.setattr(codec, "zstd", None)
    with bench.running(ignore) as source:
        until(lambda: source.state()["error"] is not None)
        told = source.state()["error"]
        assert (1, True) == (source.state()["handled"], source.state()["connected"])
        monkeypatch.undo()
        bench.handled(source, 2)
        until(lambda: source.state()["error"] is None)
    assert f"topic {bench.topic!r} holds records compressed with zstd: pip install 'upon[kafka]'" in told
    assert 1 == sum("zstd" in record.message for record in caplog.records if record.name == "upon.kafka")


# Size


@pytest.mark.kafka
def test_a_record_over_every_limit_of_ours_is_read(kafka: RealKafka, broker: OverTheNetwork) -> None:
    bench = Bench(broker)
    topic = bench.topic + ".large"
    kafka.create_topics(topic, configs={"max.message.bytes": "12000000"})
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "message.max.bytes": 12_000_000, "log_level": 0})
    sizes = [10, 5_000_000, 11_000_000, 20]
    for size in sizes:
        producer.produce(topic, b"x" * size, b"key")
    assert 0 == producer.flush(30)
    bench.topic, bench.dead = topic, f"{topic}.f.dead"
    with bench.running(refuse, value="bytes") as source:
        bench.handled(source, len(sizes), timeout=60)
    letters = broker.records(bench.dead)
    assert sizes == [len(event.body) for event in bench.seen]
    assert [10, None, None, 20] == [None if letter.value is None else len(letter.value) for letter in letters]
    assert b"the value of 5000000 bytes" in (letters[1].header("upon-omitted") or b"")


# Keys, values and headers

WILD_NAME = b"caf\xe9-\xff"


class _Raw(str):
    """A header's name that is written as these bytes."""

    def encode(self, *how: str) -> bytes:
        return WILD_NAME


def wild_headers(bench: Bench) -> None:
    """Write a record whose header has a name that is not UTF-8, between two good ones."""
    publisher = bench.broker.publisher()
    told: list[BaseException | None] = []
    for name in ("a", _Raw("wild"), "b"):
        publisher.publish_raw(bench.topic, b"k", b"1", [("x", b"1"), (name, b"\xfe"), ("y", b"2")], told.append)
    until(lambda: len(told) == 3)
    assert [None] * 3 == told


@pytest.mark.kafka
def test_a_header_name_that_is_not_text(kafka: RealKafka, broker: OverTheNetwork) -> None:
    bench = Bench(broker)
    wild_headers(bench)
    with bench.running(refuse) as source:
        bench.handled(source, 3)
    infos = [event.kafka for event in bench.seen]
    assert ["a", "caf\udce9-\udcff", "b"] == [info.headers[1][0] for info in infos if info is not None]
    assert all(b"\xfe" == info.headers[1][1] for info in infos if info is not None)
    [segment] = (kafka.folder / "data" / f"{bench.dead}-0").glob("*.log")
    assert 1 == segment.read_bytes().count(WILD_NAME), "the dead letter has the very bytes"


@pytest.mark.kafka
def test_kafka_python_alone_reads_such_names_too(broker: OverTheNetwork) -> None:
    """What reads without the quick parser: `func events tail`, and batches in old formats."""
    bench = Bench(broker)
    wild_headers(bench)
    consumer = library().KafkaConsumer(
        bootstrap_servers=broker.connection.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
    )
    consumer.assign([library().TopicPartition(bench.topic, 0)])
    found: list[Any] = []
    until(lambda: found.extend(r for batch in consumer.poll(200).values() for r in batch) or len(found) == 3)
    consumer.close()
    assert [b"a", WILD_NAME, b"b"] == [record.headers[1][0].encode() for record in found]


def test_an_escaped_name_is_written_as_it_was_read() -> None:
    name = lenient.EscapedName(WILD_NAME.decode("utf-8", lenient.ESCAPE))
    assert (WILD_NAME, WILD_NAME) == (name.encode(), name.encode("utf-8"))


@pytest.mark.kafka
def test_headers_keep_their_order_doubles_and_bytes(broker: OverTheNetwork) -> None:
    bench = Bench(broker)
    headers: list[tuple[str, bytes | None]] = [("b", b"2"), ("a", None), ("b", b"1"), ("c", b"\xff\x00"), ("", b"")]
    broker.produce(bench.topic, b"{}", headers=headers)
    with bench.running(refuse) as source:
        bench.handled(source, 1)
    [event], [letter] = bench.seen, broker.records(bench.dead)
    assert event.kafka is not None
    assert headers == list(event.kafka.headers)
    written = [(name, value or b"") for name, value in headers]  # kafka-python writes no null
    assert written == letter.headers[: len(headers)]
    assert [] == [name for name in event.extensions if name == "kafkaheaderc"]


@pytest.mark.kafka
def test_keys_and_values_of_every_kind(broker: OverTheNetwork) -> None:
    bench = Bench(broker)
    pairs = [(b"\xff\xfe", b"{}"), (None, None), (b"", b"{}"), (b"k", None), (None, b"{}")]
    for key, value in pairs:
        broker.produce(bench.topic, value, key=key)
    with bench.running(ignore) as source:
        bench.handled(source, len(pairs))
    infos = [event.kafka for event in bench.seen if event.kafka is not None]
    assert [key for key, _ in pairs] == [info.key for info in infos]
    assert [{}, None, {}, None, {}] == [event.data for event in bench.seen]
    assert "key" not in bench.seen[0].extensions


# Topics that change under a running source


@pytest.mark.kafka
def test_a_topic_that_is_deleted_and_made_again(
    kafka: RealKafka, broker: OverTheNetwork, admin: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(broker)
    for n in range(20):
        broker.produce(bench.topic, b"%d" % n)
    with bench.running(ignore) as source:
        bench.handled(source, 20)
        admin.delete_topics([bench.topic])
        until(lambda: "does not exist any more" in (source.state()["error"] or ""))
        kafka.create_topics(bench.topic)
        again = real(kafka)
        for n in range(100, 130):  # more than were read before: the old position exists in the new topic
            again.produce(bench.topic, b"%d" % n)
        bench.handled(source, 50, timeout=60)
        until(lambda: source.state()["error"] is None)
    assert [*range(20), *range(100, 130)] == [event.data for event in bench.seen]
    assert {0: 30} == bench.committed()
    assert any("was deleted and made again" in record.message for record in caplog.records)


@pytest.mark.kafka
def test_records_that_expired_before_they_were_read(
    broker: OverTheNetwork, admin: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(broker)
    broker.produce(bench.topic, b"0")
    with bench.running(ignore) as source:
        bench.handled(source, 1)
    for n in range(1, 10):
        broker.produce(bench.topic, b"%d" % n)
    admin.delete_records({library().TopicPartition(bench.topic, 0): 5})
    caplog.set_level(logging.WARNING, "upon.kafka")
    with bench.running(ignore) as source:
        until(lambda: len(bench.seen) == 6)
    assert [0, 5, 6, 7, 8, 9] == [event.data for event in bench.seen]
    warned = [record.message for record in caplog.records if "is not there" in record.message]
    assert [f"{bench.topic}/0: offset 1 of group {bench.group!r}"] == [text.partition(" is not")[0] for text in warned]


@pytest.mark.kafka
def test_more_partitions(kafka: RealKafka, broker: OverTheNetwork, admin: Any) -> None:
    bench = Bench(broker)
    broker.produce(bench.topic, b"0")
    with bench.running(ignore) as source:
        bench.handled(source, 1)
        admin.create_partitions({bench.topic: 3})
        wider = real(kafka)
        for partition in range(3):
            wider.produce(bench.topic, b"1", partition=partition)
        bench.handled(source, 4, timeout=60)
        assert [0, 1, 2] == source.state()["partitions"]
    assert {(0, 0), (0, 1), (1, 0), (2, 0)} == set(bench.offsets)


class FakeSubscription:
    """Of one partition, at offset 7."""

    def __init__(self) -> None:
        self.assignment = {("t", 0): SimpleNamespace(position=SimpleNamespace(offset=7))}
        self.resets: list[Any] = []

    def request_offset_reset(self, partition: Any) -> None:
        self.resets.append(partition)


@pytest.mark.parametrize("read", [False, True])
def test_a_place_that_is_lost_ends_the_consumer_that_has_read_there(
    read: bool, caplog: pytest.LogCaptureFixture
) -> None:
    subscription, lost = FakeSubscription(), list[TransportError]()
    consumer = SimpleNamespace(_subscription=subscription, _cluster=None)
    place = Place(consumer, "t", Troubles(LOCAL, "t", "g", "earliest"), lost.append)
    place.assigned([Partition("t", 0)])
    if read:
        place.read([Partition("t", 0)])
    subscription.request_offset_reset(("t", 0))
    assert (int(read), [("t", 0)]) == (len(lost), subscription.resets)
    assert "offset 7 of group 'g' is not there" in caplog.text


# Words


class Named(Exception):
    """kafka-python's errors are told by their names."""


def named(name: str, text: str = "") -> Exception:
    return type(name, (Named,), {})(text)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (named("TopicAuthorizationFailedError"), "--operation Read --topic t"),
        (named("GroupAuthorizationFailedError"), "--operation Read --group g"),
        (named("UnsupportedCodecError", "Libraries for lz4 compression codec not found"), "lz4 alone"),
        (named("UnsupportedCodecError", "Unrecognized compression type: 6"), "Unrecognized compression type: 6"),
        (named("CorruptRecordError", "[Error 2] CorruptRecordError: at 7"), "(CorruptRecordError: at 7)"),
        (named("FencedInstanceIdError"), "kafka.groupInstanceId"),
        (named("WhateverError"), "reading topic 't' failed: WhateverError"),
    ],
)
def test_what_is_told(error: Exception, said: str) -> None:
    assert said in tell(LOCAL, "t", error, "g")


def test_a_trouble_is_told_once_and_forgotten() -> None:
    now = [0.0]
    troubles = Troubles(LOCAL, "t", "g", "earliest", clock=lambda: now[0])
    assert [True, False] == [troubles.note(named("WhateverError")) is not None for _ in range(2)]
    now[0] = LASTS - 1
    assert troubles.current is not None
    now[0] = LASTS + 1
    assert troubles.current is None
    assert troubles.note(named("WhateverError")) is not None
    troubles.over()
    assert troubles.current is None


@pytest.mark.parametrize(("start", "said"), [("earliest", "the oldest record"), ("latest", "is not read")])
def test_a_reset_says_where_it_goes(start: Any, said: str) -> None:
    assert said in Troubles(LOCAL, "t", "g", start).about_reset(Partition("t", 0), 7)


def test_the_extra_reads_every_compression() -> None:
    code = "from kafka import codec; print(codec.has_snappy(), codec.has_lz4(), codec.has_zstd())"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60)
    assert "True True True\n" == done.stdout
