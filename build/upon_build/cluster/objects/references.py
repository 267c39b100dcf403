"""The Secrets and ConfigMaps that a project's settings refer to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upon_build.project.secrets import REFERENCE, variable_name
from upon_build.project.settings import Settings


@dataclass(frozen=True, slots=True)
class Reference:
    """What a setting refers to. sort: `secret` or `configMap`; where: the setting's place, such as `func.yaml:7`."""

    sort: str
    name: str
    key: str
    where: str

    @property
    def variable(self) -> str:
        """Under which a pod looks for it."""
        return variable_name(self.name, self.key)

    def as_env(self, name: str = "") -> dict[str, Any]:
        """A container's variable that Kubernetes fills; by default under the name by which a pod looks for it."""
        ref = "secretKeyRef" if self.sort == "secret" else "configMapKeyRef"
        return {"name": name or self.variable, "valueFrom": {ref: {"name": self.name, "key": self.key}}}


def references(settings: Settings) -> list[Reference]:
    """Every reference of every setting in force, each once."""
    found: dict[tuple[str, str, str], Reference] = {}
    for value in settings.all().values():
        for reference in referred(value.value, value.where):
            found.setdefault((reference.sort, reference.name, reference.key), reference)
    return list(found.values())


def resolved_in_pods(settings: Settings, below: str = "") -> Iterator[Reference]:
    """Those that a pod resolves itself: all but a variable of run.envs that is nothing else, which arrives resolved.

    below: of settings whose path begins so.
    """
    for path, value in settings.all().items():
        if not path.startswith(below):
            continue
        inner = value.value
        if path == "run.envs":
            inner = [env["value"] for env in inner if not is_whole(env["value"])]
        yield from referred(inner, value.where)


def is_whole(value: str) -> bool:
    """Whether a text is one reference and nothing around it. Spaces around it are part of the value."""
    return REFERENCE.fullmatch(value) is not None


def referred(value: Any, where: str) -> Iterator[Reference]:
    """The references in a value, at any depth."""
    if isinstance(value, str):
        for match in REFERENCE.finditer(value):
            yield Reference(match[1], match[2], match[3], where)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from referred(part, where)
    elif isinstance(value, Sequence):
        for part in value:
            yield from referred(part, where)
