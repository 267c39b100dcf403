"""The metadata of a commit: whatever is put in comes out, within the brokers' limit; anything else says nothing."""

from __future__ import annotations

import logging
import random
import zlib
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upon_triggers.kafka.notes import LIMIT, MOST_ATTEMPTS, MOST_SUSPECTS, NOTHING, SPAN, Notes, decode, encode, fits

WATERMARKS = st.integers(0, 2**62)
ABOVE = st.integers(1, SPAN)
FEW = st.frozensets(st.integers(0, SPAN), max_size=MOST_SUSPECTS).map(lambda found: tuple(sorted(found)))


@st.composite
def _notes(draw: st.DrawFn) -> tuple[int, Notes]:
    watermark = draw(WATERMARKS)
    above = [tuple(watermark + n for n in draw(FEW)) for _ in range(2)]
    tried = draw(st.dictionaries(st.integers(0, SPAN), st.integers(2, 1000), max_size=MOST_ATTEMPTS))
    return watermark, Notes(
        finished=frozenset(watermark + n for n in draw(st.frozensets(ABOVE, max_size=200))),
        open=draw(st.integers(0, 1_000_000)),
        owner=draw(st.integers(0, 2**32 - 1)),
        level=draw(st.integers(0, 2)),
        rest=draw(st.integers(0, 1_000_000)),
        suspects=above[0],
        pinned=above[1],
        attempts=tuple(sorted((watermark + n, attempt) for n, attempt in tried.items())),
    )


@settings(deadline=None)
@given(_notes())
def test_what_is_written_is_read(written: tuple[int, Notes]) -> None:
    watermark, notes = written
    text = encode(watermark, notes)
    assert notes == decode(watermark, text)
    assert len(text.encode()) <= LIMIT


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0.01, 0.5, 0.99]), WATERMARKS)
def test_the_fullest_notes_stay_within_the_limit(seed: int, density: float, watermark: int) -> None:
    rng = random.Random(seed)
    finished = frozenset(watermark + n for n in range(1, SPAN + 1) if rng.random() < density) | {watermark + SPAN}
    few = tuple(sorted(watermark + n for n in rng.sample(range(SPAN + 1), MOST_SUSPECTS)))
    attempts = tuple((offset, 2**31) for offset in few)
    notes = Notes(finished, 2**31, 2**32 - 1, 2, 2**31, few, few, attempts)
    text = encode(watermark, notes)
    assert notes == decode(watermark, text)
    assert len(text) <= LIMIT


@given(st.text(max_size=200))
def test_foreign_metadata_says_nothing(text: str) -> None:
    assert NOTHING == decode(7, text)


@settings(deadline=None)
@given(_notes(), st.integers(0), st.characters(codec="ascii"))
def test_damaged_metadata_says_nothing(written: tuple[int, Notes], at: int, other: str) -> None:
    watermark, notes = written
    text = encode(watermark, notes)
    at %= max(len(text), 1)
    damaged = text[:at] + other + text[at + 1 :]
    assert decode(watermark, damaged) in (NOTHING, notes)  # the last character has bits that mean nothing


@settings(deadline=None)
@given(_notes())
def test_metadata_that_is_cut_off_says_nothing(written: tuple[int, Notes]) -> None:
    watermark, notes = written
    text = encode(watermark, notes)
    assert all(decode(watermark, text[:n]) in (NOTHING, notes) for n in range(0, len(text), 7))


def test_the_metadata_of_another_offset_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    text = encode(100, Notes(frozenset({102}), open=5))
    with caplog.at_level(logging.WARNING, "upon.kafka"):
        assert NOTHING == decode(99, text)
    assert ["the metadata of the commit at offset 99 is ignored: it is damaged, or belongs to another offset"] == [
        record.getMessage() for record in caplog.records
    ]


def test_a_decompression_bomb_says_nothing() -> None:
    body = bytes(7) + b"\x01" + zlib.compress(bytes(10_000_000))
    checksum = zlib.crc32(body, zlib.crc32(b"0")).to_bytes(4, "big")
    assert NOTHING == decode(0, "u1." + urlsafe_b64encode(checksum + body).decode())


def test_nothing_takes_nothing() -> None:
    assert ("", NOTHING, NOTHING) == (encode(5, NOTHING), decode(5, ""), decode(5, None))


def test_a_run_of_finished_records_takes_little() -> None:
    assert len(encode(0, Notes(frozenset(range(1, SPAN))))) < 100


def test_what_does_not_fit_is_an_error_and_not_a_loss() -> None:
    assert [True, False] == [fits(10, 10 + SPAN), fits(10, 11 + SPAN)]
    with pytest.raises(ValueError, match="can't hold"):
        encode(10, Notes(frozenset({11 + SPAN})))
    with pytest.raises(ValueError, match="can't hold"):
        encode(10, Notes(frozenset({10})))
    with pytest.raises(ValueError, match="more than 32"):
        encode(10, Notes(level=2, suspects=tuple(range(10, 50))))
    with pytest.raises(ValueError, match="below the watermark"):
        encode(10, Notes(pinned=(9,)))


def test_of_many_attempts_the_first_are_kept() -> None:
    attempts = tuple((offset, 2) for offset in range(100))
    assert attempts[:MOST_ATTEMPTS] == decode(0, encode(0, Notes(attempts=attempts))).attempts
