"""Which value is in force, and who said so.

One order for everything: flag > variable > `options` entry of the function > decorator > profile > func.yaml's
service-wide value > default. A variable's name is the path in UPPER_SNAKE after `FUNC_`: `delivery.backoffDelay` is
FUNC_DELIVERY_BACKOFF_DELAY, `options.score.timeout` is FUNC_OPTIONS_SCORE_TIMEOUT; what is no letter or digit
becomes `_`, and lists take commas. What holds mappings (run.envs, deploy.resources) has no variable.

A profile is laid over the file: mappings are merged, `run.envs` by name and `run.volumes` by path, other lists
replaced; a key without a value leaves the file's value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, TypeAlias, get_args

from upon import UsageError
from upon_build.project.file import ProjectFile
from upon_build.project.kinds import Kind, ListOf, MapOf, Table
from upon_build.project.problems import Problem, did_you_mean
from upon_build.project.schema import ROOT
from upon_build.project.secrets import is_reference

Layer: TypeAlias = Literal["flag", "variable", "options", "decorator", "profile", "file", "default"]
LAYERS: tuple[Layer, ...] = get_args(Layer)
Keys: TypeAlias = tuple[str, ...]

OTHER_VARIABLES = frozenset({"FUNC_PROFILE", "FUNC_DEBUG"})  # the command line's own
DEFAULTS: dict[Keys, str] = {("run", "stateDir"): "UPON_STATE_DIR"}  # an image's, whose root may be read-only
LEAVES: dict[Keys, Kind] = {path: kind for path, kind in ROOT.leaves() if path not in (("options",), ("profiles",))}


@dataclass(frozen=True, slots=True)
class Value:
    """A value in our terms (seconds, bytes), the layer that said it, and where exactly; note: the profile, say."""

    value: Any = field(repr=False)
    layer: Layer
    where: str
    secret: bool = False
    note: str = ""

    @property
    def origin(self) -> str:
        return f"{self.where} ({self.note})" if self.note else self.where

    @property
    def shown(self) -> Any:
        """The value for people: a secret that stands in plain text is hidden, a reference is not."""
        if self.secret and self.value and not is_reference(str(self.value)):
            return "***"
        return self.value


class Settings:
    """The layers of one project. base, overlay: read func.yaml and the profile's part; flags: by dotted path.

    Faults in flags and variables are collected in `problems`.
    """

    def __init__(
        self,
        file: ProjectFile,
        base: Mapping[str, Any],
        profile: str | None,
        environ: Mapping[str, str],
        flags: Mapping[str, Any],
    ) -> None:
        self.file = file
        self.base = base
        self.profile = profile
        self.overlay: Mapping[str, Any] = base.get("profiles", {}).get(profile, {})
        self.problems: list[Problem] = []
        self._environ = environ
        self._flags = {path: value for path, value in flags.items() if value is not None}
        self._known: set[str] = set(OTHER_VARIABLES)
        for path, kind in LEAVES.items():
            if has_variable(kind):
                self._known.add(variable(path))
        unknown = [path for path in self._flags if not path.startswith("options.") and keys_of(path) not in LEAVES]
        if unknown:
            raise UsageError(f"{unknown[0]!r} is no setting: {did_you_mean(unknown[0], map('.'.join, LEAVES))}")

    def __getitem__(self, path: str) -> Any:
        """The value in force of a service-wide setting, such as `delivery.retry`; None where nobody says."""
        return self.get(path).value

    def get(self, path: str) -> Value:
        """The same with its origin."""
        keys = keys_of(path)
        return self.resolve(LEAVES[keys], service=keys)

    def all(self) -> dict[str, Value]:
        """Every service-wide value that somebody says, by dotted path."""
        found = {".".join(keys): self.resolve(kind, service=keys) for keys, kind in LEAVES.items()}
        return {path: value for path, value in found.items() if value.value is not None}

    def has(self, path: str) -> bool:
        """Whether a mapping such as `kafka.tls` stands in the file or profile, or a part of it is said elsewhere."""
        keys = keys_of(path)
        if any(_look(tree, keys) is not None for tree in (self.overlay, self.base)):
            return True
        inner = [leaf for leaf in LEAVES if leaf[: len(keys)] == keys]
        return any(self.resolve(LEAVES[leaf], service=leaf).layer != "default" for leaf in inner)

    def resolve(
        self, kind: Kind, *, service: Keys | None = None, own: Keys | None = None, decorator: Value | None = None
    ) -> Value:
        """The first layer that says something. service: the service-wide path; own: the function's, in `options`."""
        for layer in LAYERS:
            found = decorator if layer == "decorator" else self._said(layer, kind, service, own)
            if found is not None:
                return found
        return Value(None, "default", "default", kind.secret)

    def _said(self, layer: Layer, kind: Kind, service: Keys | None, own: Keys | None) -> Value | None:
        match layer:
            case "flag":
                return self._from_flag(kind, own) or self._from_flag(kind, service)
            case "variable":
                return self._from_variable(kind, own) or self._from_variable(kind, service)
            case "options":
                return self._from_tree("profile", layer, kind, own) or self._from_tree("file", layer, kind, own)
            case "profile" | "file":
                return self._from_tree(layer, layer, kind, service)
        if kind.default is None or service is None:
            return None
        if service in DEFAULTS and self._environ.get(DEFAULTS[service]):
            return Value(self._environ[DEFAULTS[service]], "default", DEFAULTS[service], kind.secret)
        default = kind.default if isinstance(kind, (ListOf, MapOf)) else kind.read(kind.default)
        return Value(default, "default", "default", kind.secret)

    def _from_flag(self, kind: Kind, keys: Keys | None) -> Value | None:
        if keys is None or ".".join(keys) not in self._flags:
            return None
        flag = f"--{keys[-1]}"
        given = self._flags[".".join(keys)]
        return self._parsed("flag", kind, flag, given) if isinstance(given, str) else Value(given, "flag", flag)

    def _from_variable(self, kind: Kind, keys: Keys | None) -> Value | None:
        if keys is None or not has_variable(kind):
            return None
        name = variable(keys)
        self._known.add(name)
        return self._parsed("variable", kind, name, self._environ[name]) if name in self._environ else None

    def _parsed(self, layer: Layer, kind: Kind, name: str, text: str) -> Value | None:
        try:
            return Value(kind.parse(text), layer, name, kind.secret)
        except ValueError:
            shown = "the value" if kind.secret else repr(text)
            problem = Problem("error", name, f"{shown} is not {_part(kind).what()}", f"correct {name}")
            if problem not in self.problems:
                self.problems.append(problem)
            return None

    def _from_tree(self, tree: Literal["profile", "file"], layer: Layer, kind: Kind, keys: Keys | None) -> Value | None:
        found = None if keys is None else _look(self.overlay if tree == "profile" else self.base, keys)
        if found is None or keys is None:
            return None
        if tree == "file":
            return Value(found, layer, self.file.location(keys), kind.secret)
        below = _look(self.base, keys)
        if below is not None:
            found = _merge(kind, below, found)
        where = self.file.location(("profiles", self.profile or "", *keys))
        return Value(found, layer, where, kind.secret, f"profile {self.profile}")

    def unknown_variables(self) -> Iterator[Problem]:
        """Variables that are nearly a setting's; others may be anybody's. Ask after everything was resolved."""
        for name in self._environ:
            if name.startswith("FUNC_") and name not in self._known:
                known = [other.removeprefix("FUNC_") for other in sorted(self._known)]
                near = get_close_matches(name.removeprefix("FUNC_"), known, 1, 0.8)
                if near:
                    remedy = f"did you mean 'FUNC_{near[0]}'?"
                    yield Problem("warning", name, "the variable is not a known setting", remedy)


def has_variable(kind: Kind) -> bool:
    return not isinstance(kind, (MapOf, Table)) and not (isinstance(kind, ListOf) and isinstance(kind.item, Table))


@cache
def variable(keys: Keys) -> str:
    """`("delivery", "backoffDelay")` -> `FUNC_DELIVERY_BACKOFF_DELAY`"""
    words = (re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key) for key in keys)
    return "FUNC_" + re.sub(r"[^A-Z0-9]", "_", "_".join(words).upper())


def keys_of(path: str) -> Keys:
    return tuple(path.split("."))


def _part(kind: Kind) -> Kind:
    return kind.item if isinstance(kind, ListOf) else kind


def _look(tree: Any, keys: Keys) -> Any:
    for key in keys:
        if not isinstance(tree, Mapping) or key not in tree:
            return None
        tree = tree[key]
    return tree


def _merge(kind: Kind, below: Any, over: Any) -> Any:
    if isinstance(kind, MapOf):
        return {**below, **over}
    if isinstance(kind, ListOf) and kind.key:
        return list({entry[kind.key]: entry for entry in (*below, *over)}.values())
    return over
