"""What a source needs to know, resolved: no file, environment or decorator is read below this point."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

BackoffPolicy: TypeAlias = Literal["exponential", "linear"]
Guarantee: TypeAlias = Literal["at-least-once", "exactly-once"]


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS towards the brokers. Paths to PEM files; verify=False only for a test."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Sasl:
    """SASL credentials, already resolved from their references; never printed."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """How to reach Kafka. embedded: the in-memory development broker, which does not speak everything.

    group_instance_id: this process' name for static membership, different in every replica; None for none.
    max_poll_interval, session_timeout: seconds; None is the usual of the broker at hand.
    """

    bootstrap: tuple[str, ...]
    tls: Tls | None = None
    sasl: Sasl | None = None
    embedded: bool = False
    group_instance_id: str | None = None
    max_poll_interval: float = 300.0
    session_timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """How hard to try. Delays in seconds; retry: tries after the first.

    dead_letter: a topic's name; None means `{topic}.{function}.dead`; "none" drops failed events, logged.
    """

    retry: int = 5
    backoff_policy: BackoffPolicy = "exponential"
    backoff_delay: float = 0.2
    max_delay: float = 300.0
    max_in_flight: int = 1000
    guarantee: Guarantee = "at-least-once"
    dead_letter: str | None = None
