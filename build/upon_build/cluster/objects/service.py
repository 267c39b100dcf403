"""The Knative Service of a project: pure, and the same for the same inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from upon_build.cluster.objects.config import config_env
from upon_build.cluster.objects.labels import labels_of
from upon_build.cluster.objects.pods import placement_of, resources_of, security, volumes_of
from upon_build.cluster.objects.probes import probes, progress_deadline
from upon_build.cluster.objects.scaling import container_concurrency, scaling_annotations
from upon_build.cluster.objects.wanted import Wanted

API = "serving.knative.dev/v1"
COMPONENT = "function"
CONTAINER = "user-container"
VISIBILITY = "networking.knative.dev/visibility"
DEADLINE = "serving.knative.dev/progress-deadline"
PORT = 8080
LATEST: Sequence[Mapping[str, Any]] = ({"latestRevision": True, "percent": 100},)


def knative_service(wanted: Wanted, traffic: Sequence[Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """traffic: `spec.traffic`; by default everything goes to the latest revision that is ready."""
    private = wanted.settings["deploy.visibility"] == "cluster-local"
    labels = {**wanted.settings["deploy.labels"], **labels_of(wanted.name, COMPONENT)}
    return {
        "apiVersion": API,
        "kind": "Service",
        "metadata": {
            "name": wanted.name,
            "namespace": wanted.namespace,
            "labels": dict(sorted({**labels, **({VISIBILITY: "cluster-local"} if private else {})}.items())),
        },
        "spec": {
            "template": {
                "metadata": {"labels": dict(sorted(labels.items())), "annotations": _annotations(wanted)},
                "spec": _pod(wanted),
            },
            "traffic": [dict(target) for target in traffic or LATEST],
        },
    }


def _annotations(wanted: Wanted) -> dict[str, str]:
    start = wanted.settings["run.startTimeout"]
    said = wanted.settings["deploy.annotations"]
    found = {**said, **scaling_annotations(wanted), DEADLINE: progress_deadline(start)}
    return dict(sorted(found.items()))


def _pod(wanted: Wanted) -> dict[str, Any]:
    volumes, mounts = volumes_of(wanted)
    return {
        "containerConcurrency": container_concurrency(wanted),
        "timeoutSeconds": wanted.settings["deploy.timeoutSeconds"],
        "enableServiceLinks": False,
        **placement_of(wanted),
        "containers": [_container(wanted, mounts)],
        "volumes": volumes,
    }


def _container(wanted: Wanted, mounts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    env = config_env(wanted)
    resources = resources_of(wanted)
    return {
        "name": CONTAINER,
        "image": wanted.image,
        "ports": [{"name": "http1", "containerPort": PORT}],
        **({"env": env} if env else {}),
        **({"resources": resources} if resources else {}),
        **probes(wanted.settings["run.startTimeout"], PORT),
        "securityContext": security(),
        "volumeMounts": [dict(mount) for mount in mounts],
    }


def host_of(wanted: Wanted) -> str:
    """Where the service is reached inside the cluster."""
    return f"{wanted.name}.{wanted.namespace}.svc.cluster.local"
