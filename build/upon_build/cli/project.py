"""From the command line's flags to a project, with its warnings told."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click

from upon_build.project import Project, load_project


def load(path: str, profile: str | None, *, default: str, flags: Mapping[str, Any] | None = None) -> Project:
    """Load a project and tell its warnings on stderr; its errors come from `service_spec()`."""
    project = load_project(path, profile=profile, env=os.environ, flags=flags, default_profile=default)
    for problem in project.problems:
        if problem.severity == "warning":
            click.echo(f"Warning: {problem}", err=True)
    return project


def profile_shown(project: Project, flag: str | None) -> str:
    """The profile in force and who chose it."""
    origin = "--profile" if flag else "FUNC_PROFILE" if os.environ.get("FUNC_PROFILE") else "default"
    return f"{project.profile} ({origin})"
