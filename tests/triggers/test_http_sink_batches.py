"""Several events in one request: to whom, how many, and what the answers say of each."""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from support.brokers import until
from support.scripted import RESET, Asked, Say, Scripted, scripted
from upon import Done, Event, Failed, Outcome
from upon._event import KafkaInfo
from upon._outcome import DONE
from upon_triggers.http_sink import HttpSink

BATCH = "application/cloudevents-batch+json"
OUTCOMES = "application/vnd.upon.outcomes+json"
OURS = {"Upon-Outcome": "done"}


def events(count: int) -> list[Event[Any]]:
    return [Event.of({"n": n}, id=str(n), source="/s", type="t") for n in range(count)]


def ids(asked: Asked) -> list[str]:
    """Of the events in a request."""
    if asked.headers["content-type"] == BATCH:
        return [item["id"] for item in json.loads(asked.body)]
    return [asked.headers["ce-id"]]


def answers(kinds: Sequence[str], **more: Any) -> Say:
    items = [
        {"index": n, "outcome": kind, "after": None, "reason": None, "event": None, **more}
        for n, kind in enumerate(kinds)
    ]
    return Say(200, {"content-type": OUTCOMES, **OURS}, json.dumps(items).encode())


def ours(decide: Callable[[str], str] = lambda id: "done") -> Callable[[Asked], Say]:
    """A service of ours, which decides by id."""

    def answering(asked: Asked) -> Say:
        if asked.headers["content-type"] != BATCH:
            kind = decide(ids(asked)[0])
            return Say(204 if kind == "done" else 500, {"Upon-Outcome": kind})
        return answers([decide(id) for id in ids(asked)])

    return answering


class Talk:
    """A sink and its server; `known`: the sink has had an answer of ours before."""

    def __init__(self, server: Scripted, *, known: bool = True, **more: Any) -> None:
        self.server = server
        self.sink = HttpSink(server.url, **{"timeout": 5.0, **more})
        if known:
            answering, server.answering = server.answering, lambda asked: Say(204, OURS)
            self.sink.deliver(Event.of(None), function="f")
            server.answering = answering
            server.asked.clear()

    def run(self, given: Sequence[Event[Any]]) -> list[tuple[int, str]]:
        came: list[tuple[int, str]] = []
        outcomes: list[Outcome] = []

        def on_item(index: int, outcome: Outcome) -> None:
            came.append((index, outcome.kind))
            outcomes.append(outcome)

        self.sink.submit_run(given, on_item, function="f")
        until(lambda: self.sink.in_flight == 0)
        self.outcomes = outcomes
        return came

    def batch(self, given: Sequence[Event[Any]]) -> list[str]:
        came: list[Sequence[Outcome]] = []
        self.sink.submit_batch(given, came.append, function="f")
        until(lambda: self.sink.in_flight == 0)
        [outcomes] = came
        self.outcomes = list(outcomes)
        return [outcome.kind for outcome in outcomes]

    @property
    def sent(self) -> list[list[str]]:
        return [ids(asked) for asked in self.server.asked]


def done(count: int) -> list[tuple[int, str]]:
    return [(n, "done") for n in range(count)]


# To whom


def test_nobody_gets_a_batch_who_has_not_said_that_he_is_ours() -> None:
    with scripted(Say(204)) as server:
        talk = Talk(server, known=False)
        assert done(4) == talk.run(events(4))
        assert [["0"], ["1"], ["2"], ["3"]] == talk.sent


def test_the_first_answer_of_ours_is_enough() -> None:
    with scripted(ours()) as server:
        talk = Talk(server, known=False)
        assert done(4) == talk.run(events(4))
        assert [["0"], ["1", "2", "3"]] == talk.sent
        assert done(3) == talk.run(events(3))
        assert ["0", "1", "2"] == talk.sent[-1]


def test_a_run_is_one_request_that_says_so() -> None:
    with scripted(ours()) as server:
        talk = Talk(server)
        talk.run(events(3))
        [asked] = server.asked
    assert ("/functions/f", BATCH, OUTCOMES, "ordered", "triggers") == (
        asked.path,
        *(asked.headers[name] for name in ("content-type", "accept", "upon-run", "upon-sender")),
    )
    first = json.loads(asked.body)[0]
    assert b'{"n":0}' == a2b_base64(first.pop("data_base64"))
    expected = {"specversion": "1.0", "id": "0", "source": "/s", "type": "t", "datacontenttype": "application/json"}
    assert expected == first


def test_a_batch_is_no_run() -> None:
    with scripted(ours()) as server:
        assert ["done"] * 3 == Talk(server).batch(events(3))
        assert "upon-run" not in server.asked[0].headers


def test_attempts_and_records_go_along() -> None:
    given = events(3)
    given[1] = given[1]._copy(attempt=4)
    for n, event in enumerate(given):
        event._kafka = KafkaInfo("orders", 0, n, None, (("a", b"1"), ("b", None)))
    with scripted(ours()) as server:
        Talk(server).run(given)
        [asked] = server.asked
    assert "1, 4" == asked.headers["upon-attempt"]
    assert 'orders 0 2 - json - [["a",".MQ=="],["b",null]]' == json.loads(asked.body)[2]["uponorigin"]


def test_batches_can_be_turned_off() -> None:
    with scripted(ours()) as server:
        assert done(3) == Talk(server, batches=False).run(events(3))
        assert 3 == len(server.asked)


# Outcomes


def test_a_run_stops_at_the_first_failure() -> None:
    with scripted(ours(lambda id: "rejected" if id == "2" else "done")) as server:
        talk = Talk(server)
        assert [(0, "done"), (1, "done"), (2, "rejected")] == talk.run(events(5))
        assert [["0", "1", "2", "3", "4"]] == talk.sent


def test_a_run_that_ended_for_want_of_time_goes_on_where_it_ended() -> None:
    def answering(asked: Asked) -> Say:
        kinds = ["done", "done", *["overloaded"] * 9]
        return answers(kinds[: len(ids(asked))])

    with scripted(answering) as server:
        talk = Talk(server)
        assert done(4) == talk.run(events(4))
        assert [["0", "1", "2", "3"], ["2", "3"]] == talk.sent


def test_a_run_that_nobody_has_room_for_is_busy() -> None:
    with scripted(ours(lambda id: "overloaded")) as server:
        talk = Talk(server)
        assert [(0, "overloaded")] == talk.run(events(4))
        assert 1 == len(talk.sent)


def test_every_item_of_a_batch_has_its_own() -> None:
    kinds = ["done", "error", "invalid", "retry", "overloaded", "done"]
    with scripted(ours(lambda id: kinds[int(id)])) as server:
        assert kinds == Talk(server).batch(events(6))


def test_reasons_pauses_and_replies_arrive() -> None:
    reply = {"specversion": "1.0", "id": "9", "source": "/r", "type": "r", "data": {"a": [1, None]}}
    items = [
        {"index": 0, "outcome": "retry", "after": 2.5, "reason": "later", "event": None},
        {"index": 1, "outcome": "done", "after": None, "reason": None, "event": reply},
        {"index": 2, "outcome": "error"},
    ]
    with scripted(Say(200, {"content-type": OUTCOMES}, json.dumps(items).encode())) as server:
        talk = Talk(server)
        talk.batch(events(3))
    later, answered, bare = talk.outcomes
    assert Failed("retry", "later", after=2.5) == later
    assert isinstance(answered, Done)
    assert isinstance(answered.reply, Event)
    assert {"a": [1, None]} == answered.reply.data
    assert Failed("error", "The function raised an error") == bare


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"[1, 2, 3]",
        b'[{"index": 0, "outcome": "done"}]',
        b'[{"index": 0, "outcome": "done"}, {"index": 0, "outcome": "done"}, {"index": 2, "outcome": "done"}]',
        b'[{"index": 0, "outcome": "done"}, {"index": 1, "outcome": "fine"}, {"index": 2, "outcome": "done"}]',
        b'[{"index": 0, "outcome": "done"}, {"index": 1}, {"index": 2, "outcome": "done"}]',
        b'[{"index": 0, "outcome": "done", "event": {"id": "1"}}, {"index": 1, "outcome": "done"}, {"index": 2}]',
        b'[{"index": 0, "outcome": "done"}, {"index": 1, "outcome": "do',
    ],
)
def test_outcomes_that_cannot_be_read_are_errors_for_all(body: bytes) -> None:
    with scripted(Say(200, {"content-type": OUTCOMES}, body)) as server:
        talk = Talk(server)
        assert ["error"] * 3 == talk.batch(events(3))
        assert [(0, "error")] == talk.run(events(3))


# Answers to the whole


@pytest.mark.parametrize("status", [401, 404, 429, 503])
def test_a_busy_answer_to_the_whole_is_busy_for_all(status: int) -> None:
    with scripted(Say(status)) as server:
        talk = Talk(server)
        assert 1 == len({*talk.batch(events(3))} | {kind for _, kind in talk.run(events(3))})
        assert [["0", "1", "2"], ["0", "1", "2"]] == talk.sent


def test_a_refused_connection_is_busy_for_all() -> None:
    with scripted(Say(204)) as server:
        talk = Talk(server, known=False)
    talk.sink._exchange._ours = True  # without a connection that is still there
    assert ["draining"] * 3 == talk.batch(events(3))
    assert [(0, "draining")] == talk.run(events(3))


@pytest.mark.parametrize("answer", [Say(204), Say(200, {}, b"OK"), Say(400), Say(415), Say(500), Say(502), Say(504)])
def test_whoever_gives_no_outcomes_gets_one_by_one(answer: Say) -> None:
    def answering(asked: Asked) -> Say:
        return answer if asked.headers["content-type"] == BATCH else Say(204)

    with scripted(answering) as server:
        talk = Talk(server)
        assert done(3) == talk.run(events(3))
        assert [["0", "1", "2"], ["0"], ["1"], ["2"]] == talk.sent
        assert done(2) == talk.run(events(2))
        assert [["0"], ["1"]] == talk.sent[4:]  # and it is remembered


def test_one_of_ours_whose_outcomes_get_lost_on_the_way_gets_one_by_one_for_good() -> None:
    """A proxy that drops `Accept`, say: else every run would be handled twice."""
    with scripted(Say(204, OURS)) as server:
        talk = Talk(server)
        assert done(3) == talk.run(events(3))
        server.asked.clear()
        assert done(3) == talk.run(events(3))
        assert [["0"], ["1"], ["2"]] == talk.sent


def test_an_event_that_ends_the_process_is_found_and_blamed_alone() -> None:
    """Every request with event 2 resets the connection; the service is there again for the next."""

    def answering(asked: Asked) -> Say:
        return RESET if "2" in ids(asked) else ours()(asked)

    with scripted(answering) as server:
        talk = Talk(server)
        assert [(0, "done"), (1, "done"), (2, "error")] == talk.run(events(5))
        assert [["0", "1", "2", "3", "4"]] == talk.sent[:1]
        assert [["0"], ["1"], ["2"]] == [sent for sent in talk.sent[1:] if sent != ["0", "1", "2", "3", "4"]][:3]
        server.asked.clear()
        assert done(2) == talk.run(events(5)[3:])
        assert [["3"], ["4"]] == talk.sent
        server.asked.clear()
        assert done(3) == talk.run([event for event in events(5) if event.id != "2"][1:])
        assert [["1", "3", "4"]] == talk.sent  # who was there alone is no suspect any more


def test_a_batch_that_ends_the_process_is_sent_one_by_one() -> None:
    def answering(asked: Asked) -> Say:
        return RESET if "1" in ids(asked) else ours()(asked)

    with scripted(answering) as server:
        assert ["done", "error", "done"] == Talk(server).batch(events(3))


def test_one_that_is_too_large_halves_the_batches_and_it_is_remembered() -> None:
    def answering(asked: Asked) -> Say:
        return Say(413) if len(asked.body) > 40_000 else ours()(asked)

    given = [Event.of("x" * 5000, id=str(n), source="/s", type="t") for n in range(20)]
    with scripted(answering) as server:
        talk = Talk(server)
        assert done(20) == talk.run(given)
        assert 1 < len(talk.sent[-1])
        server.asked.clear()
        assert ["done"] * 20 == talk.batch(given)
        assert all(len(asked.body) <= 40_000 for asked in server.asked)


def test_one_event_that_is_too_large_is_final() -> None:
    def answering(asked: Asked) -> Say:
        return Say(413) if len(asked.body) > 1000 else ours()(asked)

    given = events(3)
    given[1] = Event.of("x" * 5000, id="1", source="/s", type="t")
    with scripted(answering) as server:
        assert ["done", "too_large", "done"] == Talk(server).batch(given)


def test_a_large_run_goes_in_parts() -> None:
    given = [Event.of("x" * 300_000, id=str(n), source="/s", type="t") for n in range(5)]
    with scripted(ours()) as server:
        talk = Talk(server)
        assert done(5) == talk.run(given)
        assert [["0", "1"], ["2", "3"], ["4"]] == talk.sent


def test_an_event_that_cannot_be_written_fails_alone() -> None:
    given = events(3)
    given[1]._attributes["note"] = "\ud800"
    with scripted(ours()) as server:
        assert ["done", "malformed", "done"] == Talk(server).batch(given)


def test_outcome_of_a_run_of_one() -> None:
    with scripted(ours()) as server:
        talk = Talk(server)
        assert done(1) == talk.run(events(1))
        assert "ce-id" in server.asked[0].headers
        assert [DONE] == talk.outcomes
