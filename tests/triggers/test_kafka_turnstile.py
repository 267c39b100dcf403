"""Suspects of a process: chunks side by side, or one record alone."""

from __future__ import annotations

from upon_triggers.kafka.turnstile import Turnstile


def _nothing() -> None:
    pass


def test_chunks_run_side_by_side() -> None:
    turnstile = Turnstile()
    assert [True, True, True] == [turnstile.enter(who, _nothing, alone=False) for who in ("a", "b", "a")]


def test_one_that_wants_to_be_alone_waits_for_the_chunks_and_lets_no_other_in() -> None:
    turnstile, woken = Turnstile(), []
    turnstile.enter("chunk", _nothing, alone=False)
    assert not turnstile.enter("single", lambda: woken.append("single"), alone=True)
    assert not turnstile.enter("late", lambda: woken.append("late"), alone=False)
    assert not turnstile.enter("chunk", lambda: woken.append("chunk"), alone=False)
    assert [] == woken
    turnstile.leave("chunk")
    assert ["single", "late"] == woken
    assert not turnstile.enter("late", _nothing, alone=False)
    assert turnstile.enter("single", _nothing, alone=True)
    assert not turnstile.enter("other", _nothing, alone=True)
    assert turnstile.enter("single", _nothing, alone=True)
    turnstile.leave("single")
    assert turnstile.enter("other", _nothing, alone=True)


def test_the_first_in_line_is_the_first_alone() -> None:
    turnstile = Turnstile()
    turnstile.enter("a", _nothing, alone=True)
    assert [False, False] == [turnstile.enter(who, _nothing, alone=True) for who in ("b", "c")]
    turnstile.leave("a")
    assert [False, True] == [turnstile.enter(who, _nothing, alone=True) for who in ("c", "b")]


def test_who_is_gone_holds_nobody_up() -> None:
    turnstile = Turnstile()
    turnstile.enter("a", _nothing, alone=True)
    turnstile.enter("gone", _nothing, alone=True)
    turnstile.leave("gone")
    turnstile.leave("a")
    assert turnstile.enter("b", _nothing, alone=False)
    turnstile.leave("stranger")


def test_who_was_in_a_crowd_may_go_on_alone() -> None:
    turnstile = Turnstile()
    turnstile.enter("a", _nothing, alone=False)
    assert turnstile.enter("a", _nothing, alone=True)
    assert not turnstile.enter("b", _nothing, alone=False)


def test_processes_have_names_of_their_own() -> None:
    assert 0 not in {Turnstile().id, Turnstile().id}
    assert Turnstile().id != Turnstile().id
