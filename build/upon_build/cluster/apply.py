"""Objects into the cluster, by server-side apply: what is ours is changed, what is somebody else's is left alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from upon import UponError
from upon_build.cluster.api.client import Api
from upon_build.cluster.api.errors import Conflict, NotFound
from upon_build.cluster.api.kinds import OURS, Kind, kind_of, named
from upon_build.cluster.objects.labels import MANAGED_BY, NAME, selector_of

Action: TypeAlias = Literal["created", "changed", "unchanged"]


@dataclass(frozen=True, slots=True)
class Applied:
    """thing: as the cluster has it now."""

    thing: dict[str, Any]
    action: Action


class Foreign(UponError):
    """An object of that name is not this project's."""


def apply_all(
    api: Api,
    objects: Sequence[Mapping[str, Any]],
    *,
    force: bool = False,
    adopt: bool = False,
    dry_run: bool = False,
    report: Callable[[Applied], None] = lambda applied: None,
) -> list[Applied]:
    """Apply them in their order; nothing is applied where one of them would take a foreign object's place.

    adopt: take foreign objects over; force: take fields over that others have set. Raises Foreign, Conflict, ApiError.
    """
    before = [_found(api, thing) for thing in objects]
    if not adopt:
        for thing, found in zip(objects, before, strict=True):
            _check_ours(thing, found)
    done = []
    for thing, found in zip(objects, before, strict=True):
        try:
            applied = Applied(api.apply(thing, force=force, dry_run=dry_run), "created")
        except Conflict as conflict:
            raise told(conflict, thing, found) from None
        if found is not None:
            applied = Applied(applied.thing, "unchanged" if _same(found, applied.thing) else "changed")
        report(applied)
        done.append(applied)
    return done


def _found(api: Api, thing: Mapping[str, Any]) -> dict[str, Any] | None:
    meta = thing["metadata"]
    return api.get(kind_of(thing), meta["name"], meta.get("namespace"))


def _check_ours(thing: Mapping[str, Any], found: Mapping[str, Any] | None) -> None:
    if found is None:
        return
    labels = found["metadata"].get("labels") or {}
    project = thing["metadata"]["labels"][NAME]
    upons = MANAGED_BY.items() <= labels.items()
    if upons and labels.get(NAME) == project:
        return
    whose = f"belongs to the project {labels.get(NAME)!r}" if upons else "was not made by Upon"
    where = found["metadata"].get("namespace", "")
    raise Foreign(
        f"{named(found)} in the namespace {where!r} {whose}: give the project another name, deploy it to another"
        " namespace, or take the object over with --adopt"
    )


def _same(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Labels and annotations count; what the cluster itself notes does not."""

    def content(thing: Mapping[str, Any]) -> Any:
        meta = thing["metadata"]
        rest = {key: value for key, value in thing.items() if key not in ("metadata", "status", "apiVersion", "kind")}
        return meta.get("labels") or {}, meta.get("annotations") or {}, rest

    return bool(content(before) == content(after))


def told(conflict: Conflict, thing: Mapping[str, Any], live: Mapping[str, Any] | None) -> Conflict:
    """The conflict with both values of each field."""
    lines = []
    for field in conflict.fields:
        path = steps(field.path)
        theirs, ours = value_at(live or {}, path), value_at(thing, path)
        lines.append(f"  {field.path}: {_shown(theirs)} by {field.manager!r}, {_shown(ours)} here")
    where = thing["metadata"].get("namespace", "")
    head = f"{named(thing)} in the namespace {where!r} has fields that somebody else set:"
    tail = "take them over with --force-conflicts, or put into func.yaml what they are to be"
    return Conflict("\n".join([head, *lines, tail]), conflict.fields)


def steps(path: str) -> list[str | dict[str, str] | int]:
    """`.spec.containers[name="a"].env` -> ["spec", "containers", {"name": "a"}, "env"]"""
    found: list[str | dict[str, str] | int] = []
    rest = path
    while rest:
        if rest.startswith("["):
            inner, _, rest = rest[1:].partition("]")
            found.append(_selector(inner))
        else:
            part, rest = _name(rest.removeprefix("."))
            found.append(part)
    return found


def _name(text: str) -> tuple[str, str]:
    """A field's name, up to the next `.` or `[`."""
    ends = [at for at in (text.find("."), text.find("[")) if at >= 0]
    end = min(ends, default=len(text))
    return text[:end], text[end:]


def _selector(text: str) -> dict[str, str] | int:
    if text.isdigit():
        return int(text)
    pairs = (pair.partition("=") for pair in text.split(","))
    return {key: value.strip('"') for key, _, value in pairs}


def value_at(thing: Any, path: Sequence[str | dict[str, str] | int]) -> Any:
    """None where there is nothing."""
    for step in path:
        if isinstance(step, dict):
            entries = thing if isinstance(thing, list) else []
            thing = next((one for one in entries if _fits(one, step)), None)
        elif isinstance(step, int):
            thing = thing[step] if isinstance(thing, list) and step < len(thing) else None
        else:
            thing = thing.get(step) if isinstance(thing, Mapping) else None
    return thing


def _fits(one: Any, wanted: Mapping[str, str]) -> bool:
    return isinstance(one, Mapping) and all(str(one.get(key)) == value for key, value in wanted.items())


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


# What is not wanted any more


def ours(api: Api, project: str, namespace: str, kinds: Sequence[Kind] = OURS) -> list[dict[str, Any]]:
    """Every object of a project, in the order in which it can be removed; kinds that the cluster lacks have none."""
    found: list[dict[str, Any]] = []
    for kind in kinds:
        try:
            listed = api.list(kind, namespace, selector_of(project))
        except NotFound:
            continue
        # Knative hands a service's labels down to the Deployment that it makes of each revision.
        found += [thing for thing in listed if not thing["metadata"].get("ownerReferences")]
    return found


def prune(
    api: Api, wanted: Sequence[Mapping[str, Any]], project: str, namespace: str, *, dry_run: bool = False
) -> list[dict[str, Any]]:
    """Remove what is the project's and not wanted, by label; returns what was removed."""
    keep = {(kind_of(thing), thing["metadata"]["name"]) for thing in wanted}
    gone = []
    for thing in ours(api, project, namespace):
        kind = kind_of(thing)
        if (kind, thing["metadata"]["name"]) in keep:
            continue
        if not dry_run:
            api.delete(kind, thing["metadata"]["name"], namespace, uid=thing["metadata"]["uid"])
        gone.append(thing)
    return gone
