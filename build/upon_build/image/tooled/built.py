"""An image that a tool made, taken apart: the base's layers, ours above them, and the tool's configuration."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from upon import UponError
from upon_build.image.layers.compress import CHUNK, LEVEL, Gzip, name_and_version
from upon_build.image.layers.layer import KIND, TITLE
from upon_build.image.oci import LAYER, Descriptor, Layer, canonical
from upon_build.image.sizes import show_size
from upon_build.project.problems import fail

if TYPE_CHECKING:
    from upon_build.image.assembly.base import Base
    from upon_build.image.store import Store
    from upon_build.image.tooled.containerfile import Step


class UnreadableImage(UponError):
    """What a tool wrote is not an image as we know it."""


@dataclass(frozen=True, slots=True)
class Built:
    """layers: ours, above the base's; config: the tool's image configuration."""

    layers: tuple[Layer, ...]
    config: Mapping[str, Any]

    def merged(self, config: bytes) -> bytes:
        """Our configuration with the settings that the project's own Containerfile made; our labels stay."""
        value = json.loads(config)
        said = self.config.get("config") or {}
        labels = {**(said.get("Labels") or {}), **value["config"]["Labels"]}
        return canonical({**value, "config": {**said, "Labels": labels}})


def read_built(made: Path, base: Base, store: Store, steps: Sequence[Step], max_size: int | None) -> Built:
    """Bring the layers above the base into the store.

    made: a folder of blobs as buildah and podman write it, or docker's tar file. steps: what the layers are, where
    the Containerfile is ours. max_size: bytes of a layer, uncompressed. Raises ProjectError for an image on another
    base, and for a layer over max_size.
    """
    folder = _unpacked(made) if made.is_file() else made
    config_file, tars = _files(folder)
    config = json.loads(config_file.read_bytes())
    diff_ids = [str(diff_id) for diff_id in config["rootfs"]["diff_ids"]]
    below = [layer.diff_id for layer in base.layers]
    if diff_ids[: len(below)] != below:
        message = f"the image is not built on the base {base.name}@{base.digest}"
        remedy = "begin the Containerfile's last stage with ARG UPON_BASE and FROM ${UPON_BASE}, and name its base as"
        raise fail("build.containerfile", message, f"{remedy} build.baseImage")
    ours = list(zip(diff_ids, tars, strict=True))[len(below) :]
    kinds = _kinds(len(ours), steps)
    layers = [_layer(store, tar, diff_id, kind, max_size) for (diff_id, tar), kind in zip(ours, kinds, strict=True)]
    return Built(tuple(layers), config)


def _unpacked(archive: Path) -> Path:
    folder = archive.with_name("unpacked")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder


def _files(folder: Path) -> tuple[Path, list[Path]]:
    """The configuration and the layers, from the lowest up."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        if isinstance(manifest, list):  # docker save
            return folder / manifest[0]["Config"], [folder / name for name in manifest[0]["Layers"]]
        layers = [_blob(folder, layer) for layer in manifest["layers"]]
        return _blob(folder, manifest["config"]), layers
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UnreadableImage(f"the image that the tool wrote can't be read: {error!r}; update the tool") from None


def _blob(folder: Path, descriptor: Mapping[str, str]) -> Path:
    return folder / descriptor["digest"].removeprefix("sha256:")


def _kinds(count: int, steps: Sequence[Step]) -> list[tuple[str, str]]:
    """Kind and title of each layer. A tool may add layers of its own first, for a folder that WORKDIR makes."""
    known = [(step.kind, step.title) for step in steps]
    if not known or count < len(known):
        return [("system", f"step {number} of the Containerfile") for number in range(1, count + 1)]
    return [("system", "working directory")] * (count - len(known)) + known


def _layer(store: Store, tar: Path, diff_id: str, step: tuple[str, str], max_size: int | None) -> Layer:
    kind, title = step
    key = f"layer of a Containerfile, {name_and_version()}, level {LEVEL}: {diff_id}"
    known = store.recall(key)
    if known is None:
        known = _compress(store, tar, diff_id)
        store.remember(key, known)
    if max_size is not None and known["tar"] > max_size:
        message = f"the layer {title!r} has {show_size(known['tar'])}, and build.maxLayerSize is {show_size(max_size)}"
        raise fail("build.containerfile", message, "raise build.maxLayerSize, if the registry takes such a layer")
    descriptor = Descriptor(LAYER, known["digest"], known["size"], {KIND: kind, TITLE: title})
    return Layer(descriptor, diff_id, known["tar"], title)


def _compress(store: Store, tar: Path, diff_id: str) -> dict[str, Any]:
    """The blob of a layer, compressed as all of ours are, whatever the tool did to it."""
    hashed, size, gzip = hashlib.sha256(), 0, Gzip()
    with store.writing() as writing, _opened(tar) as file:
        while chunk := file.read(CHUNK):
            hashed.update(chunk)
            size += len(chunk)
            writing.write(gzip.compress(chunk))
        writing.write(gzip.finish())
        found = f"sha256:{hashed.hexdigest()}"
        if found != diff_id:
            raise UnreadableImage(f"the tool wrote a layer {found} and calls it {diff_id}: update the tool")
        writing.commit()
        return {"digest": writing.digest(), "size": writing.size, "tar": size}


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    if not compressed:
        return path.open("rb")
    from isal import igzip

    return igzip.open(path, "rb")  # type: ignore[no-untyped-call,no-any-return]
