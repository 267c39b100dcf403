"""Triggers of a service that can both claim one event, request or record."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

from upon._triggers import CloudEventTrigger, HttpTrigger, KafkaTrigger
from upon_build.project.options import Configured
from upon_build.project.problems import Problem


def overlaps(service: str, configured: Sequence[Configured]) -> Iterator[Problem]:
    """Subscriptions, routes and consumer groups that get in each other's way."""
    for one, other in combinations(configured, 2):
        yield from _subscriptions(one, other)
        yield from _groups(service, one, other)
    yield from _routes(configured)


def _subscriptions(one: Configured, other: Configured) -> Iterator[Problem]:
    for mine in one.function.triggers:
        for theirs in other.function.triggers:
            if isinstance(mine, CloudEventTrigger) and isinstance(theirs, CloudEventTrigger) and _meet(mine, theirs):
                yield Problem(
                    "error",
                    other.location,
                    f"{one.function.name} ({mine}) in {one.location} and {other.function.name} ({theirs}) can match"
                    " one event",
                    "give both the same attribute with different values, such as type=",
                )
                return


def _meet(mine: CloudEventTrigger, theirs: CloudEventTrigger) -> bool:
    wanted = dict(mine.attributes)
    return all(wanted.get(name, value) == value for name, value in theirs.attributes)


def _groups(service: str, one: Configured, other: Configured) -> Iterator[Problem]:
    for mine in one.function.triggers:
        for theirs in other.function.triggers:
            if not isinstance(mine, KafkaTrigger) or not isinstance(theirs, KafkaTrigger):
                continue
            group = mine.group or f"{service}.{one.function.name}"
            if mine.topic == theirs.topic and group == (theirs.group or f"{service}.{other.function.name}"):
                yield Problem(
                    "error",
                    other.location,
                    f"{one.function.name} in {one.location} and {other.function.name} read the topic {mine.topic!r} in"
                    f" one group {group!r}: each record would reach only one of them",
                    "give them different groups, or none",
                )


def _routes(configured: Sequence[Configured]) -> Iterator[Problem]:
    routes = [(one, t) for one in configured for t in one.function.triggers if isinstance(t, HttpTrigger)]
    for (one, mine), (other, theirs) in combinations(routes, 2):
        if mine.method == theirs.method and _ambiguous(mine.path, theirs.path):
            yield Problem(
                "error",
                other.location,
                f"{one.function.name} ({mine.route}) in {one.location} and {other.function.name} ({theirs.route}) can"
                " match one request",
                "change one of the paths",
            )


def _ambiguous(mine: str, theirs: str) -> bool:
    """Whether one path can match both and neither is the more specific one throughout."""
    pairs = list(zip(mine.split("/"), theirs.split("/"), strict=False))
    if mine.count("/") != theirs.count("/"):
        return False
    if not all(_may_equal(a, b) for a, b in pairs):
        return False
    more = {(_pattern(a), _pattern(b)) for a, b in pairs if _pattern(a) != _pattern(b)}
    return len(more) != 1


def _may_equal(mine: str, theirs: str) -> bool:
    if _pattern(mine) and _pattern(theirs):
        return True
    pattern, text = (mine, theirs) if _pattern(mine) else (theirs, mine)
    expression = "[^/]+".join(re.escape(part) for part in re.split(r"{[^{}]*}", pattern))
    return re.fullmatch(expression, text) is not None


def _pattern(segment: str) -> bool:
    return re.search(r"{[^{}]*}", segment) is not None
