"""From the command line's flags to a project, with its warnings told, each fault once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from upon_build.project import Problem, Project, ProjectError, load_project

if TYPE_CHECKING:
    from upon_runtime.spec import ServiceSpec


def load(path: str, profile: str | None, *, default: str, flags: Mapping[str, Any] | None = None) -> Project:
    """Load a project and tell its warnings on stderr; its errors come from `service_spec()`."""
    project = load_project(path, profile=profile, env=os.environ, flags=flags, default_profile=default)
    for problem in project.problems:
        if problem.severity == "warning":
            warn(problem)
    return project


def warn(problem: Problem) -> None:
    click.echo(f"Warning: {problem}", err=True)


def spec_of(project: Project, tell: Callable[[Problem], None] = warn) -> ServiceSpec:
    """What the runtime needs, and `tell` for each warning that is not one of the errors which are raised here.

    A secret that is missing only warns `func check`, and stops a start. Raises ProjectError.
    """
    raised: set[tuple[str, str]] = set()
    try:
        return project.service_spec()
    except ProjectError as error:
        raised = {(problem.location, problem.message) for problem in error.problems}
        raise
    finally:
        for problem in project.problems:
            if problem.severity == "warning" and (problem.location, problem.message) not in raised:
                tell(problem)


def profile_shown(project: Project, flag: str | None) -> str:
    """The profile in force and who chose it."""
    origin = "--profile" if flag else "FUNC_PROFILE" if os.environ.get("FUNC_PROFILE") else "default"
    return f"{project.profile} ({origin})"
