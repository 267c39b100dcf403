"""From a project's folder to images, stage by stage; what need not wait for another stage runs beside it.

func.lock knows the models before the project's code was imported, so that the import, which nobody can hurry, is
waited for last.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upon_build.image.assembly.assemble import assemble
from upon_build.image.assembly.base import Base, Bases, Source, base_reference
from upon_build.image.assembly.config import Facts, make_config, read_epoch
from upon_build.image.assembly.index import make_index
from upon_build.image.assembly.inspect import Interpreter, find_interpreter
from upon_build.image.files.about import read_about
from upon_build.image.files.licenses import model_license
from upon_build.image.files.project_files import ProjectFiles, max_layer_size
from upon_build.image.files.revision import Revision, read_revision
from upon_build.image.locked import check_models, find_lock, pin_bases
from upon_build.image.oci import Image, Layer, digest_of
from upon_build.image.plan import BuildOptions, Built, Part
from upon_build.image.stopwatch import Stopwatch, Workers
from upon_build.project import Project, ProjectError, read_project
from upon_build.project.making import Made, Making

if TYPE_CHECKING:
    from upon_build.image.store import Store
    from upon_build.lock.lockfile import Lock
    from upon_build.lock.requirements import Requirements
    from upon_build.lock.wheels import Wheel
    from upon_build.registry.progress import Progress
    from upon_build.registry.reference import Reference

__all__ = ["BuildOptions", "Built", "Part", "build_project"]


def build_project(
    folder: Path,
    profile: str,
    options: BuildOptions,
    store: Store,
    progress: Progress,
    *,
    connect: Callable[[Reference], Source] | None = None,
    making: Making | None = None,
) -> Built:
    """Build the project of this folder, or func.yaml. connect: gives the repository of a base; making: the import of
    the project's code, where it is under way already.

    Raises ProjectError for what the project must mend, RegistryError, IndexUnavailable and OSError.
    """
    watch = Stopwatch()
    with watch.stage("total"), Workers(watch) as workers:
        project = _read(folder, profile, options.env)
        build = _Build(project, options, store, progress, connect or _connect(progress), watch, workers)
        if making is not None:
            built = build.run(making)
        else:
            with Making(project.file.path, project.profile) as begun:
                built = build.run(begun)
    return replace(built, seconds=dict(watch.seconds))


class _Build:
    """One run of build_project, with what all of its stages share."""

    def __init__(
        self,
        project: Project,
        options: BuildOptions,
        store: Store,
        progress: Progress,
        connect: Callable[[Reference], Source],
        watch: Stopwatch,
        workers: Workers,
    ) -> None:
        self._project = project
        self._options = options
        self._store = store
        self._progress = progress
        self._watch = watch
        self._workers = workers
        self._epoch = read_epoch(options.env)
        self._where = "--base" if options.base else project.settings.get("build.baseImage").where
        self._native = project.settings["build.builder"] == "native"
        self._bases = Bases(store, connect, self._where)

    def run(self, making: Making) -> Built:
        project = self._project
        revision = self._workers.start("revision", read_revision, project.folder)
        with self._watch.stage("lock"):
            lock, requirements = find_lock(project, self._options, self._store, lambda: _paths(making.result()))
        files = ProjectFiles(project, self._options, self._store, [model.path for model in lock.models], self._epoch)
        above = [self._workers.start(*work) for work in files.stages()] if self._native else []
        with self._watch.stage("packages"):
            parts, lock = self._parts(lock, requirements)
        below = [self._workers.start("packageLayers", self._package_layers, part) for part in parts if self._native]
        with self._watch.stage("importWait"):
            made = making.result()
        check_models(project, lock, requirements, _paths(made), self._store)
        facts = self._facts(made, lock, requirements, revision.result())
        if self._native:
            top = [*chain.from_iterable(future.result() for future in above), files.manifest_layer(made)]
            images = [self._image(part, [*own.result(), *top], facts) for part, own in zip(parts, below, strict=True)]
        else:
            with self._watch.stage("containerfile"):
                images = [self._image_by_tool(part, files, made, facts) for part in parts]
        return self._built(images, parts, lock, facts, made)

    # What is below the code

    def _parts(self, lock: Lock, requirements: Requirements) -> tuple[list[Part], Lock]:
        """For each platform its base and wheels; and the lock, which holds the bases from now on."""
        preset = self._options.base or self._project.settings["build.baseImage"]
        wanted = base_reference(preset or ("gpu" if requirements.gpu else "cpu"), requirements.python)
        finding = self._workers.start("base", self._find_bases, wanted, lock, requirements)
        wheels = [self._wheels(platform, lock) for platform in requirements.platforms]
        parts = [
            Part(base.platform, base, python, *found)
            for (base, python), found in zip(finding.result(), wheels, strict=True)
        ]
        lock = pin_bases(self._project, lock, wanted, [part.base for part in parts], self._options)
        return parts, lock

    def _find_bases(self, wanted: str, lock: Lock, requirements: Requirements) -> list[tuple[Base, Interpreter]]:
        """One after another: they share an index, and a repository."""
        found = []
        for platform in requirements.platforms:
            base = self._bases.find(wanted, platform, None if "@" in wanted else lock.base_digest(wanted, platform))
            python = find_interpreter(base, requirements.python, self._store, self._bases.fetch, self._where)
            found.append((base, python))
        return found

    def _wheels(self, platform: str, lock: Lock) -> tuple[Sequence[Wheel], Wheel | None]:
        from upon_build.lock.own import own_wheel
        from upon_build.lock.wheels import fetch_wheels

        wheels = fetch_wheels(lock, platform, self._store, self._progress)
        return wheels, own_wheel(self._store) if lock.upon == "checkout" else None

    def _package_layers(self, part: Part) -> list[Layer]:
        from upon_build.image.packages.environment import package_layers

        return package_layers(
            self._store,
            part.wheels,
            part.own,
            python=part.interpreter.version,
            interpreter=part.interpreter.path,
            bytecode=self._bytecode,
            max_size=max_layer_size(self._project),
            mtime=self._epoch,
        )

    @property
    def _bytecode(self) -> bool:
        said = self._options.bytecode
        return bool(self._project.settings["build.bytecode"] if said is None else said)

    # The image

    def _facts(self, made: Made, lock: Lock, requirements: Requirements, revision: Revision) -> Facts:
        about = read_about(self._project.folder)
        return Facts(
            service=made.manifest.service,
            manifest_digest=digest_of(made.manifest.to_bytes()),
            functions=[function.name for function in made.manifest.functions],
            models=list(_models(self._project.folder, made, lock)),
            revision=revision,
            version=about.version,
            licenses=about.license,
            gpu=requirements.gpu,
            epoch=self._epoch,
        )

    def _image(self, part: Part, layers: Sequence[Layer], facts: Facts) -> Image:
        with self._watch.stage("assemble"):
            return assemble(part.base, layers, make_config(part.base, layers, facts), where=self._where)

    def _image_by_tool(self, part: Part, files: ProjectFiles, made: Made, facts: Facts) -> Image:
        from upon_build.image.tooled.containerfile import Recipe, build_with_containerfile

        settings = self._project.settings
        recipe = Recipe(
            folder=self._project.folder,
            base=part.base,
            interpreter=part.interpreter,
            wheels=part.wheels,
            own=part.own,
            models=files.model_entries(),
            code=files.code_entries(),
            manifest=made.manifest.to_bytes(),
            facts=facts,
            system=settings["build.systemPackages"],
            containerfile=settings["build.containerfile"],
            bytecode=self._bytecode,
            max_size=max_layer_size(self._project),
        )
        return build_with_containerfile(recipe, self._store, env=self._options.env)

    def _built(self, images: Sequence[Image], parts: Sequence[Part], lock: Lock, facts: Facts, made: Made) -> Built:
        top, index = (images[0].descriptor, None) if len(images) == 1 else make_index(images)
        return Built(
            service=made.manifest.service,
            images=tuple(images),
            parts=tuple(parts),
            top=top,
            index=index,
            lock=lock,
            facts=facts,
            bases=self._bases,
            seconds={},
            import_seconds=made.seconds,
            parameters={"bytecode": self._bytecode, "epoch": self._epoch},
        )


def _paths(made: Made) -> list[str]:
    return [path for _, path in made.manifest.models]


def _models(folder: Path, made: Made, lock: Lock) -> Iterator[Mapping[str, Any]]:
    """What the labels say of each model."""
    locked = {model.path: model for model in lock.models}
    for name, path in made.manifest.models:
        model = locked[posixpath.normpath(path)]
        license = model_license(folder, model.path)
        said = {"name": name, "path": model.path, "sha256": model.sha256, "size": model.size}
        yield {**said, "license": license} if license else said


def _read(folder: Path, profile: str, env: Mapping[str, str]) -> Project:
    """The project without its code. Raises ProjectError with every error of func.yaml and the variables."""
    project = read_project(folder, profile=profile, env=env)
    if project.errors:
        raise ProjectError(project.errors)
    return project


def _connect(progress: Progress) -> Callable[[Reference], Source]:
    def connect(reference: Reference) -> Source:
        from upon_build.registry.client import Repository

        return Repository(reference, progress=progress)

    return connect
