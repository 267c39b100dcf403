"""How many pods, and how many requests at once in one of them."""

from __future__ import annotations

from upon_build.cluster.objects.wanted import Wanted
from upon_build.project.options import Configured
from upon_build.project.service import admission_of

PREFIX = "autoscaling.knative.dev/"


def scaling_annotations(wanted: Wanted) -> dict[str, str]:
    """Of the template: on the service itself Knative refuses them."""
    settings = wanted.settings
    found = {"min-scale": str(settings["deploy.scale.min"]), "metric": settings["deploy.scale.metric"]}
    if settings["deploy.scale.max"]:  # 0 would be refused where the cluster has a limit
        found["max-scale"] = str(settings["deploy.scale.max"])
    for key, name in (("target", "target"), ("initial", "initial-scale"), ("utilization", UTILIZATION)):
        if settings[f"deploy.scale.{key}"] is not None:
            found[name] = str(settings[f"deploy.scale.{key}"])
    for key, name in (("window", "window"), ("downDelay", "scale-down-delay"), ("keepLast", LAST)):
        value = settings[f"deploy.scale.{key}"]
        if value is not None:
            found[name] = seconds(value)
    return {f"{PREFIX}{name}": value for name, value in sorted(found.items())}


UTILIZATION = "target-utilization-percentage"
LAST = "scale-to-zero-pod-retention-period"


def seconds(value: float) -> str:
    """As Go writes a duration."""
    return f"{int(value)}s" if value == int(value) else f"{value}s"


def container_concurrency(wanted: Wanted) -> int:
    """Requests at once in one pod: what its server lets in, or less where every function has a limit of its own.

    Never 0, which is no limit of Knative's: what is too much then waits in front of a pod, and is not refused by it.
    """
    settings, functions = wanted.settings, wanted.project.functions
    most = admission_of(settings, functions)
    every = [taken_at_once(one) for one in functions]
    if settings["deploy.containerConcurrency"] or not every or None in every:
        return most
    return min(most, sum(taken for taken in every if taken is not None))


def taken_at_once(one: Configured) -> int | None:
    """Requests that a function takes at once; None where it has no limit. A batch is made of many.

    Two batches at least, one that runs and one that fills: else none would ever be full.
    """
    limit = one.options["concurrency"].value
    if limit is None:
        return None
    batched = one.function.batched
    return int(limit) if batched is None else max(int(limit), 2) * int(batched.max_size)
