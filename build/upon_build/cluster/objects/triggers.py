"""What feeds a deployed service: a host for its Kafka and cron triggers, or Knative's own sources, and Triggers."""

from __future__ import annotations

from typing import Any

from upon_build.cluster.objects.leases import account_name, account_object, lease_objects
from upon_build.cluster.objects.modes import Mode, mode_of
from upon_build.cluster.objects.wanted import Wanted
from upon_build.project.problems import Problem

__all__ = ["Mode", "check_triggers", "mode_of", "trigger_objects"]


def trigger_objects(wanted: Wanted) -> list[dict[str, Any]]:
    """Everything that feeds the service; a trigger that is edited changes its object, or has another one."""
    from upon_build.cluster.objects.eventing import source_objects, subscriptions
    from upon_build.cluster.objects.host import host_objects

    match mode_of(wanted):
        case "host":
            found = host_objects(wanted)
        case "eventing":
            found = source_objects(wanted)
        case "direct":
            found = direct_objects(wanted)
        case _:
            found = []
    return [*found, *subscriptions(wanted)]


def direct_objects(wanted: Wanted) -> list[dict[str, Any]]:
    """What the service's own pods need to share its schedules; an account only where func.yaml names none."""
    said = wanted.settings["deploy.serviceAccountName"]
    rights = lease_objects(wanted, said or account_name(wanted))
    return [*([] if said else [account_object(wanted)]), *rights] if rights else []


def check_triggers(wanted: Wanted) -> list[Problem]:
    """What a way of feeding the service would lose or could not do, each with its line and remedy."""
    from upon_build.cluster.checks.triggers import trigger_problems

    return list(trigger_problems(wanted))
