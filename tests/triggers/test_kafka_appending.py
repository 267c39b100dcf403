"""Our way of writing records against kafka-python's own: the same bytes, partitions and confirmations."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.kafka import RealKafka
from upon_triggers.kafka.lenient import EscapedName
from upon_triggers.kafka.library import library

library()  # imports kafka-python without its warnings, and lets it write as we do

from kafka.errors import MessageSizeTooLargeError  # noqa: E402
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder  # noqa: E402

from upon_triggers.kafka.appending import KEYS_KNOWN, Appender, append, slow_append  # noqa: E402
from upon_triggers.kafka.parsing import read_batch  # noqa: E402

sizes = st.sampled_from([0, 1, 63, 64, 4095, 4096, 8191, 8192, 20_000])
blobs = st.one_of(st.none(), st.binary(max_size=60), sizes.map(bytes))
headers = st.lists(st.tuples(st.text(st.characters(codec="utf-8"), max_size=70), blobs), max_size=9)
records = st.lists(st.tuples(st.integers(0, 2**40), blobs, blobs, headers), min_size=1, max_size=8)


def written(how: Any, found: list[Any], room: int) -> tuple[bytes, list[Any]]:
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, room)
    said = [how(builder, offset, *record) for offset, record in enumerate(found)]
    return bytes(builder.build()), [None if one is None else (one.offset, one.size, one.timestamp) for one in said]


def test_producers_write_with_it() -> None:
    assert append is DefaultRecordBatchBuilder.append


@given(records, st.sampled_from([200, 5_000, 10**6]))
@settings(deadline=None, max_examples=200)
def test_the_same_bytes_as_kafka_python(found: list[Any], room: int) -> None:
    assert written(slow_append, found, room) == written(append, found, room)


def test_a_name_that_is_no_text_is_written_as_it_was_read() -> None:
    name = EscapedName(b"\xff-id".decode("utf-8", "surrogateescape"))
    data, _ = written(append, [(1, None, b"v", [(name, b"1")])], 1000)
    read: list[Any] = []
    read_batch(DefaultRecordBatch(data), read)
    assert b"\xff-id" == read[0].headers[0][0].encode()


@pytest.mark.parametrize("bad", [("text", b"v", []), (b"k", "text", []), (b"k", b"v", [("name", "text")])])
def test_what_is_not_bytes_is_refused(bad: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError):
        written(append, [(1, *bad)], 1000)


@pytest.fixture
def producer(kafka: RealKafka) -> Iterator[Any]:
    made = library().KafkaProducer(bootstrap_servers=kafka.bootstrap, max_request_size=10_000, batch_size=2_000)
    yield made
    made.close(timeout=5)


@pytest.fixture
def topic(kafka: RealKafka, producer: Any) -> str:
    name = f"t{uuid.uuid4().hex[:8]}"
    kafka.create_topics(name, partitions=5)
    producer.partitions_for(name)
    return name


@pytest.mark.kafka
def test_records_are_confirmed_where_kafka_python_would_write_them(producer: Any, topic: str) -> None:
    appender, keys = Appender(producer), [b"key-%d" % (n % 40) for n in range(200)]
    ours = [appender.send(topic, key, b"x" * 100, [("h", b"v")]) for key in keys]
    theirs = [producer.send(topic, key=key, value=b"x" * 100, headers=[("h", b"v")]) for key in keys]
    producer.flush(20)
    assert [future.get(20).partition for future in theirs] == [future.get(20).partition for future in ours]
    assert len(keys) * 2 == len({(f.value.partition, f.value.offset) for f in ours + theirs})


@pytest.mark.kafka
def test_the_order_of_a_key_is_kept_whichever_way_its_records_go(producer: Any, topic: str) -> None:
    appender = Appender(producer)
    sent = [appender.send(topic, b"k", b"%d" % n * (1 + n % 7 * 300), []) for n in range(120)]
    producer.flush(20)
    assert list(range(120)) == [future.get(20).offset for future in sent]


@pytest.mark.kafka
def test_records_without_a_key_and_null_values_are_written(producer: Any, topic: str) -> None:
    appender = Appender(producer)
    sent = [appender.send(topic, None, b"v", []), appender.send(topic, b"k", None, [])]
    producer.flush(20)
    written = [future.get(20) for future in sent]  # without a key, a record may go to any partition
    assert 2 == len({(record.topic_partition, record.offset) for record in written})


@pytest.mark.kafka
@pytest.mark.parametrize("header", ["h" * 9_990, "é" * 5_000])
def test_a_record_over_the_limit_is_refused_by_kafka_python(producer: Any, topic: str, header: str) -> None:
    with pytest.raises(MessageSizeTooLargeError):
        Appender(producer).send(topic, b"k", b"v", [(header, b"")])


@pytest.mark.kafka
def test_a_closed_producer_refuses(producer: Any, topic: str) -> None:
    appender = Appender(producer)
    appender.send(topic, b"k", b"v", []).get(20)
    producer.close(timeout=5)
    with pytest.raises(library().errors.IllegalStateError):
        appender.send(topic, b"k", b"v", [])


@pytest.mark.kafka
def test_known_keys_are_bounded(producer: Any, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upon_triggers.kafka.appending.KEYS_KNOWN", 10)
    assert KEYS_KNOWN > 10
    appender = Appender(producer)
    for number in range(100):
        appender.send(topic, b"%d" % number, b"v", [])
    producer.flush(20)
    assert len(appender._places[topic][1]) <= 10
