"""`func build`: the project as a container image, pushed, written to disk, or kept in the cache."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from upon_build.cli.command import command, own_stdout, path_argument, profile_option
from upon_build.cli.project import warn
from upon_build.project.problems import fail

if TYPE_CHECKING:
    from upon_build.cli.built import Result
    from upon_build.image.documents.keys import SigningKey
    from upon_build.image.plan import Built
    from upon_build.image.store import Store
    from upon_build.project.making import Making
    from upon_build.registry.client import Repository
    from upon_build.registry.progress import Progress
    from upon_build.registry.push import Pushed
    from upon_build.registry.reference import Reference

PROFILE = "prod"
PRUNE_EVERY = 86400.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the command line said; `form` is -o."""

    path: str
    image: str | None
    push: bool
    output: Path | None
    platform: tuple[str, ...]
    base: str | None
    python: str | None
    sign: Path | None
    sbom: bool
    provenance: bool
    bytecode: bool | None
    verify: bool
    locked: bool
    form: str
    profile: str | None


@command(
    "build",
    example="func build --push\n"
    "func build --image ghcr.io/acme/reviews:1.4 --push --sign cosign.key -o json\n"
    "func build --output image.tar && docker load --input image.tar",
)
@path_argument
@click.option(
    "--image", metavar="REF", help="The image's name and tag. By default func.yaml's registry and name, tag latest."
)
@click.option("--push", is_flag=True, help="Push it to its registry; only what is missing there is sent.")
@click.option(
    "--output",
    metavar="DIR|FILE.tar",
    type=click.Path(path_type=Path),
    help="Write it as an OCI layout: a folder, or a tar file that skopeo, docker and podman load.",
)
@click.option(
    "--platform", metavar="OS/ARCH", multiple=True, help="Build for this one; repeatable. By default build.platforms."
)
@click.option("--base", metavar="REF", help="The image below, in place of build.baseImage: cpu, gpu, or a reference.")
@click.option("--python", metavar="X.Y", help="Python of the image, in place of build.python; func.lock must fit.")
@click.option(
    "--sign",
    metavar="KEY.pem",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Sign what was pushed with this private key, as cosign does.",
)
@click.option("--sbom/--no-sbom", default=True, help="Attach a bill of materials (CycloneDX) to what is pushed.")
@click.option("--provenance/--no-provenance", default=True, help="Attach what the image was made of (SLSA).")
@click.option("--bytecode/--no-bytecode", default=None, help="Compiled packages in the image; see build.bytecode.")
@click.option(
    "--verify",
    is_flag=True,
    help="Build a second time from nothing and compare; with --image alone, compare with what was pushed too.",
)
@click.option("--locked", is_flag=True, help="Neither make nor change func.lock: fail where it is missing or stale.")
@click.option(
    "-o",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="text for people, json for scripts.",
)
@profile_option(PROFILE)
def build(**given: Any) -> None:
    """Build the project in PATH as an OCI image, without Docker.

    Packages come from func.lock, which is made the first time; commit it. The same inputs give the same digest on every
    machine: files, func.lock with the base's digest, SOURCE_DATE_EPOCH, and the Git revision of a clean working tree.

    Without --push and --output the image is built into the cache, from where both are a matter of moments.
    """
    _run(Flags(**given))


def _run(flags: Flags) -> None:
    from upon_build.project.file import find_file
    from upon_build.project.making import Making

    _check(flags)
    file = find_file(Path(flags.path))
    with Making(file, _profile(flags)) as making:  # it takes as long as the modules that are imported next
        _work(flags, file, making)


def _profile(flags: Flags) -> str:
    return flags.profile or os.environ.get("FUNC_PROFILE") or PROFILE


def _work(flags: Flags, file: Path, making: Making) -> None:
    from upon_build.cli.built import Result, show
    from upon_build.image.store import Store
    from upon_build.registry.progress import progress_on

    with own_stdout(flags.form) as stdout:
        with progress_on(sys.stderr) as progress:
            store = Store.default()
            reference, name = _target(flags, file)
            built = _build(flags, file, store, progress, making)
            result = Result(built, reference, name, seconds=dict(built.seconds))
            if flags.verify:
                _verify(flags, file, result, store, progress)
            if flags.output is not None:
                _write(flags, result)
            if flags.push:
                _push(flags, result, store, progress)
        show(result, stdout, flags.form)
    tidy(store)


def _check(flags: Flags) -> None:
    """What can be known before anything is built."""
    if flags.sign is not None:
        if not flags.push:
            raise click.UsageError("--sign signs what is in a registry: add --push")
        from upon_build.image.documents.keys import read_signing_key

        read_signing_key(flags.sign)


def _target(flags: Flags, file: Path) -> tuple[Reference, str]:
    """What the image is called, in full and for people: without a registry it has a bare name."""
    from upon_build.project import read_project
    from upon_build.registry.reference import DEFAULT_TAG, parse_reference

    project = read_project(file, profile=flags.profile, default_profile=PROFILE)
    registry = str(project.settings["registry"] or "").rstrip("/")
    if flags.push and not (flags.image or registry):
        raise fail("--push", "nothing says where to", "add `registry: ghcr.io/NAME` to func.yaml, or --image")
    named = bool(flags.image or registry)
    reference = parse_reference(flags.image or (f"{registry}/{project.name}" if registry else project.name))
    if reference.digest and (flags.push or flags.output or not flags.verify):
        raise fail("--image", f"{flags.image!r} has a digest, which only the build can tell", "leave it out")
    if not reference.digest:
        reference = replace(reference, tag=reference.tag or DEFAULT_TAG)
    return reference, reference.name if named else project.name


def _build(flags: Flags, file: Path, store: Store, progress: Progress, making: Making | None = None) -> Built:
    """making: given the first time, which is the one that warns."""
    from upon_build.image.pipeline import BuildOptions, build_project

    options = BuildOptions(
        platforms=flags.platform,
        base=flags.base,
        python=flags.python,
        bytecode=flags.bytecode,
        locked=flags.locked,
        output=flags.output,
    )
    if making is not None:
        options = replace(options, warn=warn, tell=partial(click.echo, err=True))
    return build_project(file, _profile(flags), options, store, progress, making=making)


def _verify(flags: Flags, file: Path, result: Result, store: Store, progress: Progress) -> None:
    """By a second build; and where nothing is pushed, what is in the registry under the name that was given."""
    from upon_build.image.verify import compare_with_pushed, rebuild_and_compare
    from upon_build.registry.client import Repository

    again = replace(flags, locked=True)
    with timed(result, "verify"):
        rebuild_and_compare(result.built, lambda cold: _build(again, file, cold, progress), store)
        result.notes.append("verified  a second build, from nothing, has the same digest")
        if flags.image and not flags.push and flags.output is None:
            with Repository(result.reference, progress=progress) as repository:
                compare_with_pushed(result.built, repository, result.reference.wanted, store)
            result.notes.append(f"verified  {result.reference} is what this project makes")
    result.verified = True


def _write(flags: Flags, result: Result) -> None:
    from upon_build.image.assembly.layout import Contents, write_layout

    assert flags.output is not None
    built = result.built
    with timed(result, "write"):
        contents = Contents(built.top, built.images, built.index, str(result.reference))
        write_layout(flags.output, contents, built.bases.fetch)
    result.output = flags.output


def _push(flags: Flags, result: Result, store: Store, progress: Progress) -> None:
    from upon_build.registry.client import Repository

    with Repository(result.reference, progress=progress) as repository:
        with timed(result, "push"):
            result.pushed = _push_image(result, store, repository)
        with timed(result, "attach"):
            _attach(flags, result, store, repository)


def _push_image(result: Result, store: Store, repository: Repository) -> Pushed:
    from upon_build.registry.push import push_image, push_index

    built, tag = result.built, result.reference.tag
    if built.index is None:
        return push_image(built.images[0], store, repository, tag)
    return push_index(built.top, built.index, built.images, store, repository, tag)


def _attach(flags: Flags, result: Result, store: Store, repository: Repository) -> None:
    from upon_build.image.documents.keys import read_signing_key
    from upon_build.image.documents.supply import attach_documents

    key = read_signing_key(flags.sign) if flags.sign is not None else None
    attach_documents(result.built, repository, store, sbom=flags.sbom, provenance=flags.provenance, key=key)
    if key is not None:
        _sign(key, result, repository)


def _sign(key: SigningKey, result: Result, repository: Repository) -> None:
    from upon_build.image.documents.signing import sign_image

    signed = sign_image(repository, result.built.digest, key)
    result.notes.append(f"signed  {signed.tag}" if signed.added else "signed before, with the same key")
    if signed.warning:
        click.echo(f"Warning: {signed.warning}", err=True)


def tidy(store: Store) -> None:
    """Keep the cache below its limit; looking through it takes its time, so once a day will do."""
    marker = store.folder / "pruned"
    with suppress(OSError):
        if not marker.exists() or time.time() - marker.stat().st_mtime > PRUNE_EVERY:
            marker.touch()
            store.prune()


@contextmanager
def timed(result: Result, stage: str) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    finally:
        result.seconds[stage] = round(time.perf_counter() - began, 3)
