"""Our parser of record batches against kafka-python's own: the same records, positions and errors, whatever comes."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upon_triggers.kafka.library import library

library()  # imports kafka-python without its warnings

from kafka.consumer.fetcher import Fetcher  # noqa: E402
from kafka.errors import CorruptRecordError  # noqa: E402
from kafka.protocol.consumer import FetchResponse, IsolationLevel  # noqa: E402
from kafka.record import MemoryRecords  # noqa: E402
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder  # noqa: E402
from kafka.record.legacy_records import LegacyRecordBatchBuilder  # noqa: E402
from kafka.structs import TopicPartition  # noqa: E402

from upon_triggers.kafka.parsing import Fetched, QuickPartitionRecords, parse_quickly  # noqa: E402

TP = TopicPartition("t", 0)
HEADER = DefaultRecordBatch.HEADER_STRUCT.size
NONE, GZIP = 0, 1

sizes = st.sampled_from([0, 1, 62, 63, 64, 65, 200, 8190, 8191, 8192, 8193, 20_000])
blobs = st.one_of(st.none(), st.binary(max_size=100), sizes.map(bytes))
headers = st.lists(st.tuples(st.text(max_size=20), blobs), max_size=4)
# offsets within the batch and times after the first record's, around the places where varints grow
deltas = st.sampled_from([0, 1, 63, 64, 8191, 8192, 1_048_575, 1_048_576, 2**31 - 1])
times = st.one_of(st.integers(-(2**20), 2**40), deltas)
records = st.lists(st.tuples(times, blobs, blobs, headers), min_size=1, max_size=8)


def batch(
    found: list[Any],
    *,
    base: int = 0,
    gaps: int = 1,
    codec: int = NONE,
    producer: int = -1,
    transactional: bool = False,
) -> bytes:
    """A batch of records (time, key, value, headers), `gaps` offsets apart."""
    epoch, sequence = (0, 0) if producer >= 0 else (-1, -1)
    builder = DefaultRecordBatchBuilder(2, codec, transactional, producer, epoch, sequence, 2**30)
    for index, (time, key, value, given_headers) in enumerate(found):
        builder.append(index * gaps, time, key, value, given_headers)
    raw = bytearray(builder.build())
    struct.pack_into(">q", raw, 0, base)  # the broker's part, which no checksum covers
    return bytes(raw)


def read(kind: Any, data: bytes, *, first: int = 0, step: int | None = None, **options: Any) -> tuple[Any, ...]:
    """What a fetch gives, taken `step` records at a time: the records, the next offset, the error."""
    part = kind(first, TP, MemoryRecords(data), **options)
    taken: list[tuple[Any, ...]] = []
    error = None
    try:
        for _ in range(1000):  # kafka-python's own never ends after an error
            if not part:
                break
            taken += [(r.offset, r.key, r.value, list(r.headers), r.timestamp) for r in part.take(step)]
    except CorruptRecordError as raised:
        error = type(raised)
    return taken, part.next_fetch_offset, error


def both(data: bytes, **options: Any) -> tuple[Any, ...]:
    """What both parsers give, when it is the same."""
    ours = read(QuickPartitionRecords, data, **options)
    assert read(Fetcher.PartitionRecords, data, **options) == ours
    return ours


@given(records, st.integers(0, 2**40), st.sampled_from([1, 2, 64, 70_000]), st.sampled_from([NONE, GZIP]))
@settings(deadline=None, max_examples=200)
def test_the_same_records_as_kafka_python(found: list[Any], base: int, gaps: int, codec: int) -> None:
    taken, position, error = both(batch(found, base=base, gaps=gaps, codec=codec))
    assert [(time, key, value, given_headers) for time, key, value, given_headers in found] == [
        (time, key, value, given_headers) for _, key, value, given_headers, time in taken
    ]
    assert [base + index * gaps for index in range(len(found))] == [offset for offset, *_ in taken]
    assert (base + (len(found) - 1) * gaps + 1, None) == (position, error)


@given(records, st.data())
@settings(deadline=None, max_examples=300)
def test_damaged_batches_are_refused_alike(found: list[Any], data: st.DataObject) -> None:
    """Without checksums, so that the damage reaches the parser."""
    raw = bytearray(batch([(time, key, (value or b"")[:200], h) for time, key, value, h in found]))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(HEADER, len(raw) - 1))] = data.draw(st.integers(0, 255))
    both(bytes(raw), check_crcs=False)


def test_a_checksum_that_is_wrong_is_corrupt() -> None:
    raw = bytearray(batch([(1, b"k", b"v", [])]))
    raw[-1] ^= 1
    assert ([], 0, CorruptRecordError) == both(bytes(raw))


def test_records_before_the_damage_are_given_and_the_rest_is_fetched_again() -> None:
    good, bad = batch([(1, None, b"a", [])]), bytearray(batch([(1, None, b"b", []), (1, None, b"c", [])], base=1))
    bad[-3] ^= 0x40  # the length of the last record's value
    part = QuickPartitionRecords(0, TP, MemoryRecords(good + bytes(bad)), check_crcs=False)
    assert [b"a"] == [record.value for record in part.take(10)]
    assert [b"b"] == [record.value for record in part.take(10)]
    with pytest.raises(CorruptRecordError):
        part.take(10)
    assert (2, False) == (part.next_fetch_offset, bool(part))


@pytest.mark.parametrize("step", [1, 2, 3, 100])
@pytest.mark.parametrize("first", [0, 4, 5, 6, 9])
def test_a_fetch_begins_at_its_offset_and_goes_on_over_batches(first: int, step: int) -> None:
    data = batch([(n, None, b"%d" % n, []) for n in range(5)]) + batch(
        [(n, None, b"%d" % n, []) for n in range(5, 10)], base=5
    )
    taken, position, _ = both(data, first=first, step=step)
    assert ([b"%d" % n for n in range(first, 10)], 10) == ([value for _, _, value, _, _ in taken], position)


def test_the_brokers_time_counts_where_the_topic_says_so() -> None:
    raw = bytearray(batch([(5, None, b"a", []), (9, None, b"b", [])]))
    raw[22] |= DefaultRecordBatch.TIMESTAMP_TYPE_MASK
    taken, _, _ = both(bytes(raw), check_crcs=False)
    assert [9, 9] == [time for *_, time in taken]


def test_compacted_ends_and_control_batches_move_the_position() -> None:
    control = bytearray(batch([(1, b"\0\0\0\1", b"\0\0\0\0\0\0", [])], base=1, producer=7, transactional=True))
    control[22] |= DefaultRecordBatch.CONTROL_MASK
    compacted = bytearray(batch([(1, None, b"x", [])], base=2))
    compacted[26] = 5  # last offset delta
    data = batch([(1, None, b"a", [])]) + bytes(control) + bytes(compacted)
    taken, position, _ = both(data, check_crcs=False)
    assert ([0, 2], 8) == ([offset for offset, *_ in taken], position)


@pytest.mark.parametrize(("isolation", "values"), [("READ_COMMITTED", [b"b"]), ("READ_UNCOMMITTED", [b"a", b"b"])])
def test_aborted_transactions_are_passed_over_where_that_is_asked(isolation: str, values: list[bytes]) -> None:
    aborted = batch([(1, None, b"a", [])], producer=7, transactional=True)
    marker = bytearray(batch([(1, b"\0\0\0\0", b"\0\0\0\0\0\0", [])], base=1, producer=7, transactional=True))
    marker[22] |= DefaultRecordBatch.CONTROL_MASK
    later = batch([(1, None, b"b", [])], base=2, producer=7, transactional=True)
    transaction = FetchResponse.FetchableTopicResponse.PartitionData.AbortedTransaction(producer_id=7, first_offset=0)
    options = {"isolation_level": IsolationLevel[isolation], "aborted_transactions": [transaction]}
    taken, position, _ = both(aborted + bytes(marker) + later, check_crcs=False, **options)
    assert (values, 3) == ([value for _, _, value, _, _ in taken], position)


@pytest.mark.parametrize("magic", [0, 1])
def test_old_message_formats_are_read(magic: int) -> None:
    builder = LegacyRecordBatchBuilder(magic, NONE, 2**20)
    for offset in range(3):
        builder.append(offset, timestamp=1000 + offset, key=b"k", value=b"%d" % offset)
    taken, position, _ = both(bytes(builder.build()))
    assert ([b"0", b"1", b"2"], 3) == ([value for _, _, value, _, _ in taken], position)


def test_a_headers_name_that_is_no_text_is_kept() -> None:
    raw = bytearray(batch([(1, None, None, [("\x80", b"v")])]))
    raw[raw.index(b"\xc2\x80")] = 0xFF
    taken, _, _ = both(bytes(raw), check_crcs=False)
    name, value = taken[0][3][0]
    assert (b"\xff\x80", b"v") == (name.encode(), value)


def test_records_are_read_by_the_names_that_the_source_uses() -> None:
    part = QuickPartitionRecords(0, TP, MemoryRecords(batch([(7, b"k", b"v", [("h", None)])])))
    assert [Fetched(offset=0, key=b"k", value=b"v", headers=[("h", None)], timestamp=7)] == part.take()


def test_kafka_python_still_asks_its_fetcher_for_the_class() -> None:
    class Consumer:
        _fetcher = object.__new__(Fetcher)

    parse_quickly(Consumer)
    assert QuickPartitionRecords is Consumer._fetcher.PartitionRecords
    assert "PartitionRecords" in Fetcher._parse_fetched_data.__code__.co_names
