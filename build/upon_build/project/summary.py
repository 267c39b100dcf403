"""A project as `func check` shows it: functions, models, settings with their origins, problems."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from upon import Model
from upon._triggers import KafkaTrigger, Trigger
from upon_build.project.options import Configured
from upon_build.project.settings import Value

if TYPE_CHECKING:
    from upon_build.project.project import Project


def summarize(project: Project) -> dict[str, Any]:
    return {
        "name": project.name,
        "profile": project.profile,
        "functions": [_function(project, one) for one in project.functions],
        "models": [_model(project, model) for model in project.objects.models],
        "topics": [topic.name for topic in project.objects.topics],
        "resources": [resource.name for resource in project.objects.resources],
        "settings": {path: _value(value) for path, value in project.settings.all().items()},
        "problems": [problem.as_dict() for problem in project.problems],
    }


def _function(project: Project, one: Configured) -> dict[str, Any]:
    return {
        "name": one.function.name,
        "location": one.location,
        "triggers": [_trigger(project.name, one, trigger, values) for trigger, values in one.triggers],
        "options": {name: _value(value) for name, value in one.options.items() if value.value is not None},
    }


def _trigger(service: str, one: Configured, trigger: Trigger, values: Mapping[str, Value]) -> dict[str, Any]:
    shown: dict[str, Any] = {"kind": trigger.kind}
    for field in dataclasses.fields(trigger):
        value = getattr(trigger, field.name)
        if value is not None:
            shown[field.name] = dict(value) if field.name == "attributes" else value
    if isinstance(trigger, KafkaTrigger):
        shown.setdefault("group", f"{service}.{one.function.name}")
    origins = {name: value.origin for name, value in values.items() if value.layer not in ("default", "decorator")}
    return {**shown, **({"origins": origins} if origins else {})}


def _model(project: Project, model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "path": str(model.path),
        "location": project.objects.place(model),
        "inputs": [],
        "outputs": [],
    }


def _value(value: Value) -> dict[str, Any]:
    return {"value": value.shown, "origin": value.origin}
