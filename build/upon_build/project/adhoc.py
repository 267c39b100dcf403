"""A service made of Function objects alone, as tests and notebooks have them: every setting is a default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from upon import Function, UsageError
from upon_build.project.check import check
from upon_build.project.file import ProjectFile
from upon_build.project.objects import collect_around
from upon_build.project.options import configure
from upon_build.project.problems import ProjectError
from upon_build.project.service import service_spec
from upon_build.project.settings import Settings
from upon_runtime.spec import ServiceSpec
from upon_triggers.settings import KafkaConnection


def spec(functions: Sequence[Function[..., Any]], name: str, kafka: KafkaConnection | None) -> ServiceSpec:
    for function in functions:
        if not isinstance(function, Function):
            raise UsageError(f"{function!r} is no Function: decorate it, for instance with @upon.cloudevent()")
    folder = Path.cwd()
    settings = Settings(ProjectFile(folder / "func.yaml", {}), {}, None, {}, {})
    objects, problems = collect_around(functions, folder)
    configured = tuple(configure(settings, function, folder) for function in objects.functions)
    problems += check(settings, name, configured, objects)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise ProjectError(errors)
    return service_spec(name, folder, settings, configured, objects, kafka=kafka)
