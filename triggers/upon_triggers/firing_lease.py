"""What schedules fired last, in Leases of the Kubernetes namespace that this pod runs in: one for each schedule.

The API server is asked with the pod's own service account and Python's own HTTP, since an image of functions has no
Kubernetes client. Nothing is fenced by time: a Lease is replaced only in the version that was read.
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
TIMEOUT = 3.0  # seconds for one call; a lease is renewed every three seconds and lasts twelve
LARGEST = 2**20  # bytes of an answer
_API = "coordination.k8s.io/v1"


def lease_name(schedule: str) -> str:
    """The Lease of a schedule, from its key `service/function/trigger`: `reviews-replay-0a1b2c3d4e`."""
    service, function, *_ = [*schedule.split("/"), "", ""]
    readable = re.sub(r"[^a-z0-9]+", "-", f"{service}-{function}".lower()).strip("-")[:50].rstrip("-")
    return f"{readable}-{hashlib.sha256(schedule.encode()).hexdigest()[:10]}"


def utc_now() -> datetime:
    return datetime.now(UTC)


class LeaseFirings:
    """A store in the namespace of the pod's service account, which needs get, create and update on leases.

    labels: of the Leases that are made. folder: of the service account's token, namespace and certificate; env: where
    the API server's address stands.
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
        self.read("upon/open/look")

    def read(self, schedule: str) -> tuple[Firing, Version] | None:
        status, found = self._call("GET", self._path(schedule))
        if status == 404:
            return None
        if status != 200:
            raise self._refused(status, found, "get")
        metadata = found["metadata"]
        try:
            return Firing.load((metadata.get("annotations") or {})[RECORD]), _version(found)
        except (FiringError, KeyError) as error:
            message = f"the Lease {metadata['name']!r} is no schedule's record ({error!r})"
            raise FiringError(f"{message}: delete it, and what was fired last is forgotten") from None

    def write(self, schedule: str, firing: Firing, version: Version | None) -> Version | None:
        lease = self._lease(schedule, firing, version)
        if version is None:
            status, found = self._call("POST", self._path(), lease)
        else:
            status, found = self._call("PUT", self._path(schedule), lease)
        if status in (200, 201):
            return _version(found)
        if status in (404, 409) and self._is_about_leases(found):
            return None  # another was quicker, or has removed it
        raise self._refused(status, found, "create" if version is None else "update")

    def close(self) -> None:
        pass

    # The Lease

    def _lease(self, schedule: str, firing: Firing, version: Version | None) -> dict[str, Any]:
        metadata: dict[str, Any] = {
            "name": lease_name(schedule),
            "namespace": self._namespace,
            "labels": self._labels,
            "annotations": {RECORD: firing.dump(), SCHEDULE: schedule},
        }
        if version is not None:
            metadata["uid"], _, metadata["resourceVersion"] = version.rpartition("/")
        now = self._clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {
            "holderIdentity": firing.holder,
            "leaseDurationSeconds": max(1, math.ceil(firing.duration)),
            "renewTime": now,
        }
        return {"apiVersion": _API, "kind": "Lease", "metadata": metadata, "spec": spec}

    def _path(self, schedule: str | None = None) -> str:
        path = f"/apis/{_API}/namespaces/{quote(self._namespace)}/leases"
        return path if schedule is None else f"{path}/{lease_name(schedule)}"

    @staticmethod
    def _is_about_leases(found: Mapping[str, Any]) -> bool:
        """A namespace that is gone answers 404 as well: that is an error, no race."""
        return (found.get("details") or {}).get("kind") == "leases"

    # The API server

    def _call(self, method: str, path: str, content: Mapping[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Status and body. The token is read each time: Kubernetes replaces it while the pod runs."""
        host = self._env.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")
        port = int(self._env.get("KUBERNETES_SERVICE_PORT_HTTPS") or self._env.get("KUBERNETES_SERVICE_PORT") or 443)
        connection = http.client.HTTPSConnection(host, port, timeout=self._timeout, context=self._tls)
        try:
            headers = {"Authorization": f"Bearer {self._token()}", "Accept": "application/json"}
            body = None if content is None else json.dumps(content)
            connection.request(
                method, path, body, {**headers, **({"Content-Type": "application/json"} if body else {})}
            )
            response = connection.getresponse()
            return response.status, _parsed(response.read(LARGEST))
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise FiringError(f"the API server at {host}:{port} does not answer ({reason})") from None
        finally:
            connection.close()

    def _token(self) -> str:
        return (self._folder / "token").read_text().strip()

    def _refused(self, status: int, found: Mapping[str, Any], verb: str) -> FiringError:
        said = str(found.get("message") or f"status {status}")[:300]
        message = f"the API server refuses to {verb} Leases in the namespace {self._namespace!r}: {said}"
        if status in (401, 403):
            message = f"{message}: give the pod's service account get, create and update on leases.coordination.k8s.io"
        return FiringError(message)


def _version(lease: Mapping[str, Any]) -> Version:
    """With the uid: an update of a Lease that was deleted would make it anew."""
    return f"{lease['metadata']['uid']}/{lease['metadata']['resourceVersion']}"


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
