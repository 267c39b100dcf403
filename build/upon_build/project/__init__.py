"""A project on disk: func.yaml, its settings with their origins, its functions, and everything that is wrong.

    with load_project("demo", profile="prod") as project:
        project.problems                 # tuple of Problem(severity, location, message, remedy), errors first
        project.settings.get("delivery.retry")  # Value(value, layer, where)
        project.summary()                # what `func check -o json` prints
        spec = project.service_spec()    # for the runtime; raises ProjectError with every error

`read_project` reads the file alone, without importing anything of the person's. Both raise ProjectError only for
what leaves no project at all: no file, no YAML, an unknown profile.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upon_build.project.deployed import CONFIG, deployed
from upon_build.project.file import find_file, read_file, set_value
from upon_build.project.problems import Problem, ProjectError, did_you_mean, fail
from upon_build.project.project import Project

if TYPE_CHECKING:
    from upon import Function
    from upon_runtime.spec import ServiceSpec
    from upon_triggers.settings import KafkaConnection

__all__ = ["Problem", "Project", "ProjectError", "load_project", "read_project", "set_value", "spec_from_functions"]

BUILT_IN_PROFILES = ("dev", "prod")


def load_project(
    where: str | Path = ".",
    *,
    profile: str | None = None,
    env: Mapping[str, str] = os.environ,
    flags: Mapping[str, Any] | None = None,
    default_profile: str = "dev",
    in_force: str | None = None,
) -> Project:
    """Read func.yaml (where: its folder, or the file), import the functions, and check everything.

    profile: from `--profile`; else FUNC_PROFILE, else default_profile. flags: by dotted path, such as
    `{"kafka.bootstrap": "localhost:9092"}`; None is not given. in_force: a deployment's UPON_CONFIG, which takes the
    place of a profile. run.envs are set in os.environ until `close()`.
    """
    return read_project(
        where, profile=profile, env=env, flags=flags, default_profile=default_profile, in_force=in_force
    ).load()


def read_project(
    where: str | Path = ".",
    *,
    profile: str | None = None,
    env: Mapping[str, str] = os.environ,
    flags: Mapping[str, Any] | None = None,
    default_profile: str = "dev",
    in_force: str | None = None,
) -> Project:
    """As load_project, without importing anything: `load()` does that, before which there are no functions."""
    file = read_file(find_file(Path(where)))
    if in_force:
        return Project(deployed(file, in_force), CONFIG, env, flags or {})
    chosen = profile or env.get("FUNC_PROFILE") or default_profile
    project = Project(file, chosen, env, flags or {})
    known = {*project.base.get("profiles", {}), *BUILT_IN_PROFILES}
    if chosen not in known:
        place = "--profile" if profile else "FUNC_PROFILE" if env.get("FUNC_PROFILE") else file.location(("profiles",))
        raise fail(place, f"{file.path.name} has no profile {chosen!r}", did_you_mean(chosen, known))
    return project


def spec_from_functions(
    *functions: Function[..., Any], name: str = "functions", kafka: KafkaConnection | None = None
) -> ServiceSpec:
    """A service of Functions without a func.yaml, for tests and notebooks.

    Models, Topics, resources and blueprints are those bound in the functions' modules and enclosing functions;
    model paths count from the working directory. Raises ProjectError for what `func check` calls an error.
    """
    from upon_build.project.adhoc import spec

    return spec(functions, name, kafka)
