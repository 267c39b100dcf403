"""An image as files: an OCI layout in a folder, or in one tar that skopeo, docker and podman load.

Everything is written under a temporary name beside its place and renamed at the end, so that a build that is
interrupted leaves what was there.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from upon_build.image.oci import INDEX, Descriptor, Image, Layer, canonical
from upon_build.image.platforms import host_platform
from upon_build.project.problems import fail

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
_LAYOUT = canonical({"imageLayoutVersion": "1.0.0"})


@dataclass(frozen=True, slots=True)
class Contents:
    """What a layout holds.

    top: the descriptor of the image or index; index: the index's bytes, or None for a single image; name: a full
    reference with a tag, such as `ghcr.io/acme/reviews:1`.
    """

    top: Descriptor
    images: Sequence[Image]
    index: bytes | None
    name: str

    @property
    def tag(self) -> str:
        return self.name.rpartition("/")[2].partition(":")[2] or "latest"


def is_archive(where: Path) -> bool:
    """Whether this output is one file."""
    return where.suffix == ".tar" or where.is_file()


def write_layout(where: Path, contents: Contents, fetch: Callable[[Layer], Path]) -> None:
    """Write a folder, or a file where it ends in `.tar`; what is there of the kind is replaced.

    fetch: gives a layer's blob. Raises ProjectError where something else lies there, and OSError.
    """
    if is_archive(where):
        _write_archive(where, contents, fetch)
    else:
        _write_folder(where, contents, fetch)


def _write_folder(where: Path, contents: Contents, fetch: Callable[[Layer], Path]) -> None:
    if where.is_dir() and any(where.iterdir()) and not (where / "oci-layout").is_file():
        raise fail("--output", f"{str(where)!r} is a folder with something else in it", "name a new folder, or a .tar")
    where = where.absolute()
    where.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{where.name}.", dir=where.parent))
    try:
        fresh.chmod(0o755)
        blobs = fresh / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        for digest, source in _blobs(contents, fetch):
            _copy(source, blobs / digest.removeprefix("sha256:"))
        (fresh / "oci-layout").write_bytes(_LAYOUT)
        (fresh / "index.json").write_bytes(_index(contents))
        _take_place(fresh, where)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _copy(source: Path | bytes, target: Path) -> None:
    if isinstance(source, bytes):
        target.write_bytes(source)
    else:
        shutil.copyfile(source, target)


def _take_place(fresh: Path, where: Path) -> None:
    """A folder with something in it can't be renamed over, so the old one steps aside first."""
    if not where.exists():
        fresh.rename(where)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{where.name}.", dir=where.parent))
    where.rename(old)
    try:
        fresh.rename(where)
    except OSError:
        old.rename(where)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_archive(where: Path, contents: Contents, fetch: Callable[[Layer], Path]) -> None:
    if where.is_dir():
        raise fail("--output", f"{str(where)!r} is a folder", "name a file, or a folder without .tar in its name")
    with _replacing(where) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, "oci-layout", _LAYOUT)  # the first: the next build knows the file by it, and leaves it out
        _add(archive, "index.json", _index(contents))
        _add(archive, "manifest.json", canonical(_docker(contents)))
        for digest, source in _blobs(contents, fetch):
            _add(archive, _blob_name(digest), source)


def _add(archive: tarfile.TarFile, name: str, source: Path | bytes) -> None:
    entry = tarfile.TarInfo(name)  # mode 0644, owner 0, time 0
    if isinstance(source, bytes):
        entry.size = len(source)
        archive.addfile(entry, BytesIO(source))
        return
    with source.open("rb") as file:
        entry.size = os.fstat(file.fileno()).st_size
        archive.addfile(entry, file)


@contextmanager
def _replacing(where: Path) -> Iterator[Any]:
    where = where.absolute()
    where.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(prefix=f".{where.name}.", dir=where.parent)
    fresh = Path(name)
    try:
        with os.fdopen(number, "wb") as file:
            yield file
        fresh.chmod(0o644)
        fresh.replace(where)
    finally:
        fresh.unlink(missing_ok=True)


def _blobs(contents: Contents, fetch: Callable[[Layer], Path]) -> Iterator[tuple[str, Path | bytes]]:
    """Every blob once, in an order that depends on the contents alone."""
    seen: set[str] = set()
    for image in contents.images:
        for descriptor, content in ((image.descriptor, image.content), (image.config_descriptor, image.config)):
            if descriptor.digest not in seen:
                seen.add(descriptor.digest)
                yield descriptor.digest, content
        for layer in image.layers:
            if layer.descriptor.digest not in seen:
                seen.add(layer.descriptor.digest)
                yield layer.descriptor.digest, fetch(layer)
    if contents.index is not None:
        yield contents.top.digest, contents.index


def _index(contents: Contents) -> bytes:
    named = replace(contents.top, annotations={CONTAINERD_NAME: contents.name, REF_NAME: contents.tag})
    return canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": [named.as_dict()]})


def _docker(contents: Contents) -> list[dict[str, Any]]:
    """`docker load` of before version 25 reads this, and takes one image of a name: this machine's, or the first."""
    mine = [image for image in contents.images if image.platform == host_platform()]
    image = (mine or list(contents.images))[0]
    layers = [_blob_name(layer.descriptor.digest) for layer in image.layers]
    return [{"Config": _blob_name(image.config_descriptor.digest), "RepoTags": [contents.name], "Layers": layers}]


def _blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
