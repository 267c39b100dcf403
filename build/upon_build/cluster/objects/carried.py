"""What an image's func.yaml does not say and a pod must know: the content of UPON_CONFIG.

The image's file has no profiles, and may be older than the one in force. So the profile goes along, then what flags
and FUNC_* variables say, and at last every setting to which a pod would still come otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from upon_build.cluster.objects.wanted import Wanted
from upon_build.project.deployed import CONFIG, deployed
from upon_build.project.file import ProjectFile
from upon_build.project.kinds import MapOf, Table
from upon_build.project.manifest import plain
from upon_build.project.options import NAMES, trigger_key
from upon_build.project.schema import FUNCTION_OPTIONS, ROOT
from upon_build.project.secrets import is_reference
from upon_build.project.settings import LEAVES, Keys, Settings, Value, keys_of
from upon_build.project.validation import read

# Whose values mean nothing to a pod: changing them must not make a new revision.
_NOT_FOR_PODS = frozenset({"build", "registry", "runtime", "models", "profiles", "specVersion", "name", "functions"})


def carried(wanted: Wanted) -> dict[str, Any]:
    """A profile's content. Secrets in plain text are left out, wherever they come from."""
    project = wanted.project
    profile = (project.file.data.get("profiles") or {}).get(project.profile) or {}
    content: dict[str, Any] = plain({key: value for key, value in profile.items() if key not in _NOT_FOR_PODS})
    older = _lacking(plain(project.file.data.get("options") or {}), project.manifest.project.get("options") or {})
    if older:
        content["options"] = _over(older, content.get("options") or {})
    for keys, value in _from_outside(wanted):
        _put(content, keys, plain(value))
    for keys, value in _otherwise(wanted, content):
        if value is not None:
            _put(content, keys, plain(value))
    for keys in _tables(project.settings, in_pods(wanted, content)):
        _put(content, keys, {})
    return content


def lost(wanted: Wanted, content: Mapping[str, Any]) -> list[str]:
    """Settings, by path, to which a pod would not come even so: a profile adds to a mapping, and takes nothing away."""
    project = wanted.project
    found = [keys for keys, _ in _otherwise(wanted, content)]
    found += _tables(in_pods(wanted, content), project.settings)
    here = _over(project.file.data.get("options") or {}, content.get("options") or {})
    found += _absent(project.manifest.project.get("options") or {}, here, ("options",))
    return [".".join(keys) for keys in found]


def in_pods(wanted: Wanted, content: Mapping[str, Any]) -> Settings:
    """The settings as a pod reads them: the image's file, and this for a profile."""
    file = deployed(ProjectFile(wanted.project.file.path, wanted.project.manifest.project), json.dumps(content))
    return Settings(file, read(ROOT, file.data, (), lambda *_: None), CONFIG, {}, {})


def _otherwise(wanted: Wanted, content: Mapping[str, Any]) -> Iterator[tuple[Keys, Any]]:
    pods = in_pods(wanted, content)
    for keys in LEAVES:
        value = wanted.settings.get(".".join(keys))
        if keys[0] in _NOT_FOR_PODS or _is_plain_secret(keys, value):
            continue
        if pods.get(".".join(keys)).value != value.value:
            yield keys, _written(keys, value.value)


def _tables(here: Settings, there: Settings) -> list[Keys]:
    """The mappings whose presence alone says something, that are here and not there."""
    return [keys_of(path) for path in ("kafka.tls", "kafka.sasl") if here.has(path) and not there.has(path)]


def _from_outside(wanted: Wanted) -> Iterator[tuple[Keys, Any]]:
    """What flags and variables say, as paths of func.yaml.

    They stand above the `options` of a function too, so each function gets its own entry.
    """
    settings = wanted.settings
    for keys in LEAVES:
        value = settings.get(".".join(keys))
        if keys[0] not in _NOT_FOR_PODS and _is_outside(value) and not _is_plain_secret(keys, value):
            yield keys, _written(keys, value.value)
    for one in wanted.project.functions:
        own = ("options", one.function.name)
        for name in NAMES:
            value = one.options[name]
            if _is_outside(value) and value.value is not None:
                yield (*own, name), value.value
        for trigger in one.declared.triggers:
            key = trigger_key(trigger)
            if key is not None:
                yield from _of_trigger(settings, (*own, trigger.kind, key))


def _of_trigger(settings: Settings, own: Keys) -> Iterator[tuple[Keys, Any]]:
    fields = cast(Table, cast(MapOf, FUNCTION_OPTIONS.fields[own[2]]).item).fields
    for name, kind in fields.items():
        value = settings.resolve(kind, own=(*own, name))
        if _is_outside(value):
            yield (*own, name), value.value


def _is_outside(value: Value) -> bool:
    return value.layer in ("flag", "variable")


def _is_plain_secret(keys: Keys, value: Value) -> bool:
    """A URL without a user is none."""
    text = str(value.value or "") if value.secret else ""
    return bool(text) and not is_reference(text) and (keys[-1] != "url" or "@" in text)


def _written(keys: Keys, value: Any) -> Any:
    """As func.yaml writes it: the dead letter's topic is read as its name alone."""
    return {"topic": value} if keys == keys_of("delivery.deadLetter") and value != "none" else value


def _lacking(here: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """What `here` says and `there` says otherwise, or not at all."""
    found: dict[str, Any] = {}
    for key, value in here.items():
        other = there.get(key)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            value = _lacking(value, other)
            if value:
                found[key] = value
        elif value != other and value is not None:
            found[key] = value
    return found


def _absent(there: Mapping[str, Any], here: Mapping[str, Any], keys: Keys) -> list[Keys]:
    """The paths of what is said there, and here not at all."""
    found: list[Keys] = []
    for key, value in there.items():
        other = here.get(key)
        if isinstance(value, Mapping):
            found += _absent(value, other if isinstance(other, Mapping) else {}, (*keys, key))
        elif other is None and value is not None:
            found.append((*keys, key))
    return found


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
        found[key] = _over(found[key], value) if both else value
    return found


def _put(tree: dict[str, Any], keys: Keys, value: Any) -> None:
    for key in keys[:-1]:
        inner = tree.get(key)
        if not isinstance(inner, dict):
            inner = tree[key] = {}
        tree = inner
    tree[keys[-1]] = value
