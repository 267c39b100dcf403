"""What can be known to be wrong with a deployment before it is sent."""

from __future__ import annotations

from upon_build.cluster.checks.service import service_problems
from upon_build.cluster.checks.triggers import trigger_problems
from upon_build.cluster.objects.wanted import Wanted
from upon_build.project.problems import Problem


def check_deploy(wanted: Wanted) -> list[Problem]:
    """Everything at once, errors first."""
    found = [*service_problems(wanted), *trigger_problems(wanted)]
    return sorted(dict.fromkeys(found), key=lambda problem: problem.severity)
