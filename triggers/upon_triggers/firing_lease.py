"""What schedules fired last, in Leases of the Kubernetes namespace that this pod runs in: one for each schedule.

The API server is asked with the pod's own service account and Python's own HTTP, since an image of functions has no
Kubernetes client. Nothing is fenced by time: a Lease is changed only in the version that was read. Whoever deploys
makes the Leases, without a record; a pod that may create others could take any name in the namespace.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import math
import os
import re
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from upon_triggers.firing import Firing, FiringError, Version

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
RECORD = "dev.upon/firing"
SCHEDULE = "dev.upon/schedule"
LOOK = "upon/open/look"  # a schedule that nobody has: asked for to see the rights
TIMEOUT = 3.0  # seconds for one call; a lease is renewed every three seconds and lasts twelve
LARGEST = 2**20  # bytes of an answer
API = "coordination.k8s.io/v1"
_MANAGER = "?fieldManager=upon-triggers"  # not the one that deploys
_CONTENT = {"PATCH": "application/merge-patch+json", "POST": "application/json"}


def lease_name(schedule: str) -> str:
    """The Lease of a schedule, from its key `service/function/trigger`: `reviews-replay-0a1b2c3d4e`."""
    service, function, *_ = [*schedule.split("/"), "", ""]
    readable = re.sub(r"[^a-z0-9]+", "-", f"{service}-{function}".lower()).strip("-")[:50].rstrip("-")
    return f"{readable}-{hashlib.sha256(schedule.encode()).hexdigest()[:10]}"


def utc_now() -> datetime:
    return datetime.now(UTC)


class LeaseFirings:
    """A store in the namespace of the pod's service account, which needs get and patch on the schedules' Leases.

    A Lease that is not there is made, where there is the right to create. labels: of those. folder: of the service
    account's token, namespace and certificate; env: where the API server's address stands.
    """

    def __init__(
        self,
        labels: Mapping[str, str] = {},
        *,
        folder: Path = ACCOUNT,
        env: Mapping[str, str] = os.environ,
        timeout: float = TIMEOUT,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._labels = dict(labels)
        self._folder = folder
        self._env = env
        self._timeout = timeout
        self._clock = clock
        self._namespace = ""
        self._tls: ssl.SSLContext | None = None

    def open(self) -> None:
        """Look at the service account and its rights."""
        try:
            self._namespace = (self._folder / "namespace").read_text().strip()
            self._tls = ssl.create_default_context(cafile=str(self._folder / "ca.crt"))
        except (OSError, ssl.SSLError) as error:
            message = f"{self._folder} holds no service account ({error}): schedules are kept in Leases in a pod only"
            raise FiringError(f"{message}, where automountServiceAccountToken is not false") from None
        self.read(LOOK)

    def read(self, schedule: str) -> tuple[Firing, Version] | None:
        lease = self._get(schedule)
        if lease is None or _is_blank(lease, schedule):
            return None
        metadata = lease["metadata"]
        try:
            return Firing.load((metadata.get("annotations") or {})[RECORD]), metadata["resourceVersion"]
        except (FiringError, KeyError) as error:
            message = f"the Lease {metadata['name']!r} is no schedule's record ({error!r})"
            raise FiringError(f"{message}: delete it, deploy again, and what was fired last is forgotten") from None

    def write(self, schedule: str, firing: Firing, version: Version | None) -> Version | None:
        if version is not None:
            return self._change(schedule, firing, version)
        lease = self._get(schedule)
        if lease is None:
            return self._create(schedule, firing)
        if _is_blank(lease, schedule):
            return self._change(schedule, firing, lease["metadata"]["resourceVersion"])
        return None  # another was quicker

    def close(self) -> None:
        pass

    # The Lease

    def _get(self, schedule: str) -> dict[str, Any] | None:
        status, found = self._call("GET", self._path(schedule))
        if status == 404:
            return None
        if status != 200:
            raise self._refused(status, found, "get")
        return found

    def _create(self, schedule: str, firing: Firing) -> Version | None:
        metadata = {
            "name": lease_name(schedule),
            "namespace": self._namespace,
            "labels": self._labels,
            "annotations": {SCHEDULE: schedule, RECORD: firing.dump()},
        }
        lease = {"apiVersion": API, "kind": "Lease", "metadata": metadata, "spec": self._spec(firing)}
        return self._written(self._call("POST", f"{self._path()}{_MANAGER}", lease), "create")

    def _change(self, schedule: str, firing: Firing, version: Version) -> Version | None:
        """A merge patch leaves alone what others say of the Lease, and makes none that was deleted."""
        metadata = {"resourceVersion": version, "annotations": {RECORD: firing.dump()}}
        patch = {"metadata": metadata, "spec": self._spec(firing)}
        return self._written(self._call("PATCH", f"{self._path(schedule)}{_MANAGER}", patch), "patch")

    def _written(self, answer: tuple[int, dict[str, Any]], verb: str) -> Version | None:
        status, found = answer
        if status in (200, 201):
            return str(found["metadata"]["resourceVersion"])
        if status in (404, 409) and _is_about_leases(found):
            return None  # another was quicker, or has removed it
        raise self._refused(status, found, verb)

    def _spec(self, firing: Firing) -> dict[str, Any]:
        """The record's gist, as other tools know it."""
        return {
            "holderIdentity": firing.holder,
            "leaseDurationSeconds": max(1, math.ceil(firing.duration)),
            "renewTime": self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }

    def _path(self, schedule: str | None = None) -> str:
        path = f"/apis/{API}/namespaces/{quote(self._namespace)}/leases"
        return path if schedule is None else f"{path}/{lease_name(schedule)}"

    # The API server

    def _call(self, method: str, path: str, content: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Status and body. The token is read each time: Kubernetes replaces it while the pod runs."""
        host = self._env.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")
        port = int(self._env.get("KUBERNETES_SERVICE_PORT_HTTPS") or self._env.get("KUBERNETES_SERVICE_PORT") or 443)
        connection = http.client.HTTPSConnection(host, port, timeout=self._timeout, context=self._tls)
        try:
            headers = {"Authorization": f"Bearer {self._token()}", "Accept": "application/json"}
            if method in _CONTENT:
                headers["Content-Type"] = _CONTENT[method]
            connection.request(method, path, None if content is None else json.dumps(content), headers)
            response = connection.getresponse()
            status, found = response.status, _parsed(response.read(LARGEST))
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise FiringError(f"the API server at {host}:{port} does not answer ({reason})") from None
        finally:
            connection.close()
        if status in (200, 201) and "resourceVersion" not in (found.get("metadata") or {}):
            raise FiringError(f"what answers at {host}:{port} is no API server: it sent no Lease")
        return status, found

    def _token(self) -> str:
        return (self._folder / "token").read_text().strip()

    def _refused(self, status: int, found: Mapping[str, Any], verb: str) -> FiringError:
        said = str(found.get("message") or f"status {status}")[:300]
        message = f"the API server refuses to {verb} Leases in the namespace {self._namespace!r}: {said}"
        if status in (401, 403):
            message = f"{message}: {_REMEDY[verb]}"
        return FiringError(message)


_GIVE = "give the pod's service account get and patch on leases.coordination.k8s.io"
_REMEDY = {"get": _GIVE, "patch": _GIVE, "create": "deploy again, which makes the Lease, or give it create on leases"}


def _is_about_leases(found: Mapping[str, Any]) -> bool:
    """A namespace that is gone answers 404 as well: that is an error, no race."""
    return (found.get("details") or {}).get("kind") == "leases"


def _is_blank(lease: Mapping[str, Any], schedule: str) -> bool:
    """Whether a deployment has made it for this schedule, and nobody has fired yet."""
    annotations = lease["metadata"].get("annotations") or {}
    return RECORD not in annotations and annotations.get(SCHEDULE) == schedule


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
