"""What a new lock does to an image, in comparison with the old one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from upon_build.lock.lockfile import Lock

What: TypeAlias = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class Change:
    """before, after: versions of a package, shortened hashes of a model; "" where there is none.

    Several versions, one for each platform, have a comma between them.
    """

    what: What
    kind: Literal["package", "model"]
    name: str
    before: str = ""
    after: str = ""


def changes(before: Lock | None, after: Lock) -> list[Change]:
    """Packages, then models, by name. A package whose files alone are others has its version on both sides.

    Files for a platform that only one of the locks has are no change of a package.
    """
    common = {*before.platforms} & {*after.platforms} if before else set()
    old, new = (_packages(before, common) if before else {}), _packages(after, common)
    found = [
        Change(_what(old, new, name), "package", name, old.get(name, ("",))[0], new.get(name, ("",))[0])
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
    then, now = (_models(before) if before else {}), _models(after)
    found += [
        Change(_what(then, now, path), "model", path, then.get(path, "")[:12], now.get(path, "")[:12])
        for path in sorted({*then, *now})
        if then.get(path) != now.get(path)
    ]
    return found


def _what(old: Mapping[str, object], new: Mapping[str, object], name: str) -> What:
    return "removed" if name not in new else "changed" if name in old else "added"


def _packages(lock: Lock, platforms: set[str]) -> dict[str, tuple[str, frozenset[tuple[str, str, str]]]]:
    """By name: its versions, and its files."""
    names = {package.name for package in lock.packages}
    found = {}
    for name in names:
        those = [package for package in lock.packages if package.name == name]
        versions = ", ".join(sorted({package.version for package in those}))
        files = {(one.file, one.sha256, on) for one in those for on in one.platforms if on in platforms}
        found[name] = (versions, frozenset(files))
    return found


def _models(lock: Lock) -> dict[str, str]:
    return {model.path: model.sha256 for model in lock.models}
