"""Whether an image is what its inputs make: build it a second time from nothing, and compare the digests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from upon import UponError
from upon_build.image.difference import TITLE, Side, explain
from upon_build.image.oci import CONFIG, DOCKER_LIST, INDEX, Descriptor, Image, Layer
from upon_build.image.platforms import platform_of
from upon_build.registry.errors import RegistryError
from upon_build.registry.reference import Reference

if TYPE_CHECKING:
    from upon_build.image.plan import Built
    from upon_build.image.store import Store

MAX_CONFIG = 8 * 2**20  # bytes


class NotReproduced(UponError):
    """Two builds of the same inputs differ; `differences` says in what, one line each."""

    def __init__(self, what: str, differences: list[str]) -> None:
        self.differences = tuple(differences)
        super().__init__("\n  ".join([what, *differences]))


class Source(Protocol):
    """What is needed of a repository."""

    @property
    def reference(self) -> Reference: ...
    def resolve(self, reference_or_digest: str) -> tuple[Descriptor, bytes]: ...
    def fetch(self, descriptor: Descriptor, store: Store) -> Path: ...


def rebuild_and_compare(built: Built, rebuild: Callable[[Store], Built], store: Store) -> None:
    """Build again with an empty cache and compare. Raises NotReproduced, and whatever a build raises.

    rebuild: the same build with another store. What that store has from the first build are wheels and the base's
    blobs, each hashed anew; nothing that was made of them.
    """
    with cold_store(built, store) as cold:
        again = rebuild(cold)
        if again.digest == built.digest:
            return
        found = _compare(built, "the first", again.images, "the second", again.bases.fetch)
        what = f"the second build of {built.service} is another image: {again.digest}, not {built.digest}"
        raise NotReproduced(what, found or ["the index over the platforms differs"])


def compare_with_pushed(built: Built, repository: Source, wanted: str, store: Store) -> str:
    """Compare with what a registry has under a tag or digest; returns its digest. Raises NotReproduced, RegistryError.

    Where fewer platforms were built than were pushed, those that were built are compared.
    """
    top, content = repository.resolve(wanted)
    if top.digest == built.digest:
        return top.digest
    pushed = _pushed_images(repository, top, content, {image.platform for image in built.images}, store)

    def fetch(layer: Layer) -> Path:
        return repository.fetch(layer.descriptor, store)

    found = _compare(built, "this build's", pushed, "the registry's", fetch)
    if not found and built.index is not None:
        found = ["the index over the platforms differs"]
    if found:
        name = repository.reference.name
        raise NotReproduced(f"{name}:{wanted} is not what this project makes: {top.digest}, not {built.digest}", found)
    return top.digest


@contextmanager
def cold_store(built: Built, store: Store) -> Iterator[Store]:
    """A store of its own for one build, removed at the end, with the wheels and base blobs that are still intact."""
    temporary = store.folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="verify-", dir=temporary) as name:
        folder = Path(name)
        for package in built.lock.packages:
            _share(store.folder, folder, f"wheels/{package.sha256}/{package.file}", package.sha256)
        for digest in _base_blobs(built, store):
            sha256 = digest.removeprefix("sha256:")
            _share(store.folder, folder, f"blobs/sha256/{sha256}", sha256)
        yield type(store)(folder)


def _share(source: Path, target: Path, name: str, sha256: str) -> None:
    """The same file in both folders, if it is what its hash says."""
    try:
        with (source / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                return
    except FileNotFoundError:
        return
    (target / name).parent.mkdir(parents=True, exist_ok=True)
    if (target / name).exists():
        return
    try:
        os.link(source / name, target / name)
    except OSError:  # a file system without links
        shutil.copyfile(source / name, target / name)


def _base_blobs(built: Built, store: Store) -> Iterator[str]:
    for part in built.parts:
        yield part.base.digest
        path = store.find(part.base.digest)
        if path is not None:
            yield str(json.loads(path.read_bytes())["config"]["digest"])
        for layer in part.base.layers:
            yield layer.descriptor.digest


def _compare(
    built: Built, name: str, others: Iterator[Image] | tuple[Image, ...], other: str, fetch: Callable[[Layer], Path]
) -> list[str]:
    theirs = {image.platform: image for image in others}
    found: list[str] = []
    for image in built.images:
        if image.platform not in theirs:
            found.append(f"{image.platform}: there is no such image")
            continue
        ours, found_there = Side(name, image, built.bases.fetch), Side(other, theirs[image.platform], fetch)
        found += [f"{image.platform}: {line}" for line in explain(found_there, ours)]
    return found


def _pushed_images(
    repository: Source, top: Descriptor, content: bytes, platforms: set[str], store: Store
) -> Iterator[Image]:
    try:
        if top.media_type not in (INDEX, DOCKER_LIST):
            yield _image(repository, top, content, store)
            return
        for entry in json.loads(content)["manifests"]:
            if entry.get("platform") and platform_of(entry["platform"]) in platforms:
                yield _image(repository, *repository.resolve(str(entry["digest"])), store)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        name = repository.reference.name
        raise RegistryError(f"{name}@{top.digest} is no image that can be compared: {error}") from None


def _image(repository: Source, descriptor: Descriptor, content: bytes, store: Store) -> Image:
    manifest = json.loads(content)
    described = _descriptor(manifest["config"])
    if described.size > MAX_CONFIG:
        raise ValueError(f"its configuration has {described.size} bytes")
    config = repository.fetch(described, store).read_bytes()
    diff_ids = json.loads(config)["rootfs"]["diff_ids"]
    layers = tuple(
        Layer(_descriptor(layer), str(diff_id), 0, str((layer.get("annotations") or {}).get(TITLE, "")))
        for layer, diff_id in zip(manifest["layers"], diff_ids, strict=True)
    )
    return Image(
        descriptor, content, config, replace(described, media_type=CONFIG), layers, platform_of(json.loads(config))
    )


def _descriptor(said: Mapping[str, Any]) -> Descriptor:
    annotations = dict(said.get("annotations") or {})
    return Descriptor(str(said["mediaType"]), str(said["digest"]), int(said["size"]), annotations)
