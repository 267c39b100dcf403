"""`func create`: a new project that runs, and whose tests pass, from a template shipped with Upon."""

from __future__ import annotations

import re
import shlex
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from upon_build.cli.command import command
from upon_build.cli.exits import Exit, Fault
from upon_build.labels import as_label

TEMPLATES = {
    "http": 'func invoke --data \'{"name": "Ada"}\'',
    "kafka": 'func events send orders --data \'{"item": "apple", "count": 4}\'',
    "cron": "func run --tick",
    "onnx": 'func invoke --data \'{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}\'',
}
NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z")


@command("create", example="func create reviews --template kafka")
@click.argument("name")
@click.option(
    "-t",
    "--template",
    type=click.Choice(list(TEMPLATES)),
    default="http",
    show_default=True,
    help="What the first function does.",
)
def create(name: str, template: str) -> None:
    """Make the project NAME in a folder of that name.

    NAME may be a path, or '.' for the folder you are in; its last part is the service's name: lower-case letters,
    digits and '-'.
    """
    folder = Path(name)
    service = check_name(folder.resolve().name if name else name)
    check_folder(folder)
    for path in write_project(folder, service, template):
        click.echo(f"  {path}")
    click.echo(f"Created {service} from the template {template}. Next:\n")
    enter = "" if folder.samefile(".") else f"cd {shlex.quote(str(folder))} && "
    click.echo(f"  {enter}func check && func run")
    click.echo(f"  {TEMPLATES[template]}")


def check_name(name: str) -> str:
    """The name as Kubernetes takes it for a Service, or a Fault with a name that would do."""
    if NAME.match(name):
        return name
    near = as_label(name)[:63].rstrip("-")
    remedy = f"try {near!r}" if NAME.match(near) else "start with a letter"
    raise Fault(
        f"{name!r} is not a service name: up to 63 lower-case letters, digits and '-', the first a letter, the last"
        f" no '-'; {remedy}",
        Exit.USAGE,
    )


def check_folder(folder: Path) -> None:
    """Refuse anything but a folder that is new or empty."""
    if folder.exists() and not folder.is_dir():
        raise Fault(f"{str(folder)!r} is a file: choose another name", Exit.USAGE)
    if folder.is_dir() and any(folder.iterdir()):
        raise Fault(f"the folder {str(folder)!r} is not empty: choose another name, or empty it first", Exit.USAGE)


def write_project(folder: Path, service: str, template: str) -> list[Path]:
    """Copy the template into the folder; returns the files written, relative to it."""
    root = files("upon_build") / "templates"
    written = []
    for source in ("common", template):
        for parts, item in _walk(root / source):
            path = Path(*parts)
            path = path.with_name(path.name.replace("dot-", ".", 1) if path.name.startswith("dot-") else path.name)
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(item.read_bytes().replace(b"@NAME@", service.encode()))
            written.append(path)
    return sorted(written)


def _walk(folder: Traversable, parts: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Traversable]]:
    found = []
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.name == "__pycache__":
            continue
        here = (*parts, item.name)
        found += _walk(item, here) if item.is_dir() else [(here, item)]
    return found
