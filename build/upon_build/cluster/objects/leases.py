"""Where a service's schedules keep what they fired, and with whose rights: a Lease each, and nothing else to touch.

The Leases belong to the deployment, so they go when their schedule goes; pods only fill them in.
"""

from __future__ import annotations

from typing import Any

from upon._triggers import CronTrigger
from upon_build.cluster.objects.metadata import metadata_of
from upon_build.cluster.objects.modes import mode_of
from upon_build.cluster.objects.wanted import Wanted

COMPONENT = "triggers"
RBAC = "rbac.authorization.k8s.io"
STORE = {"name": "UPON_CRON_STORE", "value": "lease"}
VERBS = ("get", "patch")


def account_name(wanted: Wanted) -> str:
    """Of the account under which triggers run; the host has that name as well."""
    return f"{wanted.name}-triggers"


def schedule_keys(wanted: Wanted) -> list[str]:
    """As the running service names its schedules, in order, each once."""
    from upon_triggers.firing import schedule_key

    return sorted(
        {
            schedule_key(wanted.name, one.function.name, trigger)
            for one in wanted.project.functions
            for trigger in one.function.triggers
            if isinstance(trigger, CronTrigger)
        }
    )


def account_object(wanted: Wanted) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata_of(wanted, account_name(wanted), COMPONENT),
    }


def lease_objects(wanted: Wanted, account: str) -> list[dict[str, Any]]:
    """The Leases, and the rights to fill them in for a service account of the namespace; empty without schedules."""
    keys = schedule_keys(wanted)
    return [_role(wanted, keys), _binding(wanted, account), *(_lease(wanted, key) for key in keys)] if keys else []


def _role(wanted: Wanted, keys: list[str]) -> dict[str, Any]:
    from upon_triggers.firing_lease import LOOK, lease_name

    names = sorted({lease_name(key) for key in [*keys, LOOK]})
    rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": names, "verbs": [*VERBS]}
    metadata = metadata_of(wanted, account_name(wanted), COMPONENT)
    return {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]}


def _binding(wanted: Wanted, account: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata_of(wanted, account_name(wanted), COMPONENT),
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": account_name(wanted)},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": wanted.namespace}],
    }


def _lease(wanted: Wanted, key: str) -> dict[str, Any]:
    """Without spec and record: those are the pods', and applying it again changes neither."""
    from upon_triggers.firing_lease import API, SCHEDULE, lease_name

    metadata = metadata_of(wanted, lease_name(key), COMPONENT)
    return {"apiVersion": API, "kind": "Lease", "metadata": {**metadata, "annotations": {SCHEDULE: key}}}


def pods_account(wanted: Wanted) -> str | None:
    """Under which the service's own pods run: func.yaml's, else ours where they keep schedules themselves."""
    said: str | None = wanted.settings["deploy.serviceAccountName"]
    return said or (account_name(wanted) if pods_fire(wanted) else None)


def pods_fire(wanted: Wanted) -> bool:
    """Whether the service's own pods fire schedules, of all of which one does at a time."""
    return mode_of(wanted) == "direct" and bool(schedule_keys(wanted))
