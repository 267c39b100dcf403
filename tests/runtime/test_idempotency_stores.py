"""What every store of handled events promises, asked of each kind: the servers are real."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.postgresql import postgresql_server as postgresql_server
from support.redis import redis_server as redis_server
from support.stores import Made
from support.stores import made as made
from upon_runtime.idempotency import Begun, Finished, Fresh, Held, Store

TTL = 60.0
SHORT = 0.2  # seconds; a real server's clock has to pass it


def begin(store: Store, token: str = "mine", key: str = "k", lease: float = 30.0) -> Begun:
    [begun] = store.begin([key], token, lease)
    return begun


def test_one_holds_the_marker_and_others_are_told(made: Made) -> None:
    assert Fresh() == begin(made.store)
    held = begin(made.another(), "theirs")
    assert isinstance(held, Held)
    assert 25 < held.left <= 30


def test_a_finished_event_is_answered_with_its_reply(made: Made) -> None:
    begin(made.store)
    assert {"k"} == made.store.finish({"k": b"reply \x00\xff"}, "mine", TTL)
    assert Finished(b"reply \x00\xff") == begin(made.another(), "theirs")


@pytest.mark.parametrize("reply", [b"", b"x" * 3_000_000], ids=len)
def test_replies_of_any_size(made: Made, reply: bytes) -> None:
    begin(made.store)
    made.store.finish({"k": reply}, "mine", TTL)
    assert Finished(reply) == begin(made.store, "theirs")


def test_released_means_free_for_the_next_try(made: Made) -> None:
    begin(made.store)
    made.store.release(["k"], "mine")
    assert Fresh() == begin(made.store, "theirs")


def test_a_lease_that_ran_out_is_free(made: Made) -> None:
    begin(made.store, lease=SHORT)
    made.later(SHORT * 2)
    assert Fresh() == begin(made.store, "theirs")


def test_a_holder_that_lost_its_lease_is_fenced_off(made: Made) -> None:
    begin(made.store, lease=SHORT)
    made.later(SHORT * 2)
    begin(made.another(), "theirs")
    assert set() == made.store.finish({"k": b"late"}, "mine", TTL)
    assert set() == made.store.extend(["k"], "mine", 30)
    made.store.release(["k"], "mine")
    assert isinstance(begin(made.store, "third"), Held)
    assert {"k"} == made.store.finish({"k": b"good"}, "theirs", TTL)
    assert Finished(b"good") == begin(made.store)


def test_a_finished_event_is_not_overwritten_by_a_late_holder(made: Made) -> None:
    begin(made.store, lease=SHORT)
    made.later(SHORT * 2)
    begin(made.store, "theirs")
    made.store.finish({"k": b"good"}, "theirs", TTL)
    assert set() == made.store.finish({"k": b"late"}, "mine", TTL)
    made.store.release(["k"], "theirs")
    assert Finished(b"good") == begin(made.store)


def test_a_lease_that_ran_out_untaken_can_still_be_finished(made: Made) -> None:
    begin(made.store, lease=SHORT)
    made.later(SHORT * 2)
    assert {"k"} == made.store.finish({"k": b"late"}, "mine", TTL)
    assert Finished(b"late") == begin(made.store, "theirs")


def test_extended_leases_last(made: Made) -> None:
    begin(made.store, lease=SHORT)
    assert {"k"} == made.store.extend(["k", "unknown"], "mine", 30)
    made.later(SHORT * 2)
    assert isinstance(begin(made.store, "theirs"), Held)


def test_replies_are_forgotten_after_their_time(made: Made) -> None:
    begin(made.store)
    made.store.finish({"k": b"reply"}, "mine", SHORT)
    made.later(SHORT * 2)
    assert Fresh() == begin(made.store, "theirs")


def test_every_act_can_be_repeated(made: Made) -> None:
    """An answer may be lost after the act took place."""
    assert [Fresh(), Fresh()] == [begin(made.store), begin(made.store)]
    assert [{"k"}, {"k"}] == [made.store.finish({"k": b"r"}, "mine", TTL) for _ in range(2)]
    assert Finished(b"r") == begin(made.store)
    made.store.release(["k"], "mine")
    assert Finished(b"r") == begin(made.store)


def test_a_batch_is_one_act(made: Made) -> None:
    made.store.begin(["done", "held"], "theirs", 30)
    made.store.finish({"done": b"reply"}, "theirs", TTL)
    first, second, third = made.store.begin(["held", "fresh", "done"], "mine", 30)
    assert isinstance(first, Held)
    assert (Fresh(), Finished(b"reply")) == (second, third)
    assert {"fresh"} == made.store.finish({"held": b"x", "fresh": b"y"}, "mine", TTL)


def test_large_batches(made: Made) -> None:
    keys = [f"k{number}" for number in range(1000)]
    assert {Fresh()} == set(made.store.begin(keys, "mine", 30))
    assert set(keys) == made.store.extend(keys, "mine", 30)
    assert set(keys) == made.store.finish(dict.fromkeys(keys, b"r"), "mine", TTL)
    assert {Finished(b"r")} == set(made.store.begin(keys, "theirs", 30))


def test_what_has_expired_is_removed_in_portions(made: Made) -> None:
    if made.store.name == "redis":
        assert 0 == made.store.sweep(10)  # it removes by itself
        return
    made.store.begin([f"k{number}" for number in range(5)], "mine", SHORT)
    made.store.begin(["kept"], "mine", 30)
    made.later(SHORT * 2)
    assert [3, 2, 0] == [made.store.sweep(3) for _ in range(3)]
    assert isinstance(begin(made.store, "theirs", "kept"), Held)


def test_of_many_at_once_one_gets_through(made: Made) -> None:
    stores = [made.store, made.another()]
    threads, rounds = 8, 20
    together = threading.Barrier(threads, timeout=30)

    def ask(number: int) -> list[Begun]:
        found = []
        for turn in range(rounds):
            together.wait()
            found += stores[number % 2].begin([f"k{turn}", f"l{turn}"], f"token{number}", 30)
        return found

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(ask, range(threads)))
    assert [1] * rounds * 2 == [sum(answers[turn] == Fresh() for answers in found) for turn in range(rounds * 2)]
