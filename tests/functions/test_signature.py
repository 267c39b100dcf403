from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Optional, TypedDict

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.v1.event import CloudEvent

import upon
from upon import Event
from upon._signature import Signature, analyse

if TYPE_CHECKING:
    from decimal import Decimal


@dataclass
class Review:
    text: str


class Row(TypedDict):
    text: str


class MyEvent(Event[Any]):
    pass


Marked = Annotated[int, "marked"]


def handler(annotation: object) -> Any:
    def score(event):
        pass

    score.__annotations__["event"] = annotation
    return score


EVENT = Signature(batch=False, form="event")

FORMS = [
    (Event, EVENT),
    ("Event", EVENT),
    (Any, EVENT),
    (object, EVENT),
    (Event[Any], EVENT),
    (Annotated[Event, "doc"], EVENT),
    (Event[Review], Signature(False, "event", Review)),
    ("Event[Review]", Signature(False, "event", Review)),
    (Event["Review"], Signature(False, "event", Review)),
    (Annotated[Event[Review], "doc"], Signature(False, "event", Review)),
    (Event[list[Review]], Signature(False, "event", list[Review])),
    (Event[Optional[Review]], Signature(False, "event", Optional[Review])),  # noqa: UP045
    (Review, Signature(False, "data", Review)),
    (Row, Signature(False, "data", Row)),
    (bytes, Signature(False, "data", bytes)),
    (str, Signature(False, "data", str)),
    (dict, Signature(False, "data", dict)),
    (dict[str, int], Signature(False, "data", dict[str, int])),
    (Review | None, Signature(False, "data", Review | None)),
    (Marked, Signature(False, "data", Marked)),
    (tuple[int, int], Signature(False, "data", tuple[int, int])),
    (list[Event], Signature(True, "event")),
    ("list[Event]", Signature(True, "event")),
    (list[Event[Review]], Signature(True, "event", Review)),
    (list[Event[list[Review]]], Signature(True, "event", list[Review])),
    (list[Review], Signature(True, "data", Review)),
    (list[bytes], Signature(True, "data", bytes)),
    (list[list[int]], Signature(True, "data", list[int])),
    (list[Any], Signature(True, "data")),
    (Annotated[list[Event], "doc"], Signature(True, "event")),
]


@pytest.mark.parametrize(("annotation", "expected"), FORMS, ids=[str(row[0]) for row in FORMS])
def test_annotation_decides(annotation, expected):
    assert expected == analyse(handler(annotation))


def no_annotation(event): ...
def nothing(): ...
def only_keywords(*, limit: int = 3): ...
def with_default(event: Event, limit: int = 3): ...
def with_rest(event: Review, *rest, flag=False, **more): ...
def position_only(data: bytes, /): ...
async def coroutine(events: list[Event[Review]]): ...
def odd_return(event: Event) -> Missing: ...  # noqa: F821
def odd_second(event: Event, limit: Missing = 3): ...  # noqa: F821


@pytest.mark.parametrize(
    ("plain", "expected"),
    [
        (no_annotation, EVENT),
        (nothing, Signature(False, "nothing")),
        (only_keywords, Signature(False, "nothing")),
        (with_default, EVENT),
        (with_rest, Signature(False, "data", Review)),
        (position_only, Signature(False, "data", bytes)),
        (coroutine, Signature(True, "event", Review)),
        (odd_return, EVENT),
        (odd_second, EVENT),
    ],
)
def test_parameters_decide(plain, expected):
    assert expected == analyse(plain)


def test_a_wrapper_is_seen_through():
    def wrap(plain):
        @functools.wraps(plain)
        def wrapper(*args, **kwargs):
            return plain(*args, **kwargs)

        return wrapper

    assert Signature(False, "data", Review) == analyse(wrap(with_rest))


def test_names_of_the_enclosing_function_are_known():
    @dataclass
    class Local:
        text: str

    def score(event: Event[Local]):
        return Local

    assert Signature(False, "event", Local) == analyse(score)


def two(event, model): ...
def keyword(event, *, model): ...
def star(*args): ...
def missing(event: Event[Nowhere]): ...  # noqa: F821
def type_checking(price: Decimal): ...
def broken(event: Review.nope): ...


FAULTS = [
    (
        two,
        "two has more than one required parameter (event, model): a handler is given one, the event or its data",
    ),
    (keyword, "keyword has the required keyword 'model', which nobody gives: add a default"),
    (star, "star(*args) does not say what it takes: name one parameter, such as event"),
    (
        missing,
        "missing(event: Event[Nowhere]): the annotation needs 'Nowhere', which is not there at run time:"
        " import or define it at module level, not under `if TYPE_CHECKING`",
    ),
    (
        type_checking,
        "type_checking(price: Decimal): the annotation needs 'Decimal', which is not there at run time:"
        " import or define it at module level, not under `if TYPE_CHECKING`",
    ),
    (
        broken,
        "broken(event: Review.nope): the annotation can't be read: AttributeError: type object 'Review'"
        " has no attribute 'nope'",
    ),
    (
        handler("list"),
        "score(event: list) does not say a list of what: write list[Event] for a batch of events, or"
        " Event[list[T]] for one event whose data is an array",
    ),
    (handler("None"), "score(event: None) takes nothing: remove the parameter"),
    *(
        (
            handler(annotation),
            f"score(event: {text}) is none of the forms a handler can take: write Event, Event[T], T, or"
            " list[...] of one of them",
        )
        for annotation, text in [
            ("Event | None", "Event | None"),
            (Sequence[Event], "collections.abc.Sequence[Event]"),
            ("Event[list[Event]]", "Event[list[Event]]"),
            ("list[list[Event]]", "list[list[Event]]"),
            ("MyEvent", "MyEvent"),
            ("tuple[Event, int]", "tuple[Event, int]"),
        ]
    ),
]


@pytest.mark.parametrize(("plain", "message"), FAULTS, ids=[row[1][:40] for row in FAULTS])
def test_fault(plain, message):
    with pytest.raises(upon.UsageError) as caught:
        analyse(plain)
    assert message == str(caught.value)


def test_the_sdk_s_protocol_is_the_event_and_its_class_is_refused() -> None:
    def mine(event: BaseCloudEvent) -> None: ...

    def many(events: list[BaseCloudEvent]) -> None: ...

    def theirs(event: CloudEvent) -> None: ...

    assert Signature(batch=False, form="event") == analyse(mine)
    assert Signature(batch=True, form="event") == analyse(many)
    with pytest.raises(upon.UsageError, match=r"annotate upon\.Event"):
        analyse(theirs)
