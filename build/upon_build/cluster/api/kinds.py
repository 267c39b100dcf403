"""The kinds of objects that Upon deals with, and where each has its place in the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Kind:
    """group: empty for the core's; namespaced: whether its objects live in namespaces."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """As rights name it: `services.serving.knative.dev`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        inside = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{inside}/{self.plural}" + (f"/{name}" if name else "")


SERVING = "serving.knative.dev"
RBAC = "rbac.authorization.k8s.io"

KSERVICE = Kind(SERVING, "v1", "services", "Service")
REVISION = Kind(SERVING, "v1", "revisions", "Revision")
CONFIGURATION = Kind(SERVING, "v1", "configurations", "Configuration")
ROUTE = Kind(SERVING, "v1", "routes", "Route")
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment")
REPLICA_SET = Kind("apps", "v1", "replicasets", "ReplicaSet")
POD = Kind("", "v1", "pods", "Pod")
EVENT = Kind("", "v1", "events", "Event")
SECRET = Kind("", "v1", "secrets", "Secret")
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap")
SERVICE = Kind("", "v1", "services", "Service")
SERVICE_ACCOUNT = Kind("", "v1", "serviceaccounts", "ServiceAccount")
CLAIM = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
ROLE = Kind(RBAC, "v1", "roles", "Role")
ROLE_BINDING = Kind(RBAC, "v1", "rolebindings", "RoleBinding")
LEASE = Kind("coordination.k8s.io", "v1", "leases", "Lease")
NODE = Kind("", "v1", "nodes", "Node", namespaced=False)
NAMESPACE = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
CRD = Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False)
TRIGGER = Kind("eventing.knative.dev", "v1", "triggers", "Trigger")
BROKER = Kind("eventing.knative.dev", "v1", "brokers", "Broker")
KAFKA_SOURCE = Kind("sources.knative.dev", "v1", "kafkasources", "KafkaSource")
PING_SOURCE = Kind("sources.knative.dev", "v1", "pingsources", "PingSource")

# What a deployment may consist of, in the order in which it is removed: first what sends events.
OURS = (TRIGGER, PING_SOURCE, KAFKA_SOURCE, DEPLOYMENT, KSERVICE, ROLE_BINDING, ROLE, SERVICE_ACCOUNT, LEASE)

_BY_NAME = {(kind.api_version, kind.kind): kind for kind in (*OURS, SECRET, CONFIG_MAP, SERVICE, NAMESPACE, POD)}


def kind_of(thing: Mapping[str, Any]) -> Kind:
    """The kind of an object, which is one that Upon makes."""
    return _BY_NAME[thing["apiVersion"], thing["kind"]]


def named(thing: Mapping[str, Any]) -> str:
    """For people: `Service reviews`."""
    return f"{thing['kind']} {thing['metadata']['name']}"
