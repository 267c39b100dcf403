"""Knative's own objects, out of its Go modules, with the few changes that this machine needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from support.cluster.binaries import Binaries
from support.cluster.images import Runnable
from support.cluster.rest import ApiFault, Rest

SERVING = "knative-serving"
DOMAIN = "example.test"
_RANK = {"Namespace": 0, "CustomResourceDefinition": 1, "ServiceAccount": 2, "ClusterRole": 2, "ClusterRoleBinding": 3}
_RANK |= {"ConfigMap": 4, "Secret": 4, "Service": 5, "Deployment": 6}
_UNNEEDED = ("HorizontalPodAutoscaler", "PodDisruptionBudget")
APPLY_TIMEOUT = 30.0
# A service without requests goes to zero in seconds here; elsewhere it takes a minute and a half.
_SCALING = {
    "stable-window": "6s",
    "scale-to-zero-grace-period": "6s",
    "scale-to-zero-pod-retention-period": "0s",
}
DEPLOYMENTS = (
    *((SERVING, name) for name in ("controller", "webhook", "autoscaler", "activator", "net-kourier-controller")),
    ("kourier-system", "3scale-kourier-gateway"),
)


def programs(built: Binaries) -> dict[str, Runnable]:
    """What runs in place of Knative's images."""
    found = {
        rf"^ko://knative.dev/serving/cmd/{name}$": Runnable((built[name],), env={"GOMAXPROCS": "2"})
        for name in ("controller", "webhook", "autoscaler", "activator")
    }
    found[r"cmd/kourier(@|$)"] = Runnable((built["kourier"],))
    found["envoyproxy/envoy"] = Runnable((str(built.envoy),))
    found["^dev.local/queue"] = Runnable((built["queue"],))
    return found


def install(rest: Rest, built: Binaries, wait: Callable[[str, Callable[[], Any]], Any], *, fast_scale: bool) -> None:
    """Everything of Knative Serving and Kourier, until the webhook answers."""
    objects = list(_unique(_objects(built)))
    for one in objects:
        _change(one, {**_CONFIG, "config-autoscaler": _SCALING if fast_scale else {}})
    gateway = [one for one in objects if one["kind"] == "Deployment" and "gateway" in one["metadata"]["name"]]
    hooks = [one for one in objects if "WebhookConfiguration" in one["kind"]]
    apply(rest, [one for one in objects if one not in gateway and one not in hooks])
    for namespace, name in DEPLOYMENTS:
        if namespace != SERVING:
            apply(rest, gateway)  # last: an Envoy that starts before its control plane loses half a minute
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
        wait(f"{name} is available", lambda path=path: rest.get(path).get("status", {}).get("availableReplicas"))
    apply(rest, hooks)
    wait("the webhooks are configured", lambda: all(_bundle(rest, *hook) for hook in _HOOKS))
    wait("the webhook answers", lambda: rest.post(f"{_SERVICES}?dryRun=All", _PROBE))


_HOOKS = (("mutating", "webhook.serving.knative.dev"), ("validating", "validation.webhook.serving.knative.dev"))
_SERVICES = "/apis/serving.knative.dev/v1/namespaces/default/services"
_PROBE = {
    "apiVersion": "serving.knative.dev/v1",
    "kind": "Service",
    "metadata": {"name": "probe"},
    "spec": {"template": {"spec": {"containers": [{"image": "dev.local/probe:1"}]}}},
}


def _bundle(rest: Rest, kind: str, name: str) -> Any:
    path = f"/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations/{name}"
    return rest.get(path)["webhooks"][0]["clientConfig"].get("caBundle")


def apply(rest: Rest, objects: Iterable[dict[str, Any]]) -> None:
    """Each with patience: its kind, or its webhook, may be younger than we are."""
    for one in sorted(objects, key=lambda one: _RANK.get(one["kind"], 7)):
        deadline = time.monotonic() + APPLY_TIMEOUT
        while True:
            try:
                rest.apply(one)
                break
            except (ApiFault, OSError) as error:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{one['kind']} {one['metadata']['name']}: {error}") from None
                time.sleep(0.2)


def documents(*paths: Path) -> Iterator[dict[str, Any]]:
    for path in paths:
        for file in sorted(path.glob("*.y*ml")) if path.is_dir() else [path]:
            for one in yaml.load_all(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
                if one and "kind" in one:
                    yield one


def _objects(built: Binaries) -> Iterator[dict[str, Any]]:
    serving, networking = built.modules["knative.dev/serving"], built.modules["knative.dev/networking"]
    core = serving / "config/core"
    yield from documents(core / "300-resources", networking / "config", core / "300-knativecertificate.yaml")
    caching = documents(built.modules["knative.dev/caching"] / "config")
    yield from (one for one in caching if one["kind"] == "CustomResourceDefinition")
    yield from documents(core / "100-namespace.yaml", core / "200-serviceaccount.yaml", core / "200-roles")
    yield from documents(core / "configmaps", core / "webhooks", core / "deployments")
    yield from documents(serving / "third_party/kourier-latest/kourier.yaml")


def _unique(objects: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    seen = set()
    for one in objects:
        key = (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"])
        if key not in seen and one["kind"] not in _UNNEEDED:
            seen.add(key)
            yield one


def _change(one: dict[str, Any], config: Mapping[str, Mapping[str, str]]) -> None:
    """What differs from how Knative is installed elsewhere, and nothing else."""
    if one["kind"] == "ConfigMap":
        data = one.setdefault("data", {})
        data.pop("_example", None)
        (one["metadata"].get("annotations") or {}).pop("knative.dev/example-checksum", None)
        data.update(config.get(one["metadata"]["name"], {}))
    if one["kind"] == "Deployment":
        spec = one["spec"]["template"]["spec"]
        spec.pop("affinity", None)
        one["spec"].setdefault("replicas", 1)
        for container in spec["containers"]:
            container.get("readinessProbe", {}).pop("initialDelaySeconds", None)


_CONFIG: dict[str, dict[str, str]] = {
    "config-network": {"ingress-class": "kourier.ingress.networking.knative.dev"},
    "config-domain": {DOMAIN: ""},
    "config-deployment": {
        "queue-sidecar-image": "dev.local/queue",
        "registries-skipping-tag-resolving": "kind.local,ko.local,dev.local",
    },
    "config-observability": {"metrics-protocol": "none", "request-metrics-protocol": "none"},
}
