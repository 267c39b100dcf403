"""What a project's service needs that Knative's default configuration refuses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

PREFIX = "kubernetes.podspec-"
_FIELDS = {"nodeSelector": "nodeselector", "tolerations": "tolerations", "runtimeClassName": "runtimeclassname"}
_CLAIM = "persistent-volume-claim"
_WRITE = "persistent-volume-write"


def features_needed(objects: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(key, why) of the ConfigMap config-features in knative-serving: these keys must be `enabled`."""
    found: dict[str, str] = {}
    for service in objects:
        if service["kind"] == "Service" and str(service["apiVersion"]).startswith("serving.knative.dev/"):
            pod = service["spec"]["template"]["spec"]
            found |= {f"{PREFIX}{key}": f"the pods have a {field}" for field, key in _FIELDS.items() if field in pod}
            found |= _of_volumes(pod.get("volumes", ()))
    return list(found.items())


def _of_volumes(volumes: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for volume in volumes:
        claim = volume.get("persistentVolumeClaim")
        if claim is None:
            continue
        found[f"{PREFIX}{_CLAIM}"] = f"a volume is the claim {claim['claimName']!r}"
        if not claim.get("readOnly"):
            found[f"{PREFIX}{_WRITE}"] = f"the claim {claim['claimName']!r} is written to"
    return found
