"""Reads fetched record batches several times faster than kafka-python, which spends most of a poll loop on it.

Only the innermost loop is replaced, for the record format of all brokers since 0.11 (message format v2): checksums,
compression, transactions, positions and old formats are kafka-python's own or follow it line by line. What it builds
on is not public there, so kafka-python is pinned, and tests hold the two parsers against each other.

Imported late, after `library()`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.protocol.consumer import IsolationLevel

from upon_triggers.kafka.lenient import ESCAPE, EscapedName


class Fetched(NamedTuple):
    """A record, by the names that kafka-python's has. timestamp: milliseconds since 1970, -1 where there is none."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: Any  # a sequence of (name, value), () for none
    timestamp: int


def parse_quickly(consumer: Any) -> None:
    """Let this KafkaConsumer give Fetched records, parsed here. It must have no deserializers."""
    consumer._fetcher.PartitionRecords = QuickPartitionRecords


_PartitionRecords: Any = Fetcher.PartitionRecords


class QuickPartitionRecords(_PartitionRecords):  # type: ignore[misc]
    """What one fetch brought of one partition."""

    def __init__(self, fetch_offset: int, tp: Any, records: Any, **options: Any) -> None:
        super().__init__(fetch_offset, tp, records, **options)
        self.record_iterator = self._batches(records)
        self._parsed: list[Fetched] = []
        self._taken = 0  # of these

    def take(self, n: int | None = None) -> list[Fetched]:
        """The next records, at most `n`, all of one batch. Raises CorruptRecordError."""
        if self._taken == len(self._parsed):
            self._parsed, self._taken = next(self.record_iterator, []), 0
        taken = self._parsed[self._taken : None if n is None else self._taken + n]
        if taken:
            self._taken += len(taken)
            self.next_fetch_offset = taken[-1].offset + 1
        return taken

    def _batches(self, records: Any) -> Iterator[list[Fetched]]:
        last = None
        while (batch := records.next_batch()) is not None:
            last = batch
            found: list[Fetched] = []
            try:
                self._read(batch, found)
            except Exception:  # a checksum, or a compression without its package
                yield found
                self.drain()  # so that it is fetched again; else kafka-python would ask this iterator for ever
                raise
            if found:
                yield found
        if last is not None and last.magic == 2:  # compaction may have taken the last record, but not its offset
            self.next_fetch_offset = last.next_offset
        self.drain()

    def _read(self, batch: Any, found: list[Fetched]) -> None:
        if self.check_crcs and not batch.validate_crc():
            where = f"partition {self.topic_partition} at offset {batch.base_offset}"
            raise CorruptRecordError(f"Record batch for {where} failed crc check")
        if batch.magic != 2:
            self._read_old(batch, found)
        elif self._is_passed_over(batch):
            self.next_fetch_offset = batch.next_offset
            return
        else:
            read_batch(batch, found)
        self.bytes_read += batch.size_in_bytes
        self.records_read += len(found)
        if found and found[0].offset < self.fetch_offset:  # a fetch begins with the batch that holds its offset
            found[:] = [record for record in found if record.offset >= self.fetch_offset]

    def _is_passed_over(self, batch: Any) -> bool:
        """Control batches, and with read_committed what was aborted."""
        self.leader_epoch = batch.leader_epoch
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return True
        return bool(batch.is_control_batch)

    def _read_old(self, batch: Any, found: list[Fetched]) -> None:
        for record in batch:
            if self.check_crcs and not record.validate_crc():
                where = f"partition {self.topic_partition} at offset {record.offset}"
                raise CorruptRecordError(f"Record for {where} failed crc check")
            found.append(Fetched(record.offset, record.key, record.value, record.headers, record.timestamp))


def read_batch(batch: Any, found: list[Fetched]) -> None:
    """Append the records of a batch of format v2. Raises CorruptRecordError."""
    batch._maybe_uncompress()
    by_the_broker = batch.timestamp_type == batch.LOG_APPEND_TIME
    times = (batch.max_timestamp, 0) if by_the_broker else (batch.first_timestamp, 1)
    try:
        _read_records(bytes(batch._buffer), batch._pos, batch.records_count, batch.base_offset, *times, found)
    except (ValueError, IndexError) as error:
        raise CorruptRecordError(f"Found invalid record structure: {error!r}") from error


def _read_records(data: bytes, pos: int, count: int, base: int, began: int, counts: int, found: list[Fetched]) -> None:
    # Every number is a zigzag varint. Those of one and two bytes, which is nearly all, are read in line: calls would
    # double the time. began: what a record's own time is added to. counts: 1, or 0 where the broker set the time.
    new, add = tuple.__new__, found.append  # a call of Fetched costs twice as much
    for _ in range(count):
        if (length := data[pos]) < 0x80:
            pos += 1
        elif (more := data[pos + 1]) < 0x80:
            length += (more << 7) - 0x80
            pos += 2
        else:
            length, pos = _varint(data, pos)
        end = pos + (length >> 1 ^ -(length & 1))
        pos = pos + 1 if data[pos] < 0x80 else _varint(data, pos)[1]  # attributes, of which none are in use
        if (passed := data[pos]) < 0x80:
            pos += 1
        elif (more := data[pos + 1]) < 0x80:
            passed += (more << 7) - 0x80
            pos += 2
        else:
            passed, pos = _varint(data, pos)
        if (ahead := data[pos]) < 0x80:
            pos += 1
        elif (more := data[pos + 1]) < 0x80:
            ahead += (more << 7) - 0x80
            pos += 2
        else:
            ahead, pos = _varint(data, pos)
        if (size := data[pos]) < 0x80:
            pos += 1
        elif (more := data[pos + 1]) < 0x80:
            size += (more << 7) - 0x80
            pos += 2
        else:
            size, pos = _varint(data, pos)
        key = None if size & 1 else data[pos : (pos := pos + (size >> 1))]
        if (size := data[pos]) < 0x80:
            pos += 1
        elif (more := data[pos + 1]) < 0x80:
            size += (more << 7) - 0x80
            pos += 2
        else:
            size, pos = _varint(data, pos)
        value = None if size & 1 else data[pos : (pos := pos + (size >> 1))]
        if data[pos]:
            headers, pos = _headers(data, pos)
        else:
            headers, pos = (), pos + 1
        if pos != end:
            raise ValueError(f"a record ends {pos - end} bytes off its place")
        time = began + (passed >> 1 ^ -(passed & 1)) * counts
        add(new(Fetched, (base + (ahead >> 1 ^ -(ahead & 1)), key, value, headers, time)))
    if pos != len(data):
        raise ValueError(f"{len(data) - pos} bytes are left after the last record")


def _headers(data: bytes, pos: int) -> tuple[Any, int]:
    count, pos = _varint(data, pos)
    if count & 1:
        raise ValueError("a negative number of headers")
    headers = []
    for _ in range(count >> 1):
        name, pos = _field(data, pos)
        if name is None:
            raise ValueError("a header without a name")
        value, pos = _field(data, pos)
        headers.append((_text(name), value))
    return headers, pos


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return EscapedName(name.decode("utf-8", ESCAPE))


def _field(data: bytes, pos: int) -> tuple[bytes | None, int]:
    """Bytes after their length; a negative one is None."""
    size, pos = _varint(data, pos)
    end = pos + (size >> 1)
    return (None, pos) if size & 1 else (data[pos:end], end)


def _varint(data: bytes, pos: int) -> tuple[int, int]:
    """A varint of any length as it stands, zigzag not undone, and the position after it."""
    number = shift = 0
    while (byte := data[pos]) >= 0x80:
        number |= (byte & 0x7F) << shift
        pos += 1
        shift += 7
        if shift >= 64:
            raise ValueError("Out of int64 range")
    return number | byte << shift, pos + 1
