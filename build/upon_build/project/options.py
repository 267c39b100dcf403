"""A function with its settings in force: its decorators, and what `options`, variables and flags say otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from upon import Function, UsageError
from upon._triggers import CronTrigger, HttpTrigger, KafkaTrigger, Options, Trigger
from upon_build.project.kinds import MapOf, Table
from upon_build.project.problems import Problem, ProjectError, did_you_mean
from upon_build.project.schema import DELIVERY, FUNCTION_OPTIONS
from upon_build.project.settings import Settings, Value

NAMES = ("timeout", "concurrency", "retry", "idempotent")


@dataclasses.dataclass(frozen=True, slots=True)
class Configured:
    """function: with the triggers in force. declared: as the person wrote it. options: by name; location: its place.

    triggers: for each of function.triggers, in the same order, its fields with their origins.
    """

    function: Function[..., Any]
    declared: Function[..., Any]
    location: str
    options: Mapping[str, Value]
    triggers: tuple[tuple[Trigger, Mapping[str, Value]], ...]


def configure(settings: Settings, function: Function[..., Any], folder: Path) -> Configured:
    """The function as it will run. Raises ProjectError where an option makes a trigger that can't be."""
    where = place(function, folder)
    options = {name: _option(settings, function, name, where) for name in NAMES}
    triggers = [_trigger(settings, function, trigger, where) for trigger in function.triggers]
    made = Function(
        function.plain,
        tuple(trigger for trigger, _ in triggers),
        Options(**{name: value.value for name, value in options.items()}),
        function.batched,
    )
    in_order = tuple(sorted(triggers, key=lambda pair: str(pair[0])))  # as Function sorts them
    return Configured(made, function, where, options, in_order)


def place(function: Function[..., Any], folder: Path) -> str:
    """`reviews.py:12`"""
    code = function.plain.__code__ if hasattr(function.plain, "__code__") else None
    return f"{shown_path(code.co_filename, folder)}:{code.co_firstlineno}" if code else function.name


def shown_path(path: str, folder: Path) -> str:
    return str(Path(path).relative_to(folder)) if Path(path).is_relative_to(folder) else path


def _option(settings: Settings, function: Function[..., Any], name: str, where: str) -> Value:
    said = getattr(function.options, name)
    decorator = None if said is None else Value(said, "decorator", where)
    own = ("options", function.name, name)
    if name == "retry":
        return settings.resolve(DELIVERY.fields["retry"], service=("delivery", "retry"), own=own, decorator=decorator)
    found = settings.resolve(FUNCTION_OPTIONS.fields[name], own=own, decorator=decorator)
    # A request's limit is no wish about this function: it holds where nobody says otherwise.
    return settings.get("deploy.timeoutSeconds") if name == "timeout" and found.value is None else found


def _trigger(
    settings: Settings, function: Function[..., Any], trigger: Trigger, where: str
) -> tuple[Trigger, Mapping[str, Value]]:
    key = trigger_key(trigger)
    if key is None:
        return trigger, {}
    fields = cast(Table, cast(MapOf, FUNCTION_OPTIONS.fields[trigger.kind]).item).fields
    values: dict[str, Value] = {}
    for name, kind in fields.items():
        said = getattr(trigger, name)
        layer = _decorated(trigger, name, said, where)
        values[name] = settings.resolve(kind, own=("options", function.name, trigger.kind, key, name), decorator=layer)
    changed = {name: value.value for name, value in values.items() if value.value != getattr(trigger, name)}
    try:
        return dataclasses.replace(trigger, **changed), values
    except UsageError as error:
        location = next(values[name].where for name in changed)
        raise ProjectError([Problem("error", location, str(error))]) from None


def _decorated(trigger: Trigger, name: str, said: Any, where: str) -> Value:
    field = next(field for field in dataclasses.fields(trigger) if field.name == name)
    if said == field.default:
        return Value(said, "default", "default")
    return Value(said, "decorator", where)


def trigger_key(trigger: Trigger) -> str | None:
    """By what `options` names a trigger: the topic, schedule or route in its decorator."""
    match trigger:
        case KafkaTrigger():
            return trigger.topic
        case CronTrigger():
            return trigger.schedule
        case HttpTrigger():
            return trigger.route
    return None


def unknown_entries(settings: Settings, functions: Sequence[Function[..., Any]]) -> Iterator[Problem]:
    """Entries of `options` for a function or trigger that is not there, in every profile."""
    by_name = {function.name: function for function in functions}
    profiles = settings.base.get("profiles", {})
    for keys, tree in [((), settings.base), *((("profiles", name), tree) for name, tree in profiles.items())]:
        for name, entry in tree.get("options", {}).items():
            path = (*keys, "options", name)
            if name not in by_name:
                message = f"options names the function {name!r}, which is not there"
                yield Problem("error", settings.file.location(path), message, did_you_mean(name, by_name))
            else:
                yield from _unknown_triggers(settings, by_name[name], entry, path)


def _unknown_triggers(
    settings: Settings, function: Function[..., Any], entry: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[Problem]:
    nouns = {"kafka": "topic", "cron": "schedule", "http": "route"}
    for kind, noun in nouns.items():
        there = {str(trigger_key(trigger)) for trigger in function.triggers if trigger.kind == kind}
        for key in entry.get(kind, {}):
            if key not in there:
                message = f"options.{function.name}.{kind} names the {noun} {key!r}, which no decorator has"
                remedy = did_you_mean(key, there) or f"add @upon.{kind} to {function.name}, or remove the entry"
                yield Problem("error", settings.file.location((*path, kind, key)), message, remedy)
