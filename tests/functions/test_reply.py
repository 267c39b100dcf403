from __future__ import annotations

import uuid
from typing import Any

import pytest

from upon import DataError, Event, KafkaInfo, Response
from upon._reply import reply_event, reply_key


def event(**attributes: Any) -> Event[Any]:
    return Event({"id": "1", "source": "/s", "type": "t", **attributes}, {"a": 1})


def reply(to: Event[Any], result: object = 1, *, type: str | None = None, function: str = "score") -> Event[Any]:
    return reply_event(to, result, service="reviews", function=function, type=type)


def test_a_reply_says_where_it_comes_from() -> None:
    answer = reply(event(subject="a", traceparent="00-1", correlationid="c", other="x"), {"label": 1})
    assert ("/reviews/score", "reviews.score.reply", "a", {"label": 1}) == (
        answer.source,
        answer.type,
        answer.subject,
        answer.data,
    )
    assert {"traceparent": "00-1", "correlationid": "c", "causationid": "1"} == answer.extensions
    assert "application/json" == answer.datacontenttype


def test_a_redelivery_repeats_the_reply_and_nothing_else_does() -> None:
    assert reply(event(), {"n": 1}).id == reply(event(), {"n": 2}).id
    ids = {reply(event()).id, reply(event(id="2")).id, reply(event(source="/x")).id, reply(event(), function="f").id}
    assert 4 == len(ids)
    assert all(5 == uuid.UUID(each).version for each in ids)


def test_the_id_of_a_reply_never_changes_between_releases() -> None:
    namespace = uuid.uuid5(uuid.NAMESPACE_OID, "upon.reply")
    assert str(uuid.uuid5(namespace, "/s\n1\nscore")) == reply(event()).id
    for n in range(50):
        assert str(uuid.uuid5(namespace, f"/s\n{n}\nscore")) == reply(event(id=str(n))).id


@pytest.mark.parametrize(
    ("result", "body", "content_type"),
    [
        ([Event.of], None, None),
        ([1, 2], b"[1,2]", "application/json"),
        ("text", b'"text"', "application/json"),
        (False, b"false", "application/json"),
        (b"\x00", b"\x00", "application/octet-stream"),
        (Response("text", content_type="text/plain"), b"text", "text/plain"),
        (Response({"a": 1}, status=201), b'{"a":1}', "application/json"),
        (Response(None, status=204), b"", None),
    ],
)
def test_anything_is_data(result: object, body: bytes | None, content_type: str | None) -> None:
    if body is None:
        with pytest.raises(DataError):
            reply(event(), result)
        return
    answer = reply(event(), result)
    assert (body, content_type) == (answer.body, answer.datacontenttype)


def test_the_type_can_be_chosen() -> None:
    assert "com.example.scored" == reply(event(), type="com.example.scored").type


@pytest.mark.parametrize(
    ("record_key", "partition_key", "key"),
    [
        (b"\xff", None, b"\xff"),
        (None, None, None),
        (b"record", "mine", b"mine"),
        (None, "mine", b"mine"),
        (b"record", True, b"true"),
    ],
)
def test_the_key_of_a_reply(record_key: bytes | None, partition_key: Any, key: bytes | None) -> None:
    received = Event._trusted(event()._attributes, b"1", kafka=KafkaInfo("t", 0, 1, record_key))
    assert key == reply_key(received, Event.of(1, partitionkey=partition_key))
