"""What is wrong between a project's parts, found without opening anything."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

from upon import Model, UsageError
from upon._signature import Signature, analyse
from upon._triggers import CronTrigger, KafkaTrigger
from upon_build.project.builder import builder_problems
from upon_build.project.idempotent import idempotent_problems
from upon_build.project.objects import Objects
from upon_build.project.options import Configured
from upon_build.project.overlaps import overlaps
from upon_build.project.problems import Problem
from upon_build.project.settings import Settings


def check(settings: Settings, service: str, configured: Sequence[Configured], objects: Objects) -> list[Problem]:
    """Every problem of functions, triggers, settings and models."""
    found: list[Problem] = []
    for one in configured:
        found += _signature_problems(one)
        found += _cron_problems(one)
        found += _reply_problems(settings, one)
        found += _timeout_problems(settings, one)
    found += overlaps(service, configured)
    found += _delivery_problems(settings)
    found += builder_problems(settings)
    found += idempotent_problems(settings, configured)
    for model in objects.models:
        found += _model_problems(model, objects.place(model), settings.file.path.parent)
    return found


def _signature_problems(one: Configured) -> Iterator[Problem]:
    try:
        signature = analyse(one.function.plain)
    except UsageError as error:
        yield Problem("error", one.location, str(error))
        return
    if one.function.batched is not None and not signature.batch:
        yield Problem(
            "error",
            one.location,
            f"{one.function.name} has @upon.batched, but takes {_taken(signature)}",
            "take a list, such as list[Event], or remove @upon.batched",
        )


def _taken(signature: Signature) -> str:
    return {"nothing": "nothing", "event": "one event", "data": "the data of one event"}[signature.form]


def _cron_problems(one: Configured) -> Iterator[Problem]:
    triggers = [trigger for trigger in one.function.triggers if isinstance(trigger, CronTrigger)]
    if not triggers:
        return
    from upon_triggers.schedule import Schedule, check_jitter  # needs an extra

    for trigger in triggers:
        field = "schedule"
        try:
            schedule = Schedule(trigger.schedule, trigger.timezone)
            field = "jitter"
            check_jitter(schedule, trigger.jitter)
        except UsageError as error:  # not MissingExtra
            where = next(fields[field].where for known, fields in one.triggers if known == trigger)
            yield Problem("error", one.location if where == "default" else where, f"{one.function.name}: {error}")


def _reply_problems(settings: Settings, one: Configured) -> Iterator[Problem]:
    read = {trigger.topic for trigger in one.function.triggers if isinstance(trigger, KafkaTrigger)}
    for topic in sorted(read & {str(trigger.reply_to) for trigger in one.function.triggers}):
        message = f"{one.function.name} replies to {topic!r}, the topic it reads: its replies come back as events"
        yield Problem("warning", one.location, message, "reply to another topic")
    dead = settings["delivery.deadLetter"]
    if dead in read:
        where = settings.get("delivery.deadLetter").where
        message = f"delivery.deadLetter is {dead!r}, which {one.function.name} reads: failed events would go round"
        yield Problem("error", where, message, "name another topic")


def _timeout_problems(settings: Settings, one: Configured) -> Iterator[Problem]:
    timeout, limit = one.options["timeout"], settings.get("deploy.timeoutSeconds")
    if timeout.value > limit.value:
        yield Problem(
            "error",
            timeout.where,
            f"{one.function.name} has a timeout of {timeout.value:g} s, and deploy.timeoutSeconds ends every request"
            f" after {limit.value} s",
            f"raise deploy.timeoutSeconds (at most 600), or lower the timeout to {limit.value}",
        )


def _delivery_problems(settings: Settings) -> Iterator[Problem]:
    first, longest = settings.get("delivery.backoffDelay"), settings.get("delivery.maxDelay")
    if first.value > longest.value:
        message = f"delivery.backoffDelay of {first.value:g} s is longer than delivery.maxDelay of {longest.value:g} s"
        yield Problem("error", first.where, message, "lower backoffDelay, or raise maxDelay")


def _model_problems(model: Model, place: str, folder: Path) -> Iterator[Problem]:
    path = folder / model.path
    if path.is_file():
        return
    what = "is a folder" if path.is_dir() else "is not there"
    known = [str(found.relative_to(folder)) for found in _model_files(folder)]
    near = difflib.get_close_matches(str(model.path), known, 1, 0.5)
    remedy = f"did you mean {near[0]!r}?" if near else f"the path counts from {folder}"
    yield Problem("error", place, f"model {model.name!r}: the file {str(model.path)!r} {what}", remedy)


def _model_files(folder: Path) -> Iterator[Path]:
    for pattern in ("*.onnx", "*/*.onnx", "*/*/*.onnx"):
        yield from folder.glob(pattern)
