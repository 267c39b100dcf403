"""What all objects of a deployment have in common, and names that stay."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from upon._triggers import KafkaTrigger, Trigger
from upon_build.cluster.objects.labels import labels_of
from upon_build.cluster.objects.wanted import Wanted


def metadata_of(wanted: Wanted, name: str, component: str) -> dict[str, Any]:
    labels = {**wanted.settings["deploy.labels"], **labels_of(wanted.name, component)}
    return {"name": name, "namespace": wanted.namespace, "labels": dict(sorted(labels.items()))}


def object_name(wanted: Wanted, function: str, trigger: Trigger) -> str:
    """Of a trigger's object, whatever else the project has: `reviews-score-0a1b2c3d`.

    What makes it another trigger makes another name: the topic and group, the schedule, the filter.
    """
    said = f"{function}/{trigger}"
    if isinstance(trigger, KafkaTrigger):
        said = f"{said}/{group_of(wanted, function, trigger)}"
    digest = hashlib.sha256(said.encode()).hexdigest()[:8]
    readable = re.sub(r"[^a-z0-9]+", "-", f"{wanted.name}-{function}".lower()).strip("-")
    return f"{readable[:54].rstrip('-')}-{digest}"


def group_of(wanted: Wanted, function: str, trigger: KafkaTrigger) -> str:
    """The consumer group, as every way of reading Kafka names it: one may go on where another has stopped."""
    return trigger.group or f"{wanted.name}.{function}"
