"""The manifest inside an image that `func build` made: what a deployment needs of the code, without the code."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from upon_build.image.assembly.config import MANIFEST_PATH
from upon_build.image.assembly.inspect import opened
from upon_build.image.layers.layer import KIND
from upon_build.image.oci import Descriptor
from upon_build.project.manifest import Manifest, read_manifest
from upon_build.project.problems import ProjectError, fail
from upon_build.registry.reference import parse_reference

if TYPE_CHECKING:
    from upon_build.image.store import Store
    from upon_build.registry.client import Repository
    from upon_build.registry.progress import Progress

LARGEST = 2**24  # bytes of a manifest, and of its layer
REMEDY = "name an image that `func build --push` made"


def manifest_in(image: str, store: Store, progress: Progress | None = None) -> tuple[Manifest, str]:
    """(manifest, the image by its digest). image: by tag or digest; of an index the first platform will do.

    Raises ProjectError for an image that is none of ours, RegistryError.
    """
    from upon_build.registry.client import Repository

    reference = parse_reference(image)
    with Repository(reference, progress=progress) as repository:
        top, content = repository.resolve()
        layer = _manifest_layer(image, repository, content)
        blob = repository.fetch(layer, store)
    named = replace(reference, tag=None, digest=top.digest)
    return read_manifest(_content(image, blob), f"the manifest in {image}"), str(named)


def _manifest_layer(image: str, repository: Repository, content: bytes) -> Descriptor:
    value = _parsed(image, content)
    if value.get("manifests"):
        value = _parsed(image, repository.resolve(str(value["manifests"][0].get("digest")))[1])
    for layer in value.get("layers") or ():
        if (layer.get("annotations") or {}).get(KIND) == "manifest":
            if int(layer["size"]) > LARGEST:
                raise fail("--image", f"the manifest's layer of {image} has {layer['size']} bytes", REMEDY)
            return Descriptor(layer["mediaType"], layer["digest"], int(layer["size"]))
    raise fail("--image", f"{image} holds no project of Upon", REMEDY)


def _parsed(image: str, content: bytes) -> Mapping[str, Any]:
    value = json.loads(content)
    if not isinstance(value, Mapping):
        raise fail("--image", f"{image} can't be read", REMEDY)
    return value


def _content(image: str, blob: Path) -> bytes:
    """The one file of the layer, in bounds: a small layer may unpack to anything."""
    with closing(opened(blob)) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if member.name.removeprefix("./") == MANIFEST_PATH.lstrip("/") and member.size <= LARGEST:
                file = archive.extractfile(member)
                if file is not None:
                    return file.read(LARGEST)
    raise _lacking(image)


def _lacking(image: str) -> ProjectError:
    return fail("--image", f"the manifest's layer of {image} does not hold {MANIFEST_PATH}", REMEDY)
