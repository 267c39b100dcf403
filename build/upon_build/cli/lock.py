"""`func lock`: resolve the image's packages for its platform and Python, and hash the models, into func.lock."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from upon_build.cli.command import command, output_option, path_argument, profile_option
from upon_build.cli.project import profile_shown
from upon_build.project import read_project

if TYPE_CHECKING:
    from upon_build.lock.changes import Change
    from upon_build.lock.lockfile import Lock
    from upon_build.lock.locking import Locked

_MARKS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}


@command("lock", example="func lock\nfunc lock --upgrade\nfunc lock --platform linux/amd64 --platform linux/arm64")
@path_argument
@click.option("--upgrade", is_flag=True, help="Take the newest versions that fit, in place of those in func.lock.")
@click.option(
    "--python", metavar="X.Y", help="Python of the image. By default build.python, func.lock's, or the one that runs."
)
@click.option(
    "--platform",
    "platforms",
    metavar="OS/ARCH",
    multiple=True,
    help="Platform of the image, repeatable. By default build.platforms, or func.lock's.",
)
@profile_option("prod")
@output_option
def lock(
    path: str, upgrade: bool, python: str | None, platforms: tuple[str, ...], profile: str | None, output: str
) -> None:
    """Write func.lock for the project in PATH: every package and model of its image, with its hash.

    The packages are those of pyproject.toml or requirements.txt and Upon itself, as wheels for the image's platform
    and Python, whatever this machine is. Versions that are in func.lock stay, where they still fit, until --upgrade.
    Commit the file.
    """
    from upon_build.image.store import Store
    from upon_build.lock.locking import relock

    project = read_project(path, profile=profile, env=os.environ, default_profile="prod")
    done = relock(project, platforms=platforms, python=python, upgrade=upgrade, store=Store.default())
    if output == "json":
        click.echo(json.dumps(_as_json(done), ensure_ascii=False))
        return
    click.echo(f"{project.name}, profile {profile_shown(project, profile)}")
    show(done)


def show(done: Locked) -> None:
    """What was locked, what changed by that, and whether the file is another one now."""
    from upon_build.lock.changes import changes

    lock = done.lock
    origin = "from its checkout" if lock.upon == "checkout" else "from the index"
    source = done.requirements.source or "no requirements of its own"
    click.echo(f"  Python {lock.python} on {', '.join(lock.platforms)}; {source}, and Upon {origin}")
    for note in done.requirements.notes:
        click.echo(f"  note: {note}")
    for change in changes(done.before, lock):
        _show_change(change)
    if done.written:
        click.echo(f"Wrote func.lock: {_counts(lock)}. Commit it.")
    else:
        click.secho(f"func.lock is up to date: {_counts(lock)}", fg="green")


def _show_change(change: Change) -> None:
    mark, colour = _MARKS[change.what]
    kind = "model " if change.kind == "model" else ""
    sides = [side for side in (change.before, change.after) if side]
    text = " → ".join(sides) if change.before != change.after else f"{change.after} (other files)"
    click.secho(f"  {mark} {kind}{change.name} {text}", fg=colour)


def _counts(lock: Lock) -> str:
    from upon_build.registry.progress import shown

    packages = len({package.name for package in lock.packages})
    sizes = [
        f"{shown(sum(one.size for one in lock.packages_for(platform)))} on {platform}" for platform in lock.platforms
    ]
    return f"{_number(packages, 'package')} ({', '.join(sizes)}), {_number(len(lock.models), 'model')}"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _as_json(done: Locked) -> dict[str, Any]:
    from upon_build.lock.changes import changes

    lock = done.lock
    return {
        "lock": str(done.folder / "func.lock"),
        "written": done.written,
        "python": lock.python,
        "platforms": list(lock.platforms),
        "upon": lock.upon,
        "source": done.requirements.source or None,
        "notes": list(done.requirements.notes),
        "packages": [
            {"name": one.name, "version": one.version, "platforms": list(one.platforms), "size": one.size}
            for one in lock.packages
        ],
        "models": [{"path": one.path, "sha256": one.sha256, "size": one.size} for one in lock.models],
        "changes": [
            {
                "what": one.what,
                "kind": one.kind,
                "name": one.name,
                "before": one.before or None,
                "after": one.after or None,
            }
            for one in changes(done.before, lock)
        ],
    }
