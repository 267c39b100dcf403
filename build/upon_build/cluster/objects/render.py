"""Every object of a deployment, in the order in which the cluster should get them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from upon_build.cluster.objects.service import knative_service
from upon_build.cluster.objects.triggers import trigger_objects
from upon_build.cluster.objects.wanted import Wanted

# What others refer to comes first; what sends events comes after what takes them.
_ORDER = (
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "Lease",
    "Service",
    "Deployment",
    "KafkaSource",
    "PingSource",
    "Trigger",
)


def objects_of(wanted: Wanted, *, traffic: Sequence[Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
    """traffic: the service's `spec.traffic`; by default all to the latest revision. Pure: no cluster is asked."""
    return in_order([knative_service(wanted, traffic), *trigger_objects(wanted)])


def in_order(objects: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """By kind, then by name; kinds that are not known go last."""

    def rank(thing: Mapping[str, Any]) -> tuple[int, str, str]:
        kind = str(thing["kind"])
        return (_ORDER.index(kind) if kind in _ORDER else len(_ORDER)), kind, str(thing["metadata"]["name"])

    return sorted(objects, key=rank)
