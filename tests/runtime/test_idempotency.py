"""What an idempotent function's callers see, on the real dispatcher."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import upon
from support.dispatching import Collected
from support.handled import guarded, idempotent
from support.services import dispatcher_of
from support.stores import Clock
from upon import Done, Event, Failed
from upon._outcome import Repeated
from upon_runtime.dispatcher import Dispatcher
from upon_runtime.idempotency import Held, MemoryStore, StoreUnavailable
from upon_runtime.idempotency.keys import key_of
from upon_runtime.service import Service

EVENT = Event.of({"n": 1}, id="a", source="/orders", subject="s")


class FlakyStore(MemoryStore):
    """Away while `away` holds the name of an act; what it did then may have taken place."""

    def __init__(self) -> None:
        super().__init__()
        self.away: set[str] = set()
        self.takes_place = False
        self.leases: list[float] = []

    def begin(self, keys: Any, token: str, lease: float) -> Any:
        self.leases.append(lease)
        return self._maybe("begin", lambda: super(FlakyStore, self).begin(keys, token, lease))

    def finish(self, replies: Any, token: str, ttl: float) -> Any:
        return self._maybe("finish", lambda: super(FlakyStore, self).finish(replies, token, ttl))

    def release(self, keys: Any, token: str) -> None:
        self._maybe("release", lambda: super(FlakyStore, self).release(keys, token))

    def _maybe(self, name: str, act: Any) -> Any:
        if name not in self.away:
            return act()
        if self.takes_place:
            act()
        raise StoreUnavailable("gone")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def store() -> FlakyStore:
    return FlakyStore()


def marker(store: MemoryStore, dispatcher: Dispatcher, event: Event) -> Any:
    """What somebody else is told who begins with the event."""
    [name] = dispatcher.functions
    [begun] = store.begin([key_of(event, name, "default\n")], "theirs", 1.0)
    return begun


class Counting:
    """A handler, sync or async, that counts its calls."""

    def __init__(self, is_async: bool, result: Any = None) -> None:
        self.seen: list[str] = []
        self.results = [result]

        def handle(event: Event) -> Any:
            self.seen.append(event.id)
            result = self.results.pop() if len(self.results) > 1 else self.results[0]
            if isinstance(result, BaseException):
                raise result
            return result

        async def handle_async(event: Event) -> Any:
            return handle(event)

        handle_async.__name__ = "handle"
        self.function = handle_async if is_async else handle


BOTH = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


@BOTH
def test_a_repeated_event_gets_the_same_reply_without_the_handler(
    stack: ExitStack, store: FlakyStore, is_async: bool
) -> None:
    counting, repeated = Counting(is_async, {"total": 2}), list[str]()
    dispatcher = guarded(stack, store, counting.function, on_repeated=repeated.append)
    first, second = dispatcher.deliver(EVENT), dispatcher.deliver(EVENT)
    assert type(first) is Done
    assert Repeated(first.reply) == second
    assert (["a"], ["handle"]) == (counting.seen, repeated)


@BOTH
@pytest.mark.parametrize("result", [None, Event.of(b"\x00\xff", id="r", source="/x", type="t", key=1, flag=True)])
def test_replies_come_back_as_they_were(stack: ExitStack, store: FlakyStore, is_async: bool, result: Any) -> None:
    dispatcher = guarded(stack, store, Counting(is_async, result).function)
    outcomes = [dispatcher.deliver(EVENT) for _ in range(2)]
    assert [result, result] == [outcome.reply for outcome in outcomes if isinstance(outcome, Done)]


def test_another_id_source_or_function_is_another_event(stack: ExitStack, store: FlakyStore) -> None:
    seen = []

    def one(event: Event) -> None:
        seen.append("one")

    def two(event: Event) -> None:
        seen.append("two")

    dispatcher = guarded(stack, store, one, two)
    for event in (EVENT, Event.of(id="b", source="/orders"), Event.of(id="a", source="/other")):
        dispatcher.deliver(event, function="one")
    dispatcher.deliver(EVENT, function="two")
    assert ["one", "one", "one", "two"] == seen


@BOTH
@pytest.mark.parametrize(
    ("error", "kind"), [(ValueError("x"), "error"), (upon.Retry(), "retry"), (upon.Reject(), "rejected")]
)
def test_after_a_failure_the_next_try_begins_at_once(
    stack: ExitStack, store: FlakyStore, is_async: bool, error: Exception, kind: str
) -> None:
    counting = Counting(is_async)
    counting.results = [None, error]
    dispatcher = guarded(stack, store, counting.function)
    assert [kind, "done"] == [dispatcher.deliver(EVENT).kind for _ in range(2)]
    assert ["a", "a"] == counting.seen


@BOTH
def test_while_one_handles_it_others_are_busy(stack: ExitStack, store: FlakyStore, is_async: bool) -> None:
    entered, leave = threading.Event(), threading.Event()

    def handle(event: Event) -> int:
        entered.set()
        assert leave.wait(10)
        return 1

    async def handle_async(event: Event) -> int:
        return await asyncio.to_thread(handle, event)

    handle_async.__name__ = "handle"
    collected = Collected()
    dispatcher = guarded(stack, store, handle_async if is_async else handle, timeout=20.0)
    dispatcher.submit(EVENT, collected)
    assert entered.wait(10)
    busy = dispatcher.deliver(EVENT)
    assert Failed("overloaded", "the event is being handled already", after=1.0) == busy
    leave.set()
    [done] = collected.wait(1)
    assert isinstance(done, Done)
    assert Repeated(done.reply) == dispatcher.deliver(EVENT)


def test_the_marker_lasts_thirty_seconds_longer_than_the_handler_may(stack: ExitStack, store: FlakyStore) -> None:
    guarded(stack, store, Counting(False).function, timeout=12.0).deliver(EVENT)
    assert [42.0] == store.leases


def test_a_holder_that_lost_its_lease_acknowledges_nothing(stack: ExitStack) -> None:
    clock = Clock()
    store = MemoryStore(clock)

    def handle(event: Event) -> str:
        clock.later(100)  # frozen, say
        assert not isinstance(marker(store, dispatcher, EVENT), Held)
        return "mine"

    dispatcher = guarded(stack, store, handle)
    assert Failed("overloaded", "the event is being handled already", after=0.1) == dispatcher.deliver(EVENT)


# Timeouts


def test_a_late_handler_keeps_its_marker_and_its_result_counts(stack: ExitStack, store: FlakyStore) -> None:
    """Two never run at once: the next try waits for the thread, and gets what it returned."""
    entered, leave = threading.Event(), threading.Event()

    def handle(event: Event) -> str:
        entered.set()
        assert leave.wait(20)
        return "late"

    late = Collected()
    dispatcher = guarded(stack, store, handle, timeout=0.1)
    first = threading.Thread(target=lambda: outcomes.append(dispatcher.deliver(EVENT, on_late=late)))
    outcomes: list[Any] = []
    first.start()
    assert entered.wait(10)
    assert ["timeout"] == [outcome.kind for outcome in late.wait(1)]
    assert "overloaded" == dispatcher.deliver(EVENT).kind
    leave.set()
    first.join(10)
    assert ["timeout"] == [outcome.kind for outcome in outcomes]
    again = dispatcher.deliver(EVENT)
    assert isinstance(again, Repeated)
    assert isinstance(again.reply, Event)
    assert "late" == again.reply.data


def test_an_async_handler_past_its_timeout_is_cancelled_and_gives_its_marker_back(
    stack: ExitStack, store: FlakyStore
) -> None:
    async def handle(event: Event) -> None:
        await asyncio.sleep(60)

    dispatcher = guarded(stack, store, handle, timeout=0.1)
    assert ["timeout", "timeout"] == [dispatcher.deliver(EVENT).kind for _ in range(2)]


def test_an_async_handler_that_is_cancelled_at_the_end_gives_its_marker_back(store: FlakyStore) -> None:
    entered = threading.Event()

    async def handle(event: Event) -> None:
        entered.set()
        await asyncio.sleep(60)

    collected = Collected()
    with ExitStack() as stack:
        dispatcher = guarded(stack, store, handle, timeout=60.0)
        dispatcher.submit(EVENT, collected)
        assert entered.wait(10)
        assert not dispatcher.close(0.1)
    assert ["draining"] == collected.kinds
    assert not isinstance(marker(store, dispatcher, EVENT), Held)


# The store is away


@BOTH
def test_without_its_store_nothing_is_handled(stack: ExitStack, store: FlakyStore, is_async: bool) -> None:
    counting = Counting(is_async)
    dispatcher = guarded(stack, store, counting.function)
    store.away = {"begin"}
    outcome = dispatcher.deliver(EVENT)
    assert isinstance(outcome, Failed)
    assert ("draining", "idempotency needs its store, which can't be reached: gone") == (outcome.kind, outcome.error)
    assert [] == counting.seen


@pytest.mark.parametrize("takes_place", [False, True])
def test_a_result_that_could_not_be_stored_is_stored_later(
    stack: ExitStack, store: FlakyStore, takes_place: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upon_runtime.idempotency.keeper.EVERY", 0.02)
    monkeypatch.setattr("upon_runtime.idempotency.reach.PAUSE", 0.02)
    counting = Counting(False, "result")
    dispatcher = guarded(stack, store, counting.function)
    store.away, store.takes_place = {"finish"}, takes_place
    assert "draining" == dispatcher.deliver(EVENT).kind
    store.away = set()
    assert isinstance(until_not_busy(dispatcher), Repeated)
    assert ["a"] == counting.seen


@pytest.mark.parametrize("away", ["begin", "release"])
def test_markers_that_nobody_needs_are_given_back_later(
    stack: ExitStack, store: FlakyStore, away: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without waiting for the lease."""
    monkeypatch.setattr("upon_runtime.idempotency.keeper.EVERY", 0.02)
    monkeypatch.setattr("upon_runtime.idempotency.reach.PAUSE", 0.02)
    counting = Counting(False)
    counting.results = [None, ValueError("x")]
    dispatcher = guarded(stack, store, counting.function)
    store.away, store.takes_place = {away}, away == "begin"
    assert ("error" if away == "release" else "draining") == dispatcher.deliver(EVENT).kind
    store.away = set()
    while (outcome := until_not_busy(dispatcher)).kind == "error":
        pass
    assert "done" == outcome.kind


def until_not_busy(dispatcher: Dispatcher) -> Any:
    wait = threading.Event()
    for _ in range(1000):
        outcome = dispatcher.deliver(EVENT)
        if outcome.kind not in ("draining", "overloaded"):
            return outcome
        wait.wait(0.02)
    raise AssertionError(outcome)


def test_a_reply_over_the_limit_is_refused_and_not_half_kept(
    stack: ExitStack, store: FlakyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upon_runtime.idempotency.replies.LIMIT", 1000)
    counting = Counting(False, "x" * 1000)
    dispatcher = guarded(stack, store, counting.function)
    outcome = dispatcher.deliver(EVENT)
    assert isinstance(outcome, Failed)
    assert "rejected" == outcome.kind
    assert outcome.error.endswith("an idempotent function's may have 1000: reply with a reference to the data")
    dispatcher.deliver(EVENT)
    assert ["a", "a"] == counting.seen


# The service around it


def test_a_dispatcher_without_a_store_refuses_idempotent_functions() -> None:
    with pytest.raises(upon.UsageError, match="handle is idempotent, and there is no store"):
        Dispatcher(idempotent(Counting(False).function))


def test_functions_that_are_not_idempotent_have_no_guard() -> None:
    dispatcher = dispatcher_of(Counting(False).function)
    assert [None] == [bound.guard for bound in dispatcher.functions.values()]
    assert dispatcher.close(5)


def test_the_service_says_whether_its_store_is_there(store: FlakyStore) -> None:
    service = Service(idempotent(Counting(False, 1).function), store=store)
    service.open()
    assert {"store": "memory", "connected": True} == service.health()["idempotency"]
    [service.dispatcher.deliver(EVENT) for _ in range(3)]
    assert b'upon_events_repeated_total{function="handle"} 2.0' in service.metrics.render()[1]
    store.away = {"begin"}
    service.dispatcher.deliver(EVENT)
    assert {"store": "memory", "connected": False, "error": "gone"} == service.health()["idempotency"]
    assert b'upon_idempotency_connected{store="memory"} 0.0' in service.metrics.render()[1]
    assert service.close(5)


def test_the_store_is_what_the_spec_names(tmp_path: Path) -> None:
    spec = idempotent(Counting(False, 1).function, state_dir=tmp_path / "state")
    outcomes = []
    for _ in range(2):  # it outlasts the service
        service = Service(spec)
        service.open()
        outcomes.append(service.dispatcher.deliver(EVENT))
        assert service.close(5)
    assert [Done, Repeated] == [type(outcome) for outcome in outcomes]


def test_sqlite_without_a_folder() -> None:
    with pytest.raises(upon.UsageError, match=r"idempotency in SQLite needs a folder: set run.stateDir"):
        Service(idempotent(Counting(False).function))
