"""Whether a lock still says what the project asks for; where it does not, what changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from upon_build.lock.lockfile import COMMAND, NAME, Lock, LockedModel
from upon_build.lock.requirements import Requirements
from upon_build.project.problems import Problem, ProjectError, fail

MOST = 8  # changes that a message tells


def check_fresh(folder: Path, lock: Lock | None, requirements: Requirements, models: Sequence[LockedModel]) -> Lock:
    """The lock, if it fits the project as it is. models: of the project now.

    Raises ProjectError that says what changed and names `func lock`.
    """
    if lock is None:
        raise fail(NAME, f"there is no {NAME} in {folder}", COMMAND)
    found = [*requirement_changes(lock, requirements), *model_changes(lock, models)]
    if found:
        raise ProjectError(Problem("error", NAME, message, command) for message, command in found[:MOST])
    return lock


def requirement_changes(lock: Lock, requirements: Requirements) -> list[tuple[str, str]]:
    """(what changed, remedy) pairs; none where the packages are still those that would be resolved."""
    missing = [one for one in requirements.platforms if one not in lock.platforms]
    found = []
    if lock.python != requirements.python:
        message = f"the lock is for Python {lock.python}, and the image has {requirements.python}"
        found.append((message, f"run `func lock --python {requirements.python}`, or build for {lock.python}"))
    if missing:
        message = f"the lock is for {', '.join(lock.platforms)}, not for {', '.join(missing)}"
        wanted = sorted({*lock.platforms, *missing})
        found.append((message, f"run `func lock {' '.join(f'--platform {one}' for one in wanted)}`"))
    if lock.upon != requirements.upon:
        found.append((_origin(lock, requirements), COMMAND))
    found += [(message, COMMAND) for message in _lines("requirement", lock.requirements, requirements.lines)]
    found += [(message, COMMAND) for message in _lines("constraint", lock.constraints, requirements.constraints)]
    if not found and lock.inputs != requirements.inputs(lock.platforms):
        found.append(("what the lock was made from has changed", COMMAND))
    return found


def model_changes(lock: Lock, models: Iterable[LockedModel]) -> list[tuple[str, str]]:
    """The same for models' files."""
    then, now = ({model.path: model for model in some} for some in (lock.models, models))
    found = []
    for path in sorted({*then, *now}):
        if path not in now:
            found.append((f"the model {path!r} is in the lock, and no longer in the project", COMMAND))
        elif path not in then:
            found.append((f"the model {path!r} is not in the lock", COMMAND))
        elif then[path] != now[path]:
            was, is_ = then[path], now[path]
            message = f"the model {path!r} changed: its SHA-256 is {is_.sha256[:12]}…, the lock has {was.sha256[:12]}…"
            found.append((message, f"{COMMAND}, or restore the file"))
    return found


def _lines(what: str, then: Iterable[str], now: Iterable[str]) -> list[str]:
    added, removed = sorted({*now} - {*then}), sorted({*then} - {*now})
    return [f"the {what} {line!r} is not in the lock" for line in added] + [
        f"the {what} {line!r} is in the lock, and no longer in the project" for line in removed
    ]


def _origin(lock: Lock, requirements: Requirements) -> str:
    said = {"checkout": "from its checkout", "package": "from an index"}
    return f"the lock takes Upon {said[lock.upon]}, and here it comes {said[requirements.upon]}"
