"""What an image's packages are resolved from: the project's dependencies, and Upon with the extras it needs."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from upon import MissingExtra
from upon_build.lock import reqfile
from upon_build.lock.lockfile import Lock, Origin
from upon_build.lock.ours import NAME as UPON
from upon_build.lock.ours import Ours, find_ours
from upon_build.lock.pyproject import NAME as PYPROJECT
from upon_build.lock.pyproject import Stated, read_pyproject
from upon_build.lock.requirement import name_of, write_line
from upon_build.lock.tags import check_platform
from upon_build.project.problems import fail
from upon_build.project.project import Project

if TYPE_CHECKING:
    from packaging.requirements import Requirement

BASE_EXTRAS = ("kafka", "serve")
GPU_LINE = "onnxruntime-gpu[cuda,cudnn]"  # its extras name the CUDA and cuDNN that it was built with
_PYTHON = re.compile(r"3\.[0-9]{1,2}")


@dataclass(frozen=True, slots=True)
class Requirements:
    """lines, constraints: each once, in one spelling. gpu: with CUDA. upon: how Upon gets into the image.

    source: the file that the project's own come from, or "". notes: what a person should know of that.
    hashes: by package, the SHA-256 sums that the project allows. excluded: packages that must not come in.
    """

    lines: tuple[str, ...]
    python: str
    platforms: tuple[str, ...]
    gpu: bool = False
    upon: Origin = "package"
    constraints: tuple[str, ...] = ()
    source: str = ""
    notes: tuple[str, ...] = ()
    hashes: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def excluded(self) -> tuple[str, ...]:
        """A checkout's place is not taken by a package of its name; onnxruntime would overwrite onnxruntime-gpu."""
        return (*(["onnxruntime"] if self.gpu else []), *([UPON] if self.upon == "checkout" else []))

    def inputs(self, platforms: Sequence[str] | None = None) -> str:
        """SHA-256 over all that a resolution depends on. platforms: in place of these ones."""
        content = {
            "lines": self.lines,
            "constraints": self.constraints,
            "excluded": self.excluded,
            "hashes": {name: sorted(sums) for name, sums in self.hashes.items()},
            "python": self.python,
            "platforms": sorted(self.platforms if platforms is None else platforms),
            "upon": self.upon,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_requirements(
    project: Project,
    *,
    platforms: Sequence[str] = (),
    python: str | None = None,
    lock: Lock | None = None,
    ours: Ours | None = None,
) -> Requirements:
    """What the image of a project needs. platforms, python: from flags; else func.yaml's, the lock's, this process's.

    Raises ProjectError for requirements that an image can't take, and MissingExtra without `upon[deploy]`.
    """
    check_installed()
    ours = ours or find_ours()
    stated = read_pyproject(project.folder)
    listed, source, notes = _listed(project, stated)
    theirs, extras = _apart(listed.requirements, source, ours)
    gpu = wants_gpu(project, theirs, extras)
    extras = {*extras, *BASE_EXTRAS, *_stores(project), "gpu" if gpu else "cpu"} - ({"cpu"} if gpu else set())
    lines = {write_line(one) for one in theirs} | set(ours.lines(extras)) | ({GPU_LINE} if gpu else set())
    chosen = _python(project, python, lock)
    _check_python(stated, chosen)
    return Requirements(
        lines=tuple(sorted(lines)),
        python=chosen,
        platforms=_platforms(project, platforms, lock),
        gpu=gpu,
        upon="package" if ours.checkout is None else "checkout",
        constraints=tuple(sorted({write_line(one) for one in listed.constraints})),
        source=source,
        notes=tuple(notes),
        hashes={name: frozenset(sums) for name, sums in sorted(listed.hashes.items())},
    )


def check_installed() -> None:
    """Raises MissingExtra where what locking needs is not installed."""
    if not all(find_spec(name) for name in ("packaging", "urllib3", "uv")):
        raise MissingExtra("locking and building", "deploy")


def wants_gpu(project: Project, requirements: Sequence[Requirement], extras: set[str]) -> bool:
    """build.baseImage decides where it is cpu or gpu; else GPUs in any profile, or a package that is for them.

    One image goes through all profiles, so it has what any of them asks for.
    """
    preset = project.settings["build.baseImage"]
    if preset in ("cpu", "gpu"):
        return bool(preset == "gpu")
    counts = [count for count in _said(project, "deploy", "gpu", "count") if isinstance(count, int)]
    named = {name_of(write_line(one)) for one in requirements}
    return any(count > 0 for count in counts) or "onnxruntime-gpu" in named or "gpu" in extras


def _stores(project: Project) -> set[str]:
    return {store for store in _said(project, "idempotency", "store") if store in ("redis", "postgresql")}


def _said(project: Project, *keys: str) -> Iterator[Any]:
    """What the file, each of its profiles and the settings in force say of a setting."""
    yield project.settings[".".join(keys)]
    for tree in (project.base, *project.base.get("profiles", {}).values()):
        for key in keys:
            tree = tree.get(key) if isinstance(tree, Mapping) else None
        yield tree


def _listed(project: Project, stated: Stated | None) -> tuple[reqfile.Listed, str, list[str]]:
    """The project's own requirements, the file they come from, and what to say about that choice."""
    there = (project.folder / reqfile.NAME).is_file()
    if stated is not None and stated.requirements is not None:
        notes = [f"the dependencies are those of {PYPROJECT}; {reqfile.NAME} is not used"] if there else []
        return reqfile.Listed(list(stated.requirements)), PYPROJECT, notes
    if there:
        notes = [f"{PYPROJECT} states no dependencies; those of {reqfile.NAME} are used"] if stated else []
        return reqfile.read_requirements_file(project.folder), reqfile.NAME, notes
    if stated is not None and stated.dynamic:
        message = "the dependencies are dynamic: only its build back end knows them"
        raise fail(PYPROJECT, message, f"list them under [project] dependencies, or in {reqfile.NAME}")
    return reqfile.Listed(), "", []


def _apart(requirements: Sequence[Requirement], source: str, ours: Ours) -> tuple[list[Requirement], set[str]]:
    """The requirements without Upon, and the extras of Upon that they name."""
    theirs, extras = [], set()
    for requirement in requirements:
        if name_of(write_line(requirement)) == UPON:
            ours.check(requirement, source)
            extras |= requirement.extras
        else:
            theirs.append(requirement)
    return theirs, extras


def _python(project: Project, flag: str | None, lock: Lock | None) -> str:
    if flag is not None and not _PYTHON.fullmatch(flag):
        raise fail("--python", f"{flag!r} is no version of Python", "write it as in 3.12")
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    return str(flag or project.settings["build.python"] or (lock.python if lock else running))


def _check_python(stated: Stated | None, python: str) -> None:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    if stated is None or not stated.requires_python:
        return
    try:
        wanted = SpecifierSet(stated.requires_python)
    except InvalidSpecifier:
        raise fail(PYPROJECT, f"requires-python {stated.requires_python!r} can't be read", "correct it") from None
    if not any(wanted.contains(f"{python}.{patch}") for patch in (0, 99)):
        remedy = "choose another with build.python or --python"
        raise fail(PYPROJECT, f"requires-python is {stated.requires_python!r}, and the image has {python}", remedy)


def _platforms(project: Project, flags: Sequence[str], lock: Lock | None) -> tuple[str, ...]:
    said = project.settings.get("build.platforms")
    if flags:
        chosen, where = list(flags), "--platform"
    elif said.layer == "default" and lock is not None:
        chosen, where = list(lock.platforms), "func.lock"
    else:
        chosen, where = list(said.value or ()), said.where
    if not chosen:
        raise fail(where, "there is no platform to build for", "name one, such as linux/amd64")
    return tuple(sorted({check_platform(one, where) for one in chosen}))
