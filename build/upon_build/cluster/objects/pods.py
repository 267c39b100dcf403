"""What every pod of ours has in common: its container's rights, its places to write, where it may run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from posixpath import normpath
from typing import Any

from upon_build.cluster.objects.gpu import gpu_resources, gpu_selector
from upon_build.cluster.objects.leases import pods_account
from upon_build.cluster.objects.wanted import Wanted

USER = 65532
TMP = "/tmp"

SECURITY: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def security() -> dict[str, Any]:
    """The container's: Knative refuses a pod's."""
    return {**SECURITY, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}


def volumes_of(wanted: Wanted) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(volumes, mounts): /tmp, since nothing else can be written to, and what run.volumes says."""
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    said = [{**volume, "path": normpath(volume["path"])} for volume in wanted.settings["run.volumes"]]
    if TMP not in [volume["path"] for volume in said]:
        said.append({"path": TMP, "emptyDir": {"sizeLimit": wanted.settings["deploy.tmpSize"]}})
    for volume in sorted(said, key=lambda volume: str(volume["path"])):
        name = volume_name(volume["path"])
        source, mount = _source(volume)
        volumes.append({"name": name, **source})
        mounts.append({"name": name, "mountPath": volume["path"], **mount})
    return volumes, mounts


def volume_name(path: str) -> str:
    """`/etc/Certs` -> `etc-certs`"""
    return re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-")[:63].strip("-") or "root"


def _source(volume: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    if "secret" in volume:
        return {"secret": {"secretName": volume["secret"]}}, {"readOnly": True}
    if "configMap" in volume:
        return {"configMap": {"name": volume["configMap"]}}, {"readOnly": True}
    if "persistentVolumeClaim" in volume:
        claim = volume["persistentVolumeClaim"]
        only = claim.get("readOnly", True)
        source = {"claimName": claim["claimName"], "readOnly": only}
        return {"persistentVolumeClaim": source}, {"readOnly": True} if only else {}
    limit = (volume.get("emptyDir") or {}).get("sizeLimit")
    return {"emptyDir": {"sizeLimit": quantity(limit)} if limit else {}}, {}


def quantity(size: int) -> str:
    """Bytes in the largest unit that has no remainder: 1073741824 -> `1Gi`"""
    for power, unit in ((30, "Gi"), (20, "Mi"), (10, "Ki")):
        if size % 2**power == 0:
            return f"{size >> power}{unit}"
    return str(size)


def resources_of(wanted: Wanted) -> dict[str, Any]:
    """Requests and limits, with the GPUs among the limits."""
    settings = wanted.settings
    limits = {**settings["deploy.resources.limits"], **gpu_resources(wanted)}
    requests = dict(settings["deploy.resources.requests"])
    found = {"requests": requests, "limits": limits}
    return {name: dict(sorted(value.items())) for name, value in found.items() if value}


def placement_of(wanted: Wanted) -> dict[str, Any]:
    """Of a pod: which nodes, which runtime, and with whose rights it is there."""
    settings = wanted.settings
    account = pods_account(wanted)
    found = {
        "serviceAccountName": account,
        "imagePullSecrets": pull_secrets(wanted),
        "nodeSelector": dict(sorted({**gpu_selector(wanted), **settings["deploy.nodeSelector"]}.items())),
        "tolerations": [dict(one) for one in settings["deploy.tolerations"]],
        "runtimeClassName": settings["deploy.runtimeClassName"],
    }
    kept = {name: value for name, value in found.items() if value}
    # The default account's token is of no use to a function, and of some to whoever breaks into it.
    return kept if account else {"automountServiceAccountToken": False, **kept}


def pull_secrets(wanted: Wanted) -> list[dict[str, str]]:
    """Each once: the API server refuses a list that has one twice."""
    return [{"name": name} for name in dict.fromkeys(wanted.settings["deploy.imagePullSecrets"])]
