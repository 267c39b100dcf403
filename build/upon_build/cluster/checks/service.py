"""What Knative or Kubernetes would refuse of a service, or take and then do otherwise, with func.yaml's line."""

from __future__ import annotations

from collections.abc import Iterator

from upon_build.cluster.checks.environment import carried_problems, env_problems, secret_problems
from upon_build.cluster.checks.names import annotation_problems, label_problems, name_problems, toleration_problems
from upon_build.cluster.checks.resources import (
    batch_problems,
    deadline_problems,
    gpu_problems,
    resource_problems,
    scale_problems,
)
from upon_build.cluster.checks.volumes import volume_problems
from upon_build.cluster.objects.wanted import Wanted
from upon_build.project.problems import Problem

CHECKS = (
    env_problems,
    secret_problems,
    carried_problems,
    volume_problems,
    scale_problems,
    deadline_problems,
    batch_problems,
    gpu_problems,
    resource_problems,
    name_problems,
    label_problems,
    toleration_problems,
    annotation_problems,
)


def service_problems(wanted: Wanted) -> Iterator[Problem]:
    """Errors that a deployment would run into, found before anything is sent."""
    for check in CHECKS:
        yield from check(wanted)
