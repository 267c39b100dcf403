"""How the cluster asks a pod whether it is up. Paths are those of the server's own health endpoints."""

from __future__ import annotations

import math
from typing import Any

READINESS = "/health/readiness"
LIVENESS = "/health/liveness"
PERIOD = 1  # seconds between two looks during the start
PULL = 300.0  # seconds for pulling a large image, on top of the start itself
LEAST_DEADLINE = 600.0  # seconds; Knative's own


def probes(start_timeout: float, port: int) -> dict[str, Any]:
    """A pod that is not ready, models included, after start_timeout (seconds) is started anew.

    The readiness probe says no period: Knative's queue-proxy then asks several times a second, and refuses a timeout.
    The port is said, for Knative fills it in for some probes and not for others.
    """
    ready, alive = ({"httpGet": {"path": path, "port": port}} for path in (READINESS, LIVENESS))
    return {
        "startupProbe": {
            **ready,
            "periodSeconds": PERIOD,
            "failureThreshold": max(1, math.ceil(start_timeout / PERIOD)),
        },
        "readinessProbe": ready,
        "livenessProbe": {**alive, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
    }


def progress_deadline(start_timeout: float) -> str:
    """How long a revision may take to become ready, as Knative's annotation has it."""
    return f"{math.ceil(max(LEAST_DEADLINE, start_timeout + PULL))}s"
