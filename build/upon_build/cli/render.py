"""`func render`: the objects of a deployment as text, for whoever reads, reviews, or lets another tool apply them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from upon_build.cli.command import command, path_argument, profile_option
from upon_build.cli.project import warn

if TYPE_CHECKING:
    from upon_build.cluster.objects.wanted import Wanted
    from upon_build.project.manifest import Manifest

PROFILE = "prod"


@command(
    "render",
    example="func render --image ghcr.io/acme/reviews:1.4\n"
    "func render --image ghcr.io/acme/reviews@sha256:… --profile staging > staging.yaml\n"
    "func render -o helm --output chart",
)
@path_argument
@click.option(
    "--image",
    metavar="REF",
    help="The image; its manifest is read from its registry, and it stands in the objects by its digest. Without it"
    " the project's code is imported, and the image is the one that `func build --push` would push, by its tag.",
)
@click.option("-n", "--namespace", metavar="NAME", help="In place of deploy.namespace.")
@click.option(
    "-o",
    "form",
    type=click.Choice(["yaml", "kustomize", "helm"]),
    default="yaml",
    show_default=True,
    help="yaml: documents on stdout, or in one file; kustomize: a base; helm: a chart.",
)
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the files. Those of the same names are replaced, and nothing else is touched.",
)
@profile_option(PROFILE)
def render(
    path: str, image: str | None, namespace: str | None, form: str, output: Path | None, profile: str | None
) -> None:
    """Write the Kubernetes objects of the project in PATH: what `func deploy` applies. No cluster is asked.

    The same project, image and settings give the same bytes. Secrets stand in it as references alone.
    """
    if form != "yaml" and output is None:
        raise click.UsageError(f"-o {form} makes several files: say where with --output DIR")
    folder, manifest, wanted_image = _source(path, image, profile)

    def make(name: str, flags: Mapping[str, Any]) -> Wanted:
        return _wanted(manifest, name, folder, profile, {"deploy.namespace": namespace, **flags})

    wanted = make(wanted_image, {})
    _check(wanted)
    files = _files(form, wanted, make)
    if output is None:
        click.echo("".join(files.values()), nl=False)
    else:
        _write(output, files)


def _source(path: str, image: str | None, profile: str | None) -> tuple[Path, Manifest, str]:
    """(the project's folder, its manifest, the image)"""
    from upon_build.project.file import find_file

    folder = find_file(Path(path)).parent
    if image is not None:
        from upon_build.cluster.imaged import manifest_in
        from upon_build.image.store import Store

        return folder, *manifest_in(image, Store.default())
    from upon_build.project.making import make_manifest

    manifest = make_manifest(folder, profile or os.environ.get("FUNC_PROFILE") or PROFILE).manifest
    return folder, manifest, ""


def _wanted(manifest: Manifest, image: str, folder: Path, profile: str | None, flags: Mapping[str, Any]) -> Wanted:
    from dataclasses import replace

    from upon_build.cluster.objects.wanted import wanted_of

    wanted = wanted_of(manifest, image, folder, profile=profile, env=os.environ, flags=flags)
    return wanted if image else replace(wanted, image=_tagged(wanted))


def _tagged(wanted: Wanted) -> str:
    """What `func build --push` would push to; Knative looks up the digest when it takes the service."""
    registry = str(wanted.settings["registry"] or "").rstrip("/")
    name = f"{registry}/{wanted.name}" if registry else wanted.name
    click.echo(f"Warning: the image is {name}:latest, whatever that will be: name it by --image", err=True)
    return f"{name}:latest"


def _check(wanted: Wanted) -> None:
    """Raises ProjectError for what the cluster would refuse; the rest is told on stderr."""
    from upon_build.cluster.checks import check_deploy
    from upon_build.project.problems import ProjectError

    problems = check_deploy(wanted)
    errors = [problem for problem in problems if problem.severity == "error"]
    for problem in (*wanted.project.problems, *problems):
        if problem.severity == "warning":
            warn(problem)
    if errors:
        raise ProjectError(errors)


def _files(form: str, wanted: Wanted, make: Callable[[str, Mapping[str, Any]], Wanted]) -> dict[str, str]:
    from upon_build.cluster.exports import helm, kustomize
    from upon_build.cluster.objects.render import objects_of
    from upon_build.cluster.objects.text import as_yaml

    if form == "helm":
        released = make(helm.IMAGE, {"deploy.namespace": helm.NAMESPACE})
        return helm.chart(objects_of(released), wanted.name, wanted.image)
    objects = objects_of(wanted)
    if form == "kustomize":
        return kustomize.kustomization(objects, wanted.image, wanted.namespace)
    return {f"{wanted.name}.yaml": as_yaml(objects)}


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        click.echo(path, file=sys.stdout)
