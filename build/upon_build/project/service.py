"""Settings, functions and objects put together as the ServiceSpec that the runtime takes."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from upon_build.project.objects import Objects
from upon_build.project.options import Configured
from upon_build.project.schema import INSIDE
from upon_build.project.settings import Settings
from upon_runtime.spec import FunctionSpec, Idempotency, ServiceSpec
from upon_triggers.settings import Delivery, KafkaConnection

log = logging.getLogger("upon.project")

DEFAULT_ADMISSION = 128  # where containerConcurrency is 0, which is Kubernetes' word for no limit

MOST_ADMISSION = 1000  # what Knative takes for containerConcurrency


def service_spec(
    name: str,
    folder: Path,
    settings: Settings,
    functions: tuple[Configured, ...],
    objects: Objects,
    *,
    kafka: KafkaConnection | None,
    group_suffix: str = "",
    idempotency: Idempotency = Idempotency(),  # noqa: B008 - frozen
) -> ServiceSpec:
    delivery = _delivery(settings)
    if kafka is not None and kafka.embedded and delivery.guarantee == "exactly-once":
        log.warning("the development broker has no transactions: at-least-once here, not exactly-once")
        delivery = replace(delivery, guarantee="at-least-once")
    return ServiceSpec(
        name,
        folder,
        tuple(
            FunctionSpec(
                one.function,
                float(one.options["timeout"].value),
                one.options["concurrency"].value,
                replace(delivery, retry=one.options["retry"].value),
                bool(one.options["idempotent"].value),
            )
            for one in functions
        ),
        tuple(objects.models),
        tuple(objects.topics),
        tuple(objects.resources),
        tuple(objects.blueprints),
        kafka=kafka,
        namespace=settings["deploy.namespace"],
        group_suffix=group_suffix,
        admission=admission_of(settings, functions),
        max_body_size=settings["run.maxBodySize"],
        drain_delay=settings["run.drainDelay"],
        drain_timeout=float(settings["deploy.timeoutSeconds"]),
        start_timeout=settings["run.startTimeout"],
        state_dir=folder / settings["run.stateDir"],
        idempotency=idempotency,
        closed=closed_paths(settings),
    )


def admission_of(settings: Settings, functions: Iterable[Configured]) -> int:
    """Requests at once: as many as two of the largest batches need at least, one that runs and one that fills."""
    said: int = settings["deploy.containerConcurrency"]
    batches = [2 * one.function.batched.max_size for one in functions if one.function.batched is not None]
    return said or min(max([DEFAULT_ADMISSION, *batches]), MOST_ADMISSION)


def closed_paths(settings: Settings) -> tuple[str, ...]:
    """What a public service does not show to those who come through its gateway."""
    if settings["deploy.visibility"] != "public":
        return ()
    return tuple(path for path in INSIDE if path not in settings["deploy.expose"])


def _delivery(settings: Settings) -> Delivery:
    return Delivery(
        retry=settings["delivery.retry"],
        backoff_policy=settings["delivery.backoffPolicy"],
        backoff_delay=settings["delivery.backoffDelay"],
        max_delay=settings["delivery.maxDelay"],
        max_in_flight=settings["delivery.maxInFlight"],
        guarantee=settings["delivery.guarantee"],
        dead_letter=settings["delivery.deadLetter"],
    )
