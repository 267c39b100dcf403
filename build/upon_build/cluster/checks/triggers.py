"""What a way of feeding the service would lose, or could not do, told with the setting's line."""

from __future__ import annotations

from collections.abc import Iterator

from upon._triggers import CloudEventTrigger, KafkaTrigger
from upon_build.cluster.checks.eventing import eventing_problems
from upon_build.cluster.checks.places import at
from upon_build.cluster.objects.modes import mode_of, subscribes, triggers_of
from upon_build.cluster.objects.wanted import Wanted
from upon_build.project.options import Configured
from upon_build.project.problems import Problem

QUIET = 30.0  # seconds for which Knative's queue-proxy must have been quiet before a pod gets its SIGTERM
SLACK = 5.0  # seconds
HOST = "use deploy.triggers: host"


def trigger_problems(wanted: Wanted) -> Iterator[Problem]:
    """Each would be noticed only after events were lost, or by pods that do not start."""
    yield from _kafka(wanted)
    yield from _loops(wanted)
    match mode_of(wanted):
        case "direct":
            yield from _direct(wanted)
        case "host":
            yield from _host(wanted)
        case "eventing":
            yield from eventing_problems(wanted)


def _error(wanted: Wanted, path: str, message: str, remedy: str) -> Problem:
    return Problem("error", at(wanted, path), message, remedy)


def _kafka(wanted: Wanted) -> Iterator[Problem]:
    """Who reads topics or replies to one needs to know where they are."""
    if wanted.project.bootstrap:
        return
    for one, trigger in triggers_of(wanted):
        what = "reads" if isinstance(trigger, KafkaTrigger) else f"({trigger}) replies to" if trigger.reply_to else ""
        if what:
            topic = trigger.topic if isinstance(trigger, KafkaTrigger) else trigger.reply_to
            message = f"{one.function.name} {what} the topic {topic!r}, and no kafka.bootstrap says where Kafka is"
            yield _error(wanted, "kafka.bootstrap", message, f"set it in the profile {wanted.project.profile!r}")
            return


def _loops(wanted: Wanted) -> Iterator[Problem]:
    """A broker takes the answers of its subscribers for new events."""
    for one, trigger in triggers_of(wanted):
        if subscribes(wanted) and isinstance(trigger, CloudEventTrigger) and not trigger.attributes:
            broker = wanted.settings["deploy.broker"]
            message = f"{one.function.name} takes every event of the broker {broker!r}: its own replies come back to it"
            yield Problem("warning", one.location, message, "filter, with @upon.cloudevent(type=...)")


def _direct(wanted: Wanted) -> Iterator[Problem]:
    """The consumer lives in the pods: without one nobody reads, and a pod that ends needs time to hand over."""
    settings = wanted.settings
    if settings["deploy.scale.min"] < 1:
        message = "deploy.triggers is direct and deploy.scale.min is 0: with no pod, nobody reads Kafka or the clock"
        yield _error(wanted, "deploy.scale.min", message, f"set it to 1 at least, or {HOST}")
    least = QUIET + settings["run.drainDelay"] + SLACK
    if settings["deploy.timeoutSeconds"] < least:
        said = settings["deploy.timeoutSeconds"]
        message = f"deploy.triggers is direct and deploy.timeoutSeconds is {said}: a pod would be killed"
        message = f"{message} before it has handed over its partitions"
        yield _error(wanted, "deploy.timeoutSeconds", message, f"set it to {least:g} at least, or {HOST}")
    if settings["kafka.groupInstanceId"] and settings["deploy.scale.max"] != 1:
        yield _static(wanted, "deploy.scale.max: 1")


def _host(wanted: Wanted) -> Iterator[Problem]:
    settings = wanted.settings
    reader = _reader(wanted)
    if reader is not None and settings["delivery.guarantee"] == "exactly-once":
        message = f"delivery.guarantee is exactly-once, which a trigger host can't keep for {reader.function.name}"
        yield _error(wanted, "delivery.guarantee", message, "use deploy.triggers: direct, or at-least-once")
    if reader is not None and settings["kafka.groupInstanceId"] and settings["deploy.triggerHost.replicas"] > 1:
        yield _static(wanted, "deploy.triggerHost.replicas: 1")


def _static(wanted: Wanted, remedy: str) -> Problem:
    name = wanted.settings["kafka.groupInstanceId"]
    message = f"kafka.groupInstanceId is {name!r} in every replica: they would throw each other out of the group"
    return _error(wanted, "kafka.groupInstanceId", message, f"remove it, or set {remedy}")


def _reader(wanted: Wanted) -> Configured | None:
    return next((one for one, trigger in triggers_of(wanted) if isinstance(trigger, KafkaTrigger)), None)
