"""A project's manifest: what its code says, as plain data, so that sources and deploy need not import the code.

It holds what the decorators say, and func.yaml without its profiles: settings are resolved where the manifest is used,
by the same rules as everywhere. No path of this machine, time, environment value or secret is in it, and the same
project gives the same bytes.

    {"format": "upon.manifest/v1", "service": "reviews",
     "functions": [{"name", "batch", "batched", "options", "triggers": [{"kind", …}]}],
     "models": [{"name", "path"}], "topics": ["reviews"], "project": {…}}
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from upon import Function, Model, UponError
from upon._signature import analyse
from upon._triggers import Batched, Options, Trigger
from upon_build.project.problems import ProjectError, fail
from upon_build.project.secrets import is_reference
from upon_build.project.standin import stand_in

if TYPE_CHECKING:
    from upon_build.project.project import Project

FORMAT = "upon.manifest/v1"
_KINDS: dict[str, type[Any]] = {trigger.kind: trigger for trigger in get_args(Trigger)}
_LEFT_OUT = ("profiles",)


@dataclass(frozen=True, slots=True)
class Manifest:
    """functions: what they say of themselves; to call one is an error. models: (name, path) pairs.

    project: func.yaml's content without profiles, as it is written.
    """

    service: str
    functions: tuple[Function[..., Any], ...]
    models: tuple[tuple[str, str], ...] = ()
    topics: tuple[str, ...] = ()
    project: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """As it is written to a file: JSON, in an order that depends on nothing but the project."""
        value = {
            "format": FORMAT,
            "service": self.service,
            "functions": [_function(function) for function in sorted(self.functions, key=lambda f: f.name)],
            "models": [{"name": name, "path": path} for name, path in sorted(self.models)],
            "topics": sorted(self.topics),
            "project": self.project,
        }
        return (json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1) + "\n").encode()


def manifest_of(project: Project) -> Manifest:
    """The manifest of a loaded project. Raises ProjectError with the project's errors."""
    if project.errors:
        raise ProjectError(project.errors)
    return Manifest(
        project.name,
        tuple(one.declared for one in project.functions),
        tuple((model.name, _posix(model)) for model in project.objects.models),
        tuple(topic.name for topic in project.objects.topics),
        plain({key: value for key, value in project.file.data.items() if key not in _LEFT_OUT}),
    )


def read_manifest(content: bytes, where: str = "the manifest") -> Manifest:
    """Read strictly what `to_bytes` wrote. Raises ProjectError for anything else; where: what to call it then."""
    try:
        value = json.loads(content)
    except ValueError as error:
        raise fail(where, f"not JSON: {error}", "make it again with `func triggers run` or `func build`") from None
    found = value.get("format") if isinstance(value, Mapping) else None
    if found != FORMAT:
        remedy = f"this version of Upon reads {FORMAT!r}: use the version that made it, or make it again"
        raise fail(where, f"the manifest's format is {found!r}", remedy)
    try:
        return _read(value)
    except (UponError, LookupError, TypeError, ValueError) as error:
        said = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
        raise fail(where, f"the manifest can't be read: {said}", "make it again") from None


def _read(value: Mapping[str, Any]) -> Manifest:
    _only(value, "the manifest", ("format", "service", "functions", "models", "topics", "project"))
    functions = tuple(_read_function(one) for one in value["functions"])
    if len({function.name for function in functions}) < len(functions):
        raise ValueError("two functions have one name")
    return Manifest(
        _text(value["service"]),
        functions,
        tuple((_text(model["name"]), _text(model["path"])) for model in value["models"]),
        tuple(_text(topic) for topic in value["topics"]),
        _mapping(value["project"]),
    )


# Functions and triggers


def _function(function: Function[..., Any]) -> dict[str, Any]:
    return {
        "name": function.name,
        "batch": analyse(function.plain).batch,
        "batched": None if function.batched is None else dataclasses.asdict(function.batched),
        "options": {name: value for name, value in dataclasses.asdict(function.options).items() if value is not None},
        "triggers": [_trigger(trigger) for trigger in function.triggers],
    }


def _read_function(value: Mapping[str, Any]) -> Function[..., Any]:
    _only(value, "a function", ("name", "batch", "batched", "options", "triggers"))
    if type(value["batch"]) is not bool:
        raise ValueError(f"batch is {value['batch']!r}")
    name = _text(value["name"])
    if not name.isidentifier():
        raise ValueError(f"{name!r} is no function's name")
    batched = value["batched"]
    return Function(
        stand_in(name, batch=value["batch"]),
        tuple(_read_trigger(trigger) for trigger in value["triggers"]),
        Options(**_mapping(value["options"])),
        None if batched is None else Batched(**_mapping(batched)),
    )


def _trigger(trigger: Trigger) -> dict[str, Any]:
    said = {field.name: getattr(trigger, field.name) for field in dataclasses.fields(trigger) if field.init}
    return {"kind": trigger.kind, **plain(said)}


def _read_trigger(value: Mapping[str, Any]) -> Trigger:
    said = dict(value)
    kind = said.pop("kind")
    if kind not in _KINDS:
        raise ValueError(f"unknown kind of trigger {kind!r}")
    fields = tuple(field.name for field in dataclasses.fields(_KINDS[kind]) if field.init)
    _only(said, f"a trigger of kind {kind}", fields)
    if "attributes" in said:
        said["attributes"] = tuple((_text(name), _text(wanted)) for name, wanted in said["attributes"])
    missing = [name for name in fields if name not in said]
    if missing:
        raise KeyError(missing[0])
    trigger: Trigger = _KINDS[kind](**said)
    return trigger


# Plain data


def plain(value: Any, key: str = "") -> Any:
    """YAML's own types, and tuples, as JSON has them. A password that is no reference stays where it is."""
    if isinstance(value, Mapping):
        return {str(name): plain(one, str(name)) for name, one in value.items() if not _secret(str(name), one)}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Sequence):
        return [plain(one) for one in value]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    return float(value) if isinstance(value, float) else str(value)


def _secret(name: str, value: Any) -> bool:
    hidden = name == "password" or (name == "url" and isinstance(value, str) and re.search(r"//[^/]*@", value))
    return bool(hidden) and isinstance(value, str) and not is_reference(value)


def _posix(model: Model) -> str:
    return Path(model.path).as_posix()


def _only(value: Mapping[str, Any], what: str, known: Sequence[str]) -> None:
    unknown = sorted(set(_mapping(value)) - set(known))
    if unknown:
        raise ValueError(f"{what} has the unknown key {unknown[0]!r}")


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r:.60} is no mapping")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError(f"{value!r:.60} is no text")
    return value
