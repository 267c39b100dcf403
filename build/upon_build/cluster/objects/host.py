"""The trigger host: a Deployment of the function's own image that reads Kafka and the clock, and posts to the service.

It runs from the manifest in the image: none of the person's code, no models, and of the secrets only Kafka's.
"""

from __future__ import annotations

import math
from posixpath import join, normpath
from typing import Any

from upon_build.cluster.objects.config import literal, secret_envs, upon_config
from upon_build.cluster.objects.labels import labels_of
from upon_build.cluster.objects.leases import COMPONENT, STORE, account_name, account_object, lease_objects
from upon_build.cluster.objects.metadata import metadata_of
from upon_build.cluster.objects.pods import TMP, pull_secrets, security, volumes_of
from upon_build.cluster.objects.probes import LIVENESS, READINESS
from upon_build.cluster.objects.scaling import container_concurrency
from upon_build.cluster.objects.service import host_of
from upon_build.cluster.objects.wanted import Wanted
from upon_build.image.assembly.config import APP, MANIFEST_PATH, VENV
from upon_build.project.deployed import CONFIG

CONTAINER = "triggers"
PORT = 8081
SOFT = 100  # requests at once that Knative expects of a pod which sets no limit
MOST = 512  # posts at once, of one host: each has a thread
PODS = 10  # where max scale is no limit
START = 60.0  # seconds; it loads no model
LEAVE = 15  # seconds, on top of the longest request


def host_objects(wanted: Wanted) -> list[dict[str, Any]]:
    """Its account, with rights where there are schedules, and the Deployment."""
    rights = lease_objects(wanted, account_name(wanted))
    return [account_object(wanted), *rights, _deployment(wanted, bool(rights))]


def posts_at_once(wanted: Wanted) -> int:
    """What all pods of the service take together, for one of the hosts: more would only wait in Knative's activator."""
    settings = wanted.settings
    pods = settings["deploy.scale.max"] or max(PODS, settings["deploy.scale.min"])
    target = settings["deploy.scale.target"] if settings["deploy.scale.metric"] == "concurrency" else None
    carried = (target or container_concurrency(wanted) or SOFT) * pods
    return int(max(1, min(MOST, math.ceil(carried / settings["deploy.triggerHost.replicas"]))))


def attempt_timeout(wanted: Wanted) -> float:
    """Seconds for one answer: the longest request, after the start of a service that was scaled to zero."""
    return float(wanted.settings["deploy.timeoutSeconds"] + wanted.settings["run.startTimeout"])


def _deployment(wanted: Wanted, schedules: bool) -> dict[str, Any]:
    metadata = metadata_of(wanted, account_name(wanted), COMPONENT)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": wanted.settings["deploy.triggerHost.replicas"],
            "selector": {"matchLabels": labels_of(wanted.name, COMPONENT)},
            "strategy": _strategy(wanted),
            "template": {"metadata": {"labels": metadata["labels"]}, "spec": _pod(wanted, schedules)},
        },
    }


def _strategy(wanted: Wanted) -> dict[str, Any]:
    """The new one reads before the old one leaves; members of a group by one static name would throw each other out."""
    if wanted.settings["kafka.groupInstanceId"]:
        return {"type": "Recreate"}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def _pod(wanted: Wanted, schedules: bool) -> dict[str, Any]:
    pulled = pull_secrets(wanted)
    volumes, mounts = _volumes(wanted)
    return {
        "serviceAccountName": account_name(wanted),
        "automountServiceAccountToken": schedules,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": wanted.settings["deploy.timeoutSeconds"] + LEAVE,
        **({"imagePullSecrets": pulled} if pulled else {}),
        "containers": [_container(wanted, mounts, schedules)],
        "volumes": volumes,
    }


def _container(wanted: Wanted, mounts: list[dict[str, Any]], schedules: bool) -> dict[str, Any]:
    env = [literal(CONFIG, upon_config(wanted)), *secret_envs(wanted, "kafka."), *([dict(STORE)] if schedules else [])]
    resources = {name: wanted.settings[f"deploy.triggerHost.{name}"] for name in ("requests", "limits")}
    return {
        "name": CONTAINER,
        "image": wanted.image,
        "command": [f"{VENV}/bin/func", "triggers", "run", APP],
        "args": _arguments(wanted),
        "ports": [{"name": "probes", "containerPort": PORT}],
        "env": sorted(env, key=lambda one: str(one["name"])),
        "resources": {name: dict(sorted(value.items())) for name, value in resources.items() if value},
        **_probes(),
        "securityContext": security(),
        "volumeMounts": mounts,
    }


def _arguments(wanted: Wanted) -> list[str]:
    return [
        *("--manifest", MANIFEST_PATH),
        *("--sink", f"http://{host_of(wanted)}"),
        *("--host", "0.0.0.0", "--port", str(PORT)),
        *("--concurrency", str(posts_at_once(wanted))),
        *("--timeout", f"{attempt_timeout(wanted):g}"),
        *("--output", "json"),
    ]


def _volumes(wanted: Wanted) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """/tmp, and of the service's volumes those that hold Kafka's certificates: a claim may be for one node alone."""
    said = [wanted.settings[f"kafka.tls.{name}"] for name in ("ca", "certificate", "key")]
    files = [normpath(join(APP, path)) for path in said if path]
    volumes, mounts = volumes_of(wanted)
    kept = [mount for mount in mounts if mount["mountPath"] == TMP or any(_holds(mount, file) for file in files)]
    names = {mount["name"] for mount in kept}
    return [volume for volume in volumes if volume["name"] in names], kept


def _holds(mount: dict[str, Any], file: str) -> bool:
    return file.startswith(normpath(mount["mountPath"]).rstrip("/") + "/")


def _probes() -> dict[str, Any]:
    def ask(path: str, failures: int, period: int = 5) -> dict[str, Any]:
        get = {"path": path, "port": PORT}
        return {"httpGet": get, "periodSeconds": period, "timeoutSeconds": 3, "failureThreshold": failures}

    return {
        "startupProbe": ask(LIVENESS, int(START), 1),
        "readinessProbe": ask(READINESS, 3),
        "livenessProbe": ask(LIVENESS, 6),
    }
