"""What a handler returned survives the store byte for byte."""

from __future__ import annotations

import pytest

from upon import Done, Event, Failed, HttpInfo, Response
from upon._engine import Sent
from upon._outcome import Repeated
from upon_runtime.idempotency import replies

EVENT = Event.of({"n": 1}, id="a", source="/orders")


def request(body: bytes = b"{}", method: str = "POST", **headers: str) -> Event:
    info = HttpInfo(method, "/orders", headers={"idempotency-key": "k", **headers})
    return Event._trusted({"specversion": "1.0", "id": "k", "source": "/svc/orders", "type": "r"}, body, http=info)


REPLIES = [
    None,
    Event.of({"total": 1.5, "large": 2**63}, id="r", source="/x", type="t", subject="ä", time="2025-01-01T00:00:00Z"),
    Event({"id": "r", "source": "/x", "type": "t", "datacontenttype": "application/json"}, b'{ "spaces" : 1.0 }'),
    Event({"id": "r", "source": "/x", "type": "t", "datacontenttype": "text/plain; charset=latin-1"}, b"\xe4"),
    Event._trusted({"specversion": "1.0", "id": "r", "source": "/x", "type": "t"}, b'{"no": "content type"}'),
    Event._trusted({"specversion": "1.0", "id": "r", "source": "/x", "type": "t", "n": 3, "b": True}, None),
    Event._trusted({"specversion": "1.0", "id": "r", "source": "/x", "type": "t"}, b""),
]  # fmt: skip
SENT = (Sent("topic", None, None, ()), Sent("other", b"\x00key", b"\xffvalue", [("h", None), ("i", b"\x01")]))


@pytest.mark.parametrize("reply", REPLIES, ids=range(len(REPLIES)))
@pytest.mark.parametrize("sent", [(), SENT], ids=["alone", "with sends"])
@pytest.mark.parametrize("event", [EVENT, request()], ids=["event", "request"])
def test_events_come_back_as_they_were(event: Event, reply: Event | None, sent: tuple[Sent, ...]) -> None:
    found = replies.load(event, replies.dump(event, Done(reply, sent=sent)))
    assert isinstance(found, Repeated)
    assert reply == found.reply
    assert [list(one.headers) for one in sent] == [list(map(tuple, one.headers)) for one in found.sent]
    assert [one[:3] for one in sent] == [one[:3] for one in found.sent]


@pytest.mark.parametrize(
    "response",
    [
        Response(None, 204),
        Response({"a": 1}, 201, {"location": "/orders/1"}),
        Response(b"\x00\xff", 404, content_type="image/png"),
        Response("text", headers={"Content-Type": "text/html"}),
    ],
)
def test_plain_answers_come_back_as_they_were(response: Response) -> None:
    given = response.encoded()
    assert Repeated(given) == replies.load(request(), replies.dump(request(), Done(given)))


def test_no_reply_takes_no_room() -> None:
    assert b"" == replies.dump(EVENT, Done())
    assert Repeated() == replies.load(EVENT, b"")


def test_an_event_without_data_type_or_extras_is_cloudevents_json() -> None:
    from upon._json_format import read_structured

    reply = Event.of({"n": 1}, id="r", source="/x", type="t")
    assert reply == read_structured(replies.dump(EVENT, Done(reply)))


@pytest.mark.parametrize("other", [request(b"[]"), request(method="PUT")])
def test_another_request_with_the_same_key(other: Event) -> None:
    kept = replies.dump(request(), Done(Response(None, 204)))
    found = replies.load(other, kept)
    assert isinstance(found, Failed)
    assert ("rejected", "the idempotency-key 'k' came with another request before: choose a new one") == (
        found.kind,
        found.error,
    )


@pytest.mark.parametrize(
    ("outcome", "kept"),
    [
        (Done(), True),
        (Done(Response(None, 404)), True),
        (Done(Response(None, 500)), False),
        (Failed("rejected", "no"), False),
    ],
)
def test_what_ends_an_event(outcome: Done | Failed, kept: bool) -> None:
    assert kept == replies.is_kept(outcome)
