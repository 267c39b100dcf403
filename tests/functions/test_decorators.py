from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import upon
from upon import Event, Function, UsageError
from upon._triggers import Batched, CloudEventTrigger, CronTrigger, HttpTrigger, KafkaTrigger, Options

DECORATORS: dict[str, Any] = {
    "kafka": upon.kafka("reviews", reply_to="reviews.scored"),
    "cron": upon.cron("0 3 * * *", timezone="Europe/Berlin"),
    "http": upon.http("POST /score"),
    "cloudevent": upon.cloudevent(type="com.example.created", partitionkey="k"),
    "options": upon.options(timeout=3, concurrency=2),
    "batched": upon.batched(max_size=10, max_wait=0.1),
}


def score(event: Event) -> dict[str, Any]:
    """Scores a review."""
    return {"label": event.data["n"]}


def test_a_function_has_what_its_decorators_say() -> None:
    function = upon.kafka("reviews")(upon.options(retry=1)(upon.batched(max_size=5)(upon.http("GET /a/{b}")(score))))
    assert (HttpTrigger("GET /a/{b}"), KafkaTrigger("reviews")) == function.triggers
    assert Options(retry=1) == function.options
    assert Batched(5, 0.0) == function.batched
    assert "<Function score: http GET /a/{b}, kafka reviews>" == repr(function)


def test_every_order_of_stacking_is_the_same() -> None:
    def stacked(order: tuple[Any, ...]) -> tuple[Any, ...]:
        function = functools.reduce(lambda target, decorator: decorator(target), order, score)
        assert isinstance(function, Function)
        return function.name, function.plain, function.triggers, function.options, function.batched

    expected = stacked(tuple(DECORATORS.values()))
    assert 4 == len(expected[2])
    for order in itertools.permutations(DECORATORS.values()):
        assert expected == stacked(order)


def test_a_function_is_still_the_plain_function() -> None:
    function = upon.kafka("reviews")(score)
    assert {"label": 1} == function(Event.of({"n": 1}))
    assert ("score", "Scores a review.", __name__) == (function.__name__, function.__doc__, function.__module__)
    assert inspect.signature(score) == inspect.signature(function)
    assert not function.is_async


async def refresh() -> None: ...


def test_an_async_function_stays_one() -> None:
    function = upon.cron("* * * * *")(refresh)
    assert function.is_async
    function().close()


def test_decorating_leaves_the_function_below_alone() -> None:
    below = upon.kafka("a")(score)
    above = upon.kafka("b")(below)
    assert 1 == len(below.triggers)
    assert 2 == len(above.triggers)


def generator(event: Event) -> Iterator[int]:
    yield 1


async def async_generator(event: Event) -> AsyncIterator[int]:
    yield 1


class Handler:
    def method(self, event: Event) -> None: ...

    @staticmethod
    def static(event: Event) -> None: ...

    def __call__(self, event: Event) -> None: ...


def nested_class() -> Any:
    class Inner:
        def method(self, event: Event) -> None: ...

    return Inner.method


WRONG_TARGETS: list[tuple[str, Any, str]] = [
    ("class", Handler, "takes a function, not the class Handler"),
    ("callable object", Handler(), "takes a function, not <"),
    ("bound method", Handler().method, "not a method: move <bound method Handler.method"),
    ("method", Handler.method, r"not the method Handler\.method: move it out of its class"),
    ("static method", Handler.static, r"not the method Handler\.static"),
    ("staticmethod", staticmethod(score), "not a method: move <staticmethod"),
    ("classmethod", classmethod(score), "not a method: move <classmethod"),
    ("method of a local class", nested_class(), r"not the method nested_class\.<locals>\.Inner\.method"),
    ("lambda", lambda event: None, "takes a named function, not <lambda>"),
    ("generator", generator, r"generator is a generator, and a handler returns once.*topic\.send.*@upon\.resource"),
    ("async generator", async_generator, "async_generator is a generator"),
    ("partial", functools.partial(score), r"takes a function, not functools\.partial"),
    ("builtin", len, "takes a function, not <built-in function len>"),
    ("value", 3, "takes a function, not 3"),
    ("resource", upon.resource(lambda: 1), "takes a function, not <Resource"),
    ("model", upon.Model("m", "m.onnx"), r"takes a function, not Model\('m'"),
]


@pytest.mark.parametrize("decorator", DECORATORS)
@pytest.mark.parametrize(("what", "target", "message"), WRONG_TARGETS, ids=[what for what, _, _ in WRONG_TARGETS])
def test_wrong_targets_are_told_what_to_do(decorator: str, what: str, target: Any, message: str) -> None:
    with pytest.raises(UsageError, match=rf"^@upon\.{decorator}.*{message}"):
        DECORATORS[decorator](target)


@pytest.mark.parametrize("name", DECORATORS)
def test_missing_parentheses_are_told(name: str) -> None:
    with pytest.raises(UsageError, match=rf"@upon\.{name} needs its arguments: write @upon\.{name}\(.+\)"):
        getattr(upon, name)(score)


@pytest.mark.parametrize("name", ["cloudevent", "options", "batched"])
def test_keywords_only(name: str) -> None:
    with pytest.raises(UsageError, match=rf"@upon\.{name} takes keywords only"):
        getattr(upon, name)("com.example.created")


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (upon.kafka("a"), upon.kafka("a", group="g"), "score has the trigger 'kafka a' twice: remove one"),
        (upon.http("GET /a"), upon.http("GET /a"), "trigger 'http GET /a' twice"),
        (upon.cron("* * * * *"), upon.cron("* * * * *"), "twice"),
        (upon.cloudevent(), upon.cloudevent(), r"'cloudevent \(any\)' twice"),
        (upon.batched(max_size=1), upon.batched(max_size=2), "@upon.batched stands twice on score"),
        (upon.options(timeout=1), upon.options(timeout=2), "@upon.options says timeout twice for score: 1 and 2"),
        (upon.options(idempotent=True), upon.options(idempotent=False), "says idempotent twice"),
    ],
)
def test_what_is_said_twice_is_refused(first: Any, second: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        second(first(score))


def test_options_that_do_not_contradict_add_up() -> None:
    function = upon.options(timeout=1, retry=2)(upon.options(concurrency=3, retry=2)(score))
    assert Options(timeout=1, concurrency=3, retry=2) == function.options


def test_a_topic_may_stand_for_its_name() -> None:
    reviews = upon.Topic("reviews")
    function = upon.kafka(reviews, reply_to=upon.Topic("scored"))(score)
    assert (KafkaTrigger("reviews", reply_to="scored"),) == function.triggers


def test_cron_and_cloudevent_carry_their_options() -> None:
    function = upon.cron("0 3 * * *", timezone="Europe/Berlin", overlap="allow", catch_up=2, reply_type="t")(score)
    assert (CronTrigger("0 3 * * *", "Europe/Berlin", "allow", 2, None, "t"),) == function.triggers
    function = upon.cloudevent(source="/s", type="t", reply_to="out")(score)
    assert (CloudEventTrigger((("source", "/s"), ("type", "t")), "out"),) == function.triggers


BAD_ARGUMENTS: list[tuple[Callable[[], object], str]] = [
    (lambda: upon.kafka(""), "topic '' is not a Kafka topic name"),
    (lambda: upon.kafka(3), "topic 3 is not a Kafka topic name"),  # type: ignore[arg-type]
    (lambda: upon.kafka("a b"), "topic 'a b' is not"),
    (lambda: upon.kafka("a", reply_to=".."), r"topic '\.\.' is not"),
    (lambda: upon.kafka("a", value="xml"), "value='xml' is not one of 'json', 'text', 'bytes'"),  # type: ignore[arg-type]
    (lambda: upon.kafka("a", ordering="random"), "ordering='random' is not one of"),  # type: ignore[arg-type]
    (lambda: upon.kafka("a", start="now"), "start='now' is not one of"),  # type: ignore[arg-type]
    (lambda: upon.kafka("a", group=" "), "group=' ' must be the name of a consumer group"),
    (lambda: upon.cron(3), "schedule must be a string such as"),  # type: ignore[arg-type]
    (lambda: upon.cron("* * * * *", overlap="maybe"), "overlap='maybe' is not one of"),  # type: ignore[arg-type]
    (lambda: upon.cron("* * * * *", catch_up=-1), "catch_up=-1 must be a whole number >= 0"),
    (lambda: upon.cloudevent(Type="t"), "@upon.cloudevent: attribute name 'Type'"),
    (lambda: upon.cloudevent(type=3), "'type' must be a non-empty string"),  # type: ignore[arg-type]
    (lambda: upon.cloudevent(myextension=True), "myextension=True must be a string"),  # type: ignore[arg-type]
    (lambda: upon.options(timeout=0), "timeout=0 must be a number of seconds > 0"),
    (lambda: upon.options(timeout=float("inf")), "timeout=inf must be a number of seconds > 0"),
    (lambda: upon.options(timeout="30"), "timeout='30' must be a number of seconds > 0"),  # type: ignore[arg-type]
    (lambda: upon.options(concurrency=0), "concurrency=0 must be a whole number >= 1"),
    (lambda: upon.options(concurrency=True), "concurrency=True must be"),
    (lambda: upon.options(retry=-1), "retry=-1 must be a whole number >= 0"),
    (lambda: upon.options(idempotent="yes"), "idempotent='yes' must be True or False"),  # type: ignore[arg-type]
    (lambda: upon.batched(max_size=0), "max_size=0 must be a whole number >= 1"),
    (lambda: upon.batched(max_wait=-1), "max_wait=-1 must be a number of seconds >= 0"),
    (lambda: upon.batched(max_wait=float("nan")), "max_wait=nan must be"),
]


@pytest.mark.parametrize(("make", "message"), BAD_ARGUMENTS, ids=[message for _, message in BAD_ARGUMENTS])
def test_bad_arguments_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()
