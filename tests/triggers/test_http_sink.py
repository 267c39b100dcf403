"""One event over HTTP: every answer, and every way in which there is none, has its outcome."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from support.brokers import until
from support.scripted import RESET, Answering, Asked, Say, scripted
from upon import Done, Event, Failed, Outcome, UsageError
from upon._event import KafkaInfo
from upon._outcome import DONE, KINDS
from upon_triggers.http_sink import HttpSink
from upon_triggers.http_sink.connection import Poster

EVENT = Event.of({"n": 1}, id="7", source="/s", type="t")


@contextmanager
def sink_to(url: str, **more: Any) -> Iterator[HttpSink]:
    sink = HttpSink(url, **{"timeout": 5.0, **more})
    try:
        yield sink
    finally:
        assert sink.close(10)


def outcome_of(answering: Answering | Say, **more: Any) -> Outcome:
    with scripted(answering) as server, sink_to(server.url, **more) as sink:
        return sink.deliver(EVENT, function="f")


def kind_of(answering: Answering | Say, **more: Any) -> str:
    return outcome_of(answering, **more).kind


# What is sent


def test_an_event_goes_out_in_binary_mode_to_its_function() -> None:
    with scripted(Say(204)) as server, sink_to(server.url + "/base/") as sink:
        assert DONE == sink.deliver(EVENT, function="score")
        [asked] = server.asked
    assert ("/base/functions/score", b'{"n":1}') == (asked.path, asked.body)
    expected = {
        "ce-id": "7",
        "ce-source": "/s",
        "ce-type": "t",
        "content-type": "application/json",
        "prefer": "reply",
        "upon-sender": "triggers",
    }
    assert expected == {name: asked.headers[name] for name in expected}
    assert "upon-attempt" not in asked.headers
    assert "ce-uponorigin" not in asked.headers


def test_without_a_function_it_goes_to_the_root() -> None:
    with scripted(Say(204)) as server, sink_to(server.url) as sink:
        sink.deliver(EVENT)
        assert "/" == server.asked[0].path


def test_a_later_try_says_so() -> None:
    with scripted(Say(204)) as server, sink_to(server.url) as sink:
        sink.deliver(EVENT._copy(attempt=3), function="f")
        assert "3" == server.asked[0].headers["upon-attempt"]


@pytest.mark.parametrize(
    "event",
    [
        Event._trusted({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, b""),
        Event.of({"n": 1}, id="1", note="x" * 9000),
    ],
    ids=["empty data", "long attributes"],
)
def test_what_binary_mode_cannot_carry_goes_structured(event: Event[Any]) -> None:
    with scripted(Say(204)) as server, sink_to(server.url) as sink:
        sink.deliver(event, function="f")
        [asked] = server.asked
    assert "application/cloudevents+json" == asked.headers["content-type"]
    sent = json.loads(asked.body)
    assert event.id == sent["id"]
    assert sent.get("note") == event.extensions.get("note")
    assert ("data" in sent or "data_base64" in sent) is True


def test_the_record_behind_an_event_goes_with_it() -> None:
    event = Event._trusted(
        {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"},
        b"x",
        value="text",
        kafka=KafkaInfo("orders", 2, 17, b"k", (), None),
    )
    with scripted(Say(204)) as server, sink_to(server.url) as sink:
        sink.deliver(event, function="f")
        assert "orders%202%2017%20-%20text%20.aw==" == server.asked[0].headers["ce-uponorigin"]
    assert {} == event.extensions  # the source's event is as it was


# What the answers mean


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((status, "busy") for status in (301, 302, 307, 308, 401, 403, 404, 405, 407, 408, 409, 425, 429, 503)),
        *((status, "counts") for status in (500, 501, 502, 504, 507, 599)),
        *((status, "final") for status in (400, 402, 406, 410, 413, 415, 422, 431, 451)),
    ],
)
def test_every_status_has_its_verdict(status: int, verdict: str) -> None:
    assert verdict == KINDS[kind_of(Say(status))].verdict


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_an_empty_success_is_done(status: int) -> None:
    assert DONE == outcome_of(Say(status))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "done"])
@pytest.mark.parametrize("status", [200, 404, 500])
def test_upon_outcome_overrides_the_status(status: int, kind: str) -> None:
    expected = "draining" if kind == "unsubscribed" else kind
    assert expected == kind_of(Say(status, {"Upon-Outcome": kind}))


def test_done_on_an_error_is_somebody_elses_word() -> None:
    assert "error" == kind_of(Say(502, {"Upon-Outcome": "done"}))
    assert "error" == kind_of(Say(502, {"Upon-Outcome": "what"}))


def test_a_reply_in_binary_mode() -> None:
    headers = {"ce-specversion": "1.0", "ce-id": "9", "ce-source": "/r", "ce-type": "r", "content-type": "text/plain"}
    outcome = outcome_of(Say(200, headers, b"hi"))
    assert isinstance(outcome, Done)
    assert isinstance(outcome.reply, Event)
    assert ("9", "/r", "r", "hi") == (outcome.reply.id, outcome.reply.source, outcome.reply.type, outcome.reply.data)


def test_a_reply_without_data() -> None:
    outcome = outcome_of(Say(200, {"ce-specversion": "1.0", "ce-id": "9", "ce-source": "/r", "ce-type": "r"}))
    assert Done(Event({"id": "9", "source": "/r", "type": "r"})) == outcome


def test_a_reply_in_structured_mode() -> None:
    body = json.dumps({"specversion": "1.0", "id": "9", "source": "/r", "type": "r", "data": [1]}).encode()
    outcome = outcome_of(Say(200, {"content-type": "application/cloudevents+json; charset=utf-8"}, body))
    assert isinstance(outcome, Done)
    assert isinstance(outcome.reply, Event)
    assert [1] == outcome.reply.data


@pytest.mark.parametrize(
    "say",
    [
        Say(200, {"content-type": "text/plain"}, b"OK"),
        Say(200, {"content-type": "application/json"}, b"{}"),
        Say(200, {"ce-id": "1"}, b"half an event"),
        Say(200, {"content-type": "application/cloudevents+json"}, b"{}"),
        Say(200, {"content-type": "application/cloudevents-batch+json"}, b"[]"),
    ],
)
def test_a_body_that_is_no_cloudevent_counts_as_an_error(say: Say) -> None:
    outcome = outcome_of(say)
    assert isinstance(outcome, Failed)
    assert "error" == outcome.kind
    assert "no CloudEvent" in outcome.error


@pytest.mark.parametrize(
    ("text", "after"),
    [("7", 7.0), ("0", 0.0), ("99999999999", 86_400.0), ("soon", None), ("-3", None), ("1.5", None), ("", None)],
)
def test_retry_after_in_seconds(text: str, after: float | None) -> None:
    outcome = outcome_of(Say(503, {"Retry-After": text}))
    assert isinstance(outcome, Failed)
    assert after == outcome.after


@pytest.mark.parametrize(("seconds", "least", "most"), [(600, 500, 600), (-600, 0, 0), (10**7, 86_400, 86_400)])
def test_retry_after_as_a_date(seconds: int, least: float, most: float) -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    outcome = outcome_of(Say(429, {"Retry-After": when}))
    assert isinstance(outcome, Failed)
    assert outcome.after is not None
    assert least <= outcome.after <= most


def test_what_a_problem_says_is_the_error() -> None:
    problem = Say(
        500, {"content-type": "application/problem+json", "Upon-Outcome": "error"}, b'{"detail": "ValueError: no"}'
    )
    outcome = outcome_of(problem)
    assert isinstance(outcome, Failed)
    assert "ValueError: no" == outcome.error


def test_what_others_say_comes_with_the_address_and_is_bounded() -> None:
    outcome = outcome_of(Say(502, {}, b"bad\n gateway " + b"x" * 5000))
    assert isinstance(outcome, Failed)
    assert "answered 502: bad gateway xxx" in outcome.error
    assert len(outcome.error) < 700


def test_a_redirect_is_not_followed_and_its_target_is_told() -> None:
    with scripted(Say(204)) as other:
        outcome = outcome_of(Say(307, {"Location": other.url}))
        assert [] == other.asked
    assert isinstance(outcome, Failed)
    assert other.url in outcome.error


# Where there is no answer


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with sink_to(f"http://127.0.0.1:{taken.getsockname()[1]}") as sink:
            outcome = sink.deliver(EVENT, function="f")
    assert isinstance(outcome, Failed)
    assert ("draining", True) == (outcome.kind, "refused" in outcome.error)


def test_a_name_that_is_not_known() -> None:
    with sink_to("http://nobody.invalid") as sink:
        outcome = sink.deliver(EVENT, function="f")
    assert isinstance(outcome, Failed)
    assert ("draining", True) == (outcome.kind, "nobody.invalid" in outcome.error)


def test_plain_http_where_tls_is_expected() -> None:
    with scripted(Say(204)) as server, sink_to(server.url.replace("http:", "https:")) as sink:
        assert "draining" == sink.deliver(EVENT, function="f").kind


def test_a_reset_after_sending_counts() -> None:
    with scripted(RESET) as server, sink_to(server.url) as sink:
        assert "error" == sink.deliver(EVENT, function="f").kind
        assert 1 == len(server.asked)


def test_an_answer_that_is_cut_off_counts() -> None:
    cut = Say(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", then="close")
    with scripted(cut) as server, sink_to(server.url) as sink:
        assert ["error", "error"] == [sink.deliver(EVENT, function="f").kind for _ in range(2)]
        assert 2 == len(server.asked)  # nothing is sent twice once an answer has begun


def test_garbage_counts() -> None:
    assert "error" == kind_of(Say(raw=b"what is this\r\n\r\n", then="close"))


def test_no_answer_in_time() -> None:
    release = threading.Event()

    def wait(asked: Asked) -> Say:
        release.wait(20)
        return Say(204)

    with scripted(wait) as server, sink_to(server.url, timeouts={"f": 0.1}) as sink:
        outcome = sink.deliver(EVENT, function="f")
        release.set()
    assert isinstance(outcome, Failed)
    assert ("timeout", True) == (outcome.kind, "no answer within 0.1 s" in outcome.error)


def test_an_answer_without_end_is_given_up() -> None:
    with scripted(Say(200, {}, b"x" * 300_000)) as server:
        poster = Poster(server.url, 1, most_answer=100_000)
        with pytest.raises(Exception, match="more than 100000 bytes"):
            poster.post("/", {}, b"", 5.0)
        poster.close()


# Connections


def test_connections_are_kept() -> None:
    with scripted(Say(204)) as server, sink_to(server.url) as sink:
        for _ in range(5):
            assert DONE == sink.deliver(EVENT, function="f")
        assert 1 == server.connections


def test_a_connection_that_ended_while_it_was_idle_costs_no_attempt() -> None:
    """The server closes each connection after its answer, without having said so."""
    with scripted(Say(204, then="close")) as server, sink_to(server.url) as sink:
        assert [DONE] * 20 == [sink.deliver(EVENT, function="f") for _ in range(20)]
        assert 20 == server.connections


def test_a_request_into_a_connection_that_is_just_ending_goes_once_more() -> None:
    seen: list[int] = []

    def answering(asked: Asked) -> Say:
        seen.append(len(seen))
        return RESET if len(seen) == 2 else Say(204)

    with scripted(answering) as server, sink_to(server.url) as sink:
        assert [DONE, DONE] == [sink.deliver(EVENT, function="f") for _ in range(2)]
        assert (3, 2) == (len(seen), server.connections)


def test_a_server_that_dies_of_a_request_is_found_out_at_the_second_try() -> None:
    with scripted(Say(204)) as server, sink_to(server.url) as sink:
        assert DONE == sink.deliver(EVENT, function="f")
        server.answering = lambda asked: RESET
        assert "error" == sink.deliver(EVENT, function="f").kind
        assert 3 == len(server.asked)


def test_a_server_that_dies_of_a_request_and_is_gone_then_counts_too() -> None:
    """Else a record that ends the process would be delivered for ever, as long as others keep connections warm."""
    with scripted(Say(204)) as server, sink_to(server.url) as sink:
        sink.deliver(EVENT, function="f")

        def last(asked: Asked) -> Say:
            server.stop_listening()
            return RESET

        server.answering = last
        assert ["error", "draining"] == [sink.deliver(EVENT, function="f").kind for _ in range(2)]


# Submissions


def test_submissions_come_back_once_from_another_thread() -> None:
    came: list[tuple[Outcome, bool]] = []
    me = threading.current_thread()
    with scripted(Say(204)) as server, sink_to(server.url) as sink:
        sink.submit(EVENT, lambda o: came.append((o, threading.current_thread() is me)), function="f")
        until(lambda: len(came) == 1)
    assert [(DONE, False)] == came


def test_no_more_requests_at_once_than_allowed() -> None:
    release = threading.Event()

    def wait(asked: Asked) -> Say:
        release.wait(20)
        return Say(204)

    with scripted(wait) as server, sink_to(server.url, concurrency=3) as sink:
        came: list[Outcome] = []
        for _ in range(10):
            sink.submit(EVENT, came.append, function="f")
        until(lambda: len(server.asked) == 3)
        assert 10 == sink.in_flight
        release.set()
        until(lambda: len(came) == 10)
        assert 3 == server.connections


def test_more_submissions_than_may_wait_are_overloaded_at_once() -> None:
    release = threading.Event()

    def wait(asked: Asked) -> Say:
        release.wait(20)
        return Say(204)

    with scripted(wait) as server, sink_to(server.url, concurrency=1, waiting=2) as sink:
        came: list[Outcome] = []
        runs: list[tuple[int, Outcome]] = []
        batches: list[Any] = []
        sink.submit(EVENT, came.append, function="f")
        sink.submit(EVENT, came.append, function="f")
        sink.submit(EVENT, came.append, function="f")
        sink.submit_run([EVENT, EVENT], lambda index, o: runs.append((index, o)), function="f")
        sink.submit_batch([EVENT, EVENT], batches.extend, function="f")
        assert ["overloaded"] == [outcome.kind for outcome in came]
        assert [(0, "overloaded")] == [(index, outcome.kind) for index, outcome in runs]
        assert ["overloaded"] * 2 == [outcome.kind for outcome in batches]
        release.set()
        until(lambda: len(came) == 3)


def test_close_finishes_what_is_under_way_and_takes_nothing_new() -> None:
    def slow(asked: Asked) -> Say:
        time.sleep(0.2)
        return Say(204)

    came: list[Outcome] = []
    with scripted(slow) as server:
        sink = HttpSink(server.url)
        sink.submit(EVENT, came.append, function="f")
        assert sink.close(10)
        assert [DONE] == came
        sink.submit(EVENT, came.append, function="f")
    assert ["done", "draining"] == [outcome.kind for outcome in came]


@pytest.mark.parametrize("url", ["", "reviews", "ftp://a", "http://", "http://a?b=1", "http://a:99999", "http://u:p@a"])
def test_what_is_no_url_of_a_service(url: str) -> None:
    with pytest.raises(UsageError, match="is not the URL of a service"):
        HttpSink(url)


def test_whether_the_service_is_there_shows_in_the_state(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    with scripted(Say(503, {}, b"no")) as server, sink_to(server.url, clock=lambda: now[0]) as sink:
        sink.deliver(EVENT, function="f")
        now[0] = 3.0
        sink.deliver(EVENT, function="f")
        state = sink.reach.state()
        assert (False, 3.0, True) == (state["reached"], state["busy_seconds"], "503" in state["error"])
        server.answering = lambda asked: Say(204)
        sink.deliver(EVENT, function="f")
        assert {"url": server.url, "reached": True, "busy_seconds": None, "error": None} == sink.reach.state()
    assert 1 == caplog.text.count("takes no events")
