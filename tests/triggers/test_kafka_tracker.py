"""The window of a partition: whatever the order of finishing, nothing unfinished is ever below the watermark."""

from __future__ import annotations

import random

import pytest

from upon_triggers.kafka.tracker import Window


def _window(*offsets: int) -> Window:
    window = Window()
    for offset in offsets:
        window.receive(offset)
    return window


@pytest.mark.parametrize(
    ("offsets", "finished", "watermark"),
    [
        ([], [], None),
        ([5], [], 5),
        ([5], [5], 6),
        ([5, 6, 7], [6, 7], 5),
        ([5, 6, 7], [7, 5], 6),
        ([5, 6, 7], [7, 6, 5], 8),
        ([5, 9, 20], [5], 9),  # gaps: compaction, transactions
        ([5, 9, 20], [20, 9, 5], 21),
    ],
)
def test_watermark(offsets: list[int], finished: list[int], watermark: int | None) -> None:
    window = _window(*offsets)
    for offset in finished:
        window.finish(offset)
    assert watermark == window.watermark
    assert len(offsets) - len(finished) == window.unfinished


def test_what_was_received_before_is_refused() -> None:
    window = _window(5, 6)
    assert [False, False, True] == [window.receive(offset) for offset in (5, 6, 7)]
    assert 3 == len(window)


def test_finished_above_the_watermark_stay_in_the_window() -> None:
    window = _window(1, 2, 3, 4)
    window.finish(2)
    window.finish(4)
    assert frozenset({2, 4}) == window.finished_above
    assert (4, 2) == (len(window), window.unfinished)


@pytest.mark.parametrize("seed", range(20))
def test_any_order(seed: int) -> None:
    rng = random.Random(seed)
    offsets = sorted(rng.sample(range(1000), 200))
    window, unfinished = _window(*offsets), set(offsets)
    for offset in rng.sample(offsets, 200):
        window.finish(offset)
        unfinished.discard(offset)
        assert min(unfinished, default=offsets[-1] + 1) == window.watermark
    assert 0 == len(window)


@pytest.mark.parametrize("seed", range(20))
def test_many_at_once_are_the_same_as_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    offsets = sorted(rng.sample(range(1000), 200))
    at_once, one_by_one, begin = Window(), Window(), 0
    while begin < len(offsets):
        again, size = rng.randrange(min(begin, 3) + 1), rng.randrange(1, 40)  # some were received before
        part = offsets[begin - again : begin + size]
        assert again == at_once.receive_all(part)
        assert [False] * again == [one_by_one.receive(offset) for offset in part][:again]
        begin += size
        received = sorted(one_by_one._offsets)
        unfinished = [offset for offset in received if offset not in one_by_one.finished_above]
        done = unfinished[: rng.randrange(30)] if rng.random() < 0.5 else sorted(rng.sample(unfinished, 1))
        at_once.finish_all(done)
        for offset in done:
            one_by_one.finish(offset)
        assert (one_by_one.watermark, one_by_one.unfinished, one_by_one.finished_above, len(one_by_one)) == (
            at_once.watermark,
            at_once.unfinished,
            at_once.finished_above,
            len(at_once),
        )
