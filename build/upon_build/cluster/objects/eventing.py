"""Knative Eventing's objects: a Trigger for each @upon.cloudevent, KafkaSource and PingSource for who chose them."""

from __future__ import annotations

import math
from typing import Any

from upon._triggers import CloudEventTrigger, CronTrigger, KafkaTrigger, Trigger
from upon_build.cluster.objects.metadata import group_of, metadata_of, object_name
from upon_build.cluster.objects.modes import subscribes, triggers_of
from upon_build.cluster.objects.secured import net_of
from upon_build.cluster.objects.service import API as SERVING
from upon_build.cluster.objects.wanted import Wanted
from upon_build.project.options import Configured

EVENTING = "eventing.knative.dev/v1"
SOURCES = "sources.knative.dev/v1"
COMPONENT = "trigger"
ORDERING = {"partition": "ordered", "unordered": "unordered"}


def subscriptions(wanted: Wanted) -> list[dict[str, Any]]:
    """A Knative Trigger for each @upon.cloudevent, which sends what passes its filter to the function by name."""
    if not subscribes(wanted):
        return []
    return [
        _object(wanted, EVENTING, "Trigger", (one, trigger), _subscription(wanted, one, trigger))
        for one, trigger in triggers_of(wanted)
        if isinstance(trigger, CloudEventTrigger)
    ]


def source_objects(wanted: Wanted) -> list[dict[str, Any]]:
    """One for each Kafka and cron trigger."""
    found = []
    for one, trigger in triggers_of(wanted):
        if isinstance(trigger, KafkaTrigger):
            found.append(_object(wanted, SOURCES, "KafkaSource", (one, trigger), _kafka(wanted, one, trigger)))
        elif isinstance(trigger, CronTrigger):
            spec = {"schedule": trigger.schedule, "timezone": trigger.timezone, "sink": _sink(wanted, one)}
            found.append(_object(wanted, SOURCES, "PingSource", (one, trigger), spec))
    return found


def _object(
    wanted: Wanted, api: str, kind: str, fed: tuple[Configured, Trigger], spec: dict[str, Any]
) -> dict[str, Any]:
    one, trigger = fed
    metadata = metadata_of(wanted, object_name(wanted, one.function.name, trigger), COMPONENT)
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}


def _subscription(wanted: Wanted, one: Configured, trigger: CloudEventTrigger) -> dict[str, Any]:
    attributes = dict(sorted(trigger.attributes))
    return {
        "broker": wanted.settings["deploy.broker"],
        **({"filter": {"attributes": attributes}} if attributes else {}),
        "subscriber": _sink(wanted, one),
        "delivery": _delivery(wanted, one),
    }


def _kafka(wanted: Wanted, one: Configured, trigger: KafkaTrigger) -> dict[str, Any]:
    net = net_of(wanted)
    return {
        "bootstrapServers": list(wanted.project.bootstrap),
        "topics": [trigger.topic],
        "consumerGroup": group_of(wanted, one.function.name, trigger),
        "initialOffset": trigger.start,
        "ordering": ORDERING[trigger.ordering],
        **({"net": net} if net else {}),
        "delivery": _delivery(wanted, one),
        "sink": _sink(wanted, one),
    }


def _sink(wanted: Wanted, one: Configured) -> dict[str, Any]:
    """The function behind its service, by name: several may take one type of event."""
    ref = {"apiVersion": SERVING, "kind": "Service", "name": wanted.name}
    return {"ref": ref, "uri": f"/functions/{one.function.name}"}


def _delivery(wanted: Wanted, one: Configured) -> dict[str, Any]:
    """How hard Knative tries, as Upon would; what fails for good goes to a URL, or to the broker's own dead letters."""
    settings = wanted.settings
    dead = settings["deploy.deadLetterSink"]
    return {
        "retry": one.options["retry"].value,
        "backoffPolicy": settings["delivery.backoffPolicy"],
        "backoffDelay": iso(settings["delivery.backoffDelay"]),
        **({"deadLetterSink": {"uri": dead}} if dead else {}),
    }


def iso(seconds: float) -> str:
    """0.2 -> `PT0.2S`; Knative counts in tenths, and would make less of what is between two."""
    tenths = math.ceil(round(seconds * 10, 3))
    return f"PT{tenths // 10}{f'.{tenths % 10}' if tenths % 10 else ''}S"
