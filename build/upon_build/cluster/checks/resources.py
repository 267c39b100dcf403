"""Resources, GPUs and the number of pods."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from upon_build.cluster.checks.places import at
from upon_build.cluster.objects.pods import resources_of
from upon_build.cluster.objects.wanted import Wanted
from upon_build.project.problems import Problem, did_you_mean

MAX_WINDOW, MIN_WINDOW = 3600.0, 6.0  # seconds
STANDARD = ("cpu", "memory", "ephemeral-storage")
_EXTENDED = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_UNITS = {"": 0, "k": 3, "M": 6, "G": 9, "T": 12, "m": -3}


def scale_problems(wanted: Wanted) -> Iterator[Problem]:
    settings = wanted.settings
    most = settings["deploy.scale.max"]
    for key in ("min", "initial"):
        least = settings[f"deploy.scale.{key}"] or 0
        if most and least > most:
            message = f"deploy.scale.{key} is {least}, and max {most}"
            yield Problem("error", at(wanted, f"deploy.scale.{key}"), message, f"raise max, or lower {key}")
    for key, lowest in (("window", MIN_WINDOW), ("downDelay", 0.0), ("keepLast", 0.0)):
        value = settings[f"deploy.scale.{key}"]
        if value is not None and (value != int(value) or not lowest <= value <= MAX_WINDOW):
            remedy = f"Knative takes whole seconds from {lowest:g} to {MAX_WINDOW:g}"
            yield Problem("error", at(wanted, f"deploy.scale.{key}"), f"deploy.scale.{key} is {value:g} s", remedy)


def deadline_problems(wanted: Wanted) -> Iterator[Problem]:
    """A pod has as long to end as a request may take; what it waits before is missing for its work."""
    delay, limit = wanted.settings["run.drainDelay"], wanted.settings["deploy.timeoutSeconds"]
    if delay >= limit:
        message = f"run.drainDelay is {delay:g} s, and a pod is killed after deploy.timeoutSeconds, {limit} s"
        yield Problem("error", at(wanted, "run.drainDelay"), message, "lower drainDelay, or raise timeoutSeconds")


def batch_problems(wanted: Wanted) -> Iterator[Problem]:
    """A pod that takes fewer requests than two batches have places never fills one."""
    limit = wanted.settings["deploy.containerConcurrency"]
    for one in wanted.project.functions:
        batched = one.function.batched
        if limit and batched is not None and limit < 2 * batched.max_size:
            message = f"deploy.containerConcurrency is {limit}: batches of {one.function.name} never fill"
            remedy = f"set it to at least {2 * batched.max_size}, or leave it out"
            yield Problem("warning", at(wanted, "deploy.containerConcurrency"), message, remedy)


def gpu_problems(wanted: Wanted) -> Iterator[Problem]:
    settings = wanted.settings
    count, resource = settings["deploy.gpu.count"], settings["deploy.gpu.resource"]
    if settings["deploy.gpu.type"] and not count:
        message = "deploy.gpu.type is set, and deploy.gpu.count is 0"
        yield Problem("error", at(wanted, "deploy.gpu.type"), message, "say how many GPUs, or remove the type")
    for part in ("requests", "limits"):
        if count and resource in settings[f"deploy.resources.{part}"]:
            message = f"deploy.resources.{part} names {resource}, and deploy.gpu.count too"
            yield Problem("error", at(wanted, f"deploy.resources.{part}"), message, "keep deploy.gpu.count alone")


def resource_problems(wanted: Wanted) -> Iterator[Problem]:
    """Kubernetes would take the service, and then no pod of it."""
    found = resources_of(wanted)
    requests, limits = found.get("requests", {}), found.get("limits", {})
    for part, said in (("requests", requests), ("limits", limits)):
        where = at(wanted, f"deploy.resources.{part}")
        for name, value in said.items():
            if name not in STANDARD and not _EXTENDED.fullmatch(name) and not name.startswith("hugepages-"):
                message = f"deploy.resources.{part}: {name!r} is no resource"
                yield Problem("error", where, message, did_you_mean(name, STANDARD))
            elif name not in STANDARD and "/" in name and not value.isdigit():
                yield Problem("error", where, f"deploy.resources.{part}: {name} is {value!r}", "write a whole number")
    yield from _too_much(wanted, requests, limits)


def _too_much(wanted: Wanted, requests: dict[str, str], limits: dict[str, str]) -> Iterator[Problem]:
    where = at(wanted, "deploy.resources.requests")
    for name, value in requests.items():
        limit = limits.get(name)
        if limit is not None and amount(value) > amount(limit):
            message = f"deploy.resources requests {name} {value}, more than its limit of {limit}"
            yield Problem("error", where, message, "lower the request, or raise the limit")
        elif "/" in name and (limit is None or amount(value) != amount(limit)):
            message = f"deploy.resources requests {name} {value}, and its limit is not the same"
            yield Problem("error", where, message, "set both to one number")


def amount(quantity: str) -> Decimal:
    """`1.5Gi` as a number, exactly."""
    number = quantity.rstrip("kMGTim")
    unit = quantity[len(number) :]
    if unit.endswith("i"):
        return Decimal(number) * Decimal(1024) ** ("KMGT".index(unit[0]) + 1)
    return Decimal(number).scaleb(_UNITS[unit])
