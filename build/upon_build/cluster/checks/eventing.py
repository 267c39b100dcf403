"""What Knative's sources would lose of what a project asks for. Each is an error: who chose them would not notice."""

from __future__ import annotations

import re
from collections.abc import Iterator

from upon._signature import analyse
from upon._triggers import CronTrigger, KafkaTrigger, Trigger
from upon_build.cluster.checks.places import at
from upon_build.cluster.objects.modes import triggers_of
from upon_build.cluster.objects.secured import MECHANISM, SASL_FIELDS, TLS_FIELDS, file_key, secret_key
from upon_build.cluster.objects.wanted import Wanted
from upon_build.project.options import Configured
from upon_build.project.problems import Problem, Severity

CHOSEN = "deploy.triggers is eventing"
HOST = "use deploy.triggers: host"
# What PingSource's parser takes and means as Upon does: numbers, names, ranges, lists and steps; Sunday is 0 or SUN.
_PART = r"(\*(/[1-9][0-9]*)?|[0-9]+(-[0-9]+(/[1-9][0-9]*)?)?|[A-Z]{3}(-[A-Z]{3})?)"
_FIELD = re.compile(rf"{_PART}(,{_PART})*")
_MACROS = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})


def eventing_problems(wanted: Wanted) -> Iterator[Problem]:
    """Of triggers first, then of settings that all of them share."""
    for one, trigger in triggers_of(wanted):
        for loss in _losses(wanted, one, trigger):
            message = f"{CHOSEN}, and {one.function.name} ({trigger}) {loss}"
            yield _said(wanted, "deploy.triggers", message, HOST)
        if isinstance(trigger, CronTrigger):
            yield from _cron_warnings(wanted, one, trigger)
    if any(isinstance(trigger, KafkaTrigger) for _, trigger in triggers_of(wanted)):
        yield from _guarantees(wanted)
        yield from _access(wanted)


def _losses(wanted: Wanted, one: Configured, trigger: Trigger) -> Iterator[str]:
    if not isinstance(trigger, (KafkaTrigger, CronTrigger)):
        return
    source = "KafkaSource" if isinstance(trigger, KafkaTrigger) else "PingSource"
    if trigger.reply_to is not None:
        yield f"replies to {trigger.reply_to!r}: {source} throws replies away"
    if analyse(one.function.plain).batch:
        yield f"takes batches: {source} sends one event at a time"
    if isinstance(trigger, KafkaTrigger):
        yield from _kafka_losses(trigger)
    else:
        yield from _cron_losses(trigger)


def _kafka_losses(trigger: KafkaTrigger) -> Iterator[str]:
    if trigger.ordering == "key":
        yield "is ordered by key: KafkaSource knows partitions only"
    if trigger.value != "json":
        yield f"reads values as {trigger.value}: KafkaSource does not pass that on"


def _cron_losses(trigger: CronTrigger) -> Iterator[str]:
    if trigger.overlap != "allow":
        yield f"has overlap {trigger.overlap!r}: PingSource fires whatever still runs, which is overlap='allow'"
    if trigger.catch_up:
        yield f"has catch_up {trigger.catch_up}: PingSource forgets what it missed"
    if trigger.jitter:
        yield f"has jitter {trigger.jitter:g}: PingSource has one of its own, of half a second"
    if not _is_understood(trigger.schedule):
        yield f"has the schedule {trigger.schedule!r}: PingSource does not understand it, or otherwise"


def _cron_warnings(wanted: Wanted, one: Configured, trigger: CronTrigger) -> Iterator[Problem]:
    head = f"{CHOSEN}, and PingSource tries a tick of {one.function.name} for two seconds and drops it then"
    yield _said(wanted, "deploy.triggers", head, f"{HOST} where each tick counts", "warning")
    if trigger.timezone != "UTC":
        message = f"{CHOSEN}, and PingSource drops a tick of {one.function.name} at a time that the clock jumps over"
        yield _said(wanted, "deploy.triggers", message, f"{HOST}, or timezone='UTC'", "warning")


def _is_understood(schedule: str) -> bool:
    """Where two days of which one is like `*/2` are named, Upon wants both of them and PingSource either."""
    fields = schedule.upper().split()
    if len(fields) != 5:
        return schedule in _MACROS
    day, weekday = fields[2], fields[4]
    steps = "*" not in (day, weekday) and (day.startswith("*") or weekday.startswith("*"))
    sunday = "7" in re.split("[,/-]", weekday)
    return all(map(_FIELD.fullmatch, fields)) and not steps and not sunday


def _guarantees(wanted: Wanted) -> Iterator[Problem]:
    settings = wanted.settings
    if settings["delivery.guarantee"] == "exactly-once":
        message = f"{CHOSEN}, and delivery.guarantee is exactly-once, which KafkaSource can't keep"
        yield _said(wanted, "delivery.guarantee", message, "use deploy.triggers: direct")
    dead = settings["delivery.deadLetter"]
    if dead == "none" or (dead is None and settings["deploy.deadLetterSink"]):
        return
    message = f"{CHOSEN}: KafkaSource has no dead-letter topic and drops what fails for good"
    remedy = f"{HOST}, write delivery.deadLetter: none, or name a URL in deploy.deadLetterSink"
    yield _said(wanted, "delivery.deadLetter", message, remedy)


def _access(wanted: Wanted) -> Iterator[Problem]:
    """KafkaSource reads every part of it from Secrets."""
    settings = wanted.settings
    for path in SASL_FIELDS:
        if settings.has("kafka.sasl") and secret_key(settings.get(path)) is None:
            message = f"{CHOSEN}, and {path} is no reference to a Secret, from which KafkaSource reads it"
            yield _said(wanted, path, message, "write {{ secret:name:key }}")
    for path in TLS_FIELDS:
        if settings[path] and file_key(wanted, settings[path]) is None:
            message = f"{CHOSEN}, and {path} is the file {settings[path]!r}: KafkaSource reads it from a Secret"
            yield _said(wanted, path, message, "mount that Secret with run.volumes, and name the file in it")
    if settings.has("kafka.tls") and not settings["kafka.tls.verify"]:
        message = f"{CHOSEN}, and kafka.tls.verify is false, which KafkaSource does not know"
        yield _said(wanted, "kafka.tls.verify", message, "trust the brokers' certificate with kafka.tls.ca")
    password = secret_key(settings.get("kafka.sasl.password")) if settings.has("kafka.sasl") else None
    if password is not None:
        mechanism = settings["kafka.sasl.mechanism"]
        message = f"{CHOSEN}: KafkaSource reads the SASL mechanism from the key {MECHANISM!r} of {password[0]!r}"
        remedy = f"see that it is there, with the value {mechanism}"
        yield _said(wanted, "kafka.sasl.mechanism", message, remedy, "warning")


def _said(wanted: Wanted, path: str, message: str, remedy: str, severity: Severity = "error") -> Problem:
    return Problem(severity, at(wanted, path), message, remedy)
