"""The judge of the chaos runs finds what it is there to find: loss, disorder, repetition, wrong dead letters."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos import behaviour
from chaos.journal import Journal
from chaos.plan import FUNCTIONS, Plan
from chaos.verdict import KIND, Kept, judge, judge_replies

PLAN = Plan(seed=0, events=10, kills=1)
COUNT = 4
FUNCTION = FUNCTIONS[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where event 3 is rejected, and the others are fine."""
    fates = {3: "rejected"}
    monkeypatch.setattr(behaviour, "fate", lambda seed, function, number: fates.get(number, "fine"))
    return tmp_path


class Message:
    def __init__(self, number: int, name: str, value: str) -> None:
        self._number = number
        self._header = (name, value.encode())

    def value(self) -> bytes:
        return b'{"n":%d}' % self._number

    def headers(self) -> list[tuple[str, bytes]]:
        return [self._header]


REJECTED = Message(3, KIND, "rejected")
GOOD = ("0 1 done 10 1", "1 1 done 11 1", "2 1 done 12 1", "3 1 reject 13 1")


def journal(folder: Path, *lines: str, cut: str = "") -> Journal:
    """Of lines `number attempt answer offset pid`, all in partition 0."""
    found = Journal(FUNCTION, folder, COUNT)
    with (folder / f"{FUNCTION.name}.log").open("a") as log:
        log.write(cut)
        for line in lines:
            number, attempt, answer, offset, pid = line.split()
            log.write(f"\n{number} {attempt} {answer} {pid} partition:0/offset:{offset} 0 .\n")
    found.read()
    found.close()
    return found


def judged(
    folder: Path, *lines: str, letters: tuple[Message, ...] = (REJECTED,), bound: int = 0, cut: str = ""
) -> Kept:
    return judge(PLAN, journal(folder, *lines, cut=cut), letters, bound)


def test_a_run_in_good_order_has_no_problems(folder: Path) -> None:
    kept = judged(folder, *GOOD)
    assert ([], 3, {"rejected": 1}, 4, 0) == (kept.problems, kept.handled, kept.dead, kept.deliveries, kept.duplicates)


def test_a_lost_event_is_found(folder: Path) -> None:
    assert ["1 events are lost: [1]"] == judged(folder, GOOD[0], GOOD[2], GOOD[3]).problems


def test_an_event_that_was_tried_and_not_finished_is_lost(folder: Path) -> None:
    assert "1 events are lost: [2]" in judged(folder, *GOOD[:2], "2 1 error 12 1", GOOD[3]).problems


def test_first_deliveries_out_of_order_are_found(folder: Path) -> None:
    assert ["out of order: partition 0: offset 11 came first after 12"] == judged(
        folder, GOOD[0], GOOD[2], GOOD[1], GOOD[3]
    ).problems


def test_one_that_began_before_the_one_before_it_was_finished_is_found(folder: Path) -> None:
    (problem,) = judged(folder, "0 1 error 10 1", GOOD[1], "0 2 done 10 1", *GOOD[2:]).problems
    assert problem.endswith("(earlier, later): [(0, 1)]")


def test_repetition_is_counted_and_bounded(folder: Path) -> None:
    kept = judged(folder, *GOOD[:2], "1 1 done 11 2", *GOOD[2:], bound=1)
    assert ([], 1, 1) == (kept.problems, kept.duplicates, kept.most_of_one_process)
    assert ["1 duplicates, and at most 0 may be"] == judged(folder).problems  # the same log, without a bound


def test_another_try_is_no_repetition(folder: Path) -> None:
    kept = judged(folder, "0 1 error 10 1", "0 2 done 10 1", *GOOD[1:])
    assert ([], 0) == (kept.problems, kept.duplicates)


def test_a_rejected_event_that_is_in_no_dead_letter_is_found(folder: Path) -> None:
    problems = judged(folder, *GOOD, letters=()).problems
    assert ["1 events are lost: [3]", "1 events with the wrong dead letter"] == [p.split(" (")[0] for p in problems]


@pytest.mark.parametrize(("number", "kind"), [(3, "error"), (1, "error"), (1, "timeout")])
def test_a_wrong_dead_letter_is_found(folder: Path, number: int, kind: str) -> None:
    problems = judged(folder, *GOOD, letters=(REJECTED, Message(number, KIND, kind))).problems
    assert ["1 events with the wrong dead letter"] == [p.split(" (")[0] for p in problems]


def test_a_line_that_kill_dash_nine_has_cut_spoils_no_other(folder: Path) -> None:
    kept = judged(folder, *GOOD, cut="\n0 1 done 1 partit")
    assert ([], 1, 4) == (kept.problems, kept.torn_lines, kept.deliveries)


def test_a_missing_reply_and_one_with_two_ids_are_found(folder: Path) -> None:
    found = journal(folder, *GOOD)
    good = [Message(number, "ce_id", "a") for number in range(3)]
    wrong = [*good[1:], Message(1, "ce_id", "b")]
    assert [] == judge_replies(found, good)
    assert ["1 events were handled and not answered: [0]", "1 events have answers with different ids: [1]"] == (
        judge_replies(found, wrong)
    )
