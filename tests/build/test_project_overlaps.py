from __future__ import annotations

import pytest

import upon
from upon_build.project.file import ProjectFile
from upon_build.project.options import configure
from upon_build.project.overlaps import overlaps
from upon_build.project.settings import Settings


def functions(tmp_path, first, second):
    @first
    def one(event): ...

    @second
    def two(event): ...

    settings = Settings(ProjectFile(tmp_path / "func.yaml", {}), {}, None, {}, {})
    return [configure(settings, function, tmp_path) for function in (one, two)]


ce, http, kafka = upon.cloudevent, upon.http, upon.kafka


def both(*decorators):
    def decorate(function):
        for decorator in decorators:
            function = decorator(function)
        return function

    return decorate


#  two functions, whether both can claim one event, request or record
TABLE = [
    (ce(type="a"), ce(type="a"), True),
    (ce(type="a"), ce(type="b"), False),
    (ce(type="a"), ce(source="/s"), True),
    (ce(type="a", source="/s"), ce(type="a", source="/t"), False),
    (ce(type="a", region="eu"), ce(type="a"), True),
    (ce(type="a", region="eu"), ce(type="a", region="us"), False),
    (ce(), ce(type="a"), True),
    (ce(), ce(), True),
    (ce(), kafka("a"), False),
    (ce(type="a"), http("POST /x"), False),
    (kafka("a"), http("POST /x"), False),
    (upon.options(timeout=3), ce(), False),
    (both(ce(type="a"), ce(type="b")), both(ce(type="c"), ce(type="b")), True),
    (both(ce(type="a"), ce(type="b")), ce(type="c"), False),
    (http("GET /a"), http("GET /a"), True),
    (http("GET /a"), http("POST /a"), False),
    (http("GET /a/{x}"), http("GET /a/{y}"), True),
    (http("GET /a/{x}"), http("GET /a/b"), False),  # the literal one is more specific and wins
    (http("GET /a/{x}/c"), http("GET /a/b/{y}"), True),
    (http("GET /a/{x}/c"), http("GET /a/{x}/d"), False),
    (http("GET /a/{x}"), http("GET /a/{x}/d"), False),
    (http("GET /a/{x}/{y}"), http("GET /a/{x}/d"), False),
    (http("GET /a/v{x}/{y}"), http("GET /a/w1/d"), False),
    (http("GET /a/v{x}/b"), http("GET /a/v1/{y}"), True),
    (kafka("a"), kafka("a"), False),
    (kafka("a", group="g"), kafka("a", group="g"), True),
    (kafka("a", group="g"), kafka("b", group="g"), False),
    (kafka("a", group="g"), kafka("a", group="h"), False),
    (kafka("a", group="demo.two"), kafka("a"), True),
]


@pytest.mark.parametrize(("first", "second", "expected"), TABLE, ids=range(len(TABLE)))
def test_pair(tmp_path, first, second, expected):
    pair = functions(tmp_path, first, second)
    assert [expected, expected] == [bool(list(overlaps("demo", order))) for order in (pair, pair[::-1])]


MESSAGES = [
    (
        ce(type="a"),
        ce(source="/s"),
        "one (cloudevent type=a) in HERE and two (cloudevent source=/s) can match one event: give both the same"
        " attribute with different values, such as type=",
    ),
    (
        http("GET /a/{x}"),
        http("GET /a/{y}"),
        "one (GET /a/{x}) in HERE and two (GET /a/{y}) can match one request: change one of the paths",
    ),
    (
        kafka("a", group="g"),
        kafka("a", group="g"),
        "one in HERE and two read the topic 'a' in one group 'g': each record would reach only one of them: give them"
        " different groups, or none",
    ),
]


@pytest.mark.parametrize(("first", "second", "message"), MESSAGES, ids=["cloudevent", "http", "kafka"])
def test_message(tmp_path, first, second, message):
    one, two = functions(tmp_path, first, second)
    (problem,) = overlaps("demo", [one, two])
    assert ("error", two.location) == (problem.severity, problem.location)
    assert message.replace("HERE", one.location) == f"{problem.message}: {problem.remedy}"
