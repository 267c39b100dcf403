"""A tick of a schedule as an event, the same each time it is made: what fires twice can be recognised."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from upon import Event
from upon._event import format_time
from upon._triggers import CronTrigger

PING = "dev.knative.sources.ping"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "upon.tick")


def tick_event(
    trigger: CronTrigger, at: datetime, *, service: str, function: str, namespace: str = "default"
) -> Event[Any]:
    """The event of one scheduled time, as Knative's PingSource shapes it: no data, `time` is the scheduled time.

    id: uuid5 of (service, function, schedule with timezone, scheduled time).
    """
    time = format_time(at.astimezone(UTC))
    attributes = {
        "specversion": "1.0",
        "id": str(uuid.uuid5(_NAMESPACE, "\n".join((service, function, str(trigger), time)))),
        "source": f"/apis/v1/namespaces/{namespace}/pingsources/{service}-{function}",
        "type": PING,
        "time": time,
    }
    return Event._trusted(attributes, None)


def jittered(event: Event[Any], jitter: float) -> timedelta:
    """How much later than scheduled a tick fires: under `jitter` seconds, and the same wherever it is computed."""
    share = int.from_bytes(hashlib.sha256(event.id.encode()).digest()[:8]) / 2**64
    return timedelta(seconds=share * jitter)
