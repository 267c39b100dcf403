"""Probes as the kubelet makes them, except that starts are looked at more often: tests wait for them."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

HURRY = 0.2  # seconds between two looks at what is to become ready
PERIOD, TIMEOUT, THRESHOLD = 10.0, 1.0, 3  # where a probe says nothing


class Probes:
    """Those of one start of a container. began: by the monotonic clock."""

    def __init__(self, spec: Mapping[str, Any], began: float) -> None:
        self._spec = spec
        self._began = began
        self._looked: dict[str, float] = {}
        self._misses: dict[str, int] = {}

    def is_due(self, kind: str, *, hurry: bool) -> bool:
        probe, at = self._spec.get(kind) or {}, time.monotonic()
        period = float(probe.get("periodSeconds") or (PERIOD if probe else TIMEOUT))
        delay = float(probe.get("initialDelaySeconds") or 0)
        last = self._looked.get(kind, self._began if not hurry else 0.0)
        if at - self._began < delay or at - last < (min(period, HURRY) if hurry else period):
            return False
        self._looked[kind] = at
        return True

    def passes(self, kind: str, address: str, enter: Sequence[str]) -> bool:
        """True where there is no such probe."""
        probe = self._spec.get(kind)
        return probe is None or passes(self._spec, probe, address, enter)

    def has_started(self, address: str, enter: Sequence[str]) -> bool:
        if "startupProbe" not in self._spec:
            return True
        return self.is_due("startupProbe", hurry=True) and self.passes("startupProbe", address, enter)

    def is_ready(self, was: bool, address: str, enter: Sequence[str]) -> bool:
        """One miss is not enough for what was ready."""
        kind = "readinessProbe"
        if not self.is_due(kind, hurry=not was):
            return was
        if self.passes(kind, address, enter):
            self._misses[kind] = 0
            return True
        return was and not self._missed(kind)

    def has_failed(self, started: bool, address: str, enter: Sequence[str]) -> bool:
        """Whether it is to be killed: it did not start in time, or is alive no more. Says so once."""
        if not started:
            probe = self._spec["startupProbe"]
            threshold = float(probe.get("failureThreshold") or THRESHOLD)
            limit = threshold * float(probe.get("periodSeconds") or PERIOD)
            return self._once(time.monotonic() - self._began > limit + float(probe.get("initialDelaySeconds") or 0))
        probe = self._spec.get("livenessProbe")
        if probe is None or not self.is_due("livenessProbe", hurry=False):
            return False
        if self.passes("livenessProbe", address, enter):
            self._misses["livenessProbe"] = 0
            return False
        return self._once(self._missed("livenessProbe"))

    def _missed(self, kind: str) -> bool:
        """Whether it was once too often."""
        self._misses[kind] = self._misses.get(kind, 0) + 1
        return self._misses[kind] >= int(self._spec[kind].get("failureThreshold") or THRESHOLD)

    def _once(self, failed: bool) -> bool:
        if failed:
            self._began = time.monotonic()
            self._misses.clear()
        return failed


def passes(container: Mapping[str, Any], probe: Mapping[str, Any], address: str, enter: Sequence[str]) -> bool:
    """One look. address: the pod's; enter: what runs a command inside of the container."""
    timeout = float(probe.get("timeoutSeconds") or TIMEOUT)
    try:
        if "httpGet" in probe:
            return 200 <= _status(container, probe["httpGet"], address, timeout) < 400
        if "exec" in probe:
            command = [*enter, *probe["exec"]["command"]]
            return subprocess.run(command, capture_output=True, timeout=timeout).returncode == 0
        for kind in ("tcpSocket", "grpc"):
            if kind in probe:
                socket.create_connection((address, port_of(container, probe[kind]["port"])), timeout).close()
    except (OSError, http.client.HTTPException, subprocess.TimeoutExpired):
        return False
    return True


def request(container: Mapping[str, Any], action: Mapping[str, Any], address: str, timeout: float) -> None:
    """A hook's; its answer does not matter."""
    with suppress(OSError, http.client.HTTPException):
        _status(container, action, address, timeout)


def _status(container: Mapping[str, Any], action: Mapping[str, Any], address: str, timeout: float) -> int:
    host, port = action.get("host") or address, port_of(container, action["port"])
    if action.get("scheme", "HTTP") == "HTTPS":
        tls = ssl._create_unverified_context()  # as the kubelet does
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, timeout=timeout, context=tls)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    headers = {one["name"]: one["value"] for one in action.get("httpHeaders") or []}
    try:
        connection.request("GET", action.get("path") or "/", headers={"User-Agent": "kube-probe/1.36", **headers})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def port_of(container: Mapping[str, Any], port: int | str) -> int:
    if isinstance(port, int):
        return port
    return next(int(one["containerPort"]) for one in container.get("ports") or [] if one.get("name") == port)
