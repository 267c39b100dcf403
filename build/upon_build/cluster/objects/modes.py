"""Who feeds a deployed service: the triggers it has, and what func.yaml says about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from upon._triggers import CronTrigger, KafkaTrigger, Trigger
from upon_build.cluster.objects.wanted import Wanted
from upon_build.project.options import Configured

Mode: TypeAlias = Literal["host", "eventing", "direct", "none"]
_MODES: dict[str, Mode] = {"auto": "host", "host": "host", "eventing": "eventing", "direct": "direct"}


def mode_of(wanted: Wanted) -> Mode:
    """Who reads Kafka and the clock; `none` where no function has such a trigger."""
    fed = any(isinstance(trigger, (KafkaTrigger, CronTrigger)) for _, trigger in triggers_of(wanted))
    return _MODES[wanted.settings["deploy.triggers"]] if fed else "none"


def subscribes(wanted: Wanted) -> bool:
    """Whether @upon.cloudevent becomes Triggers; with host and direct it is for whoever posts events."""
    return wanted.settings["deploy.triggers"] in ("auto", "eventing")


def triggers_of(wanted: Wanted) -> Iterator[tuple[Configured, Trigger]]:
    """Every trigger in force, with its function."""
    for one in wanted.project.functions:
        for trigger in one.function.triggers:
            yield one, trigger
