"""Layouts on disk: complete, readable by the tools that load them, and replaced in one step or not at all."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from upon_build.image.assembly.assemble import assemble
from upon_build.image.assembly.base import Base
from upon_build.image.assembly.index import make_index
from upon_build.image.assembly.layout import Contents, write_layout
from upon_build.image.oci import LAYER, Descriptor, Image, Layer, digest_of
from upon_build.image.platforms import as_mapping, host_platform
from upon_build.project import ProjectError

NAME = "127.0.0.1:5000/acme/reviews:1"
BLOBS = {digest_of(content): content for content in (b"of the base", b"function code")}


def layer(content: bytes, kind: str = "") -> Layer:
    annotations = {"dev.upon.layer": kind} if kind else {}
    return Layer(Descriptor(LAYER, digest_of(content), len(content), annotations), digest_of(content), 100, kind)


def image(platform: str) -> Image:
    base = Base("python", f"sha256:{7:064x}", platform, as_mapping(platform), (layer(b"of the base"),))
    return assemble(base, [layer(b"function code", "code")], f"config of {platform}".encode())


def contents(*platforms: str) -> Contents:
    images = [image(platform) for platform in platforms]
    if len(images) == 1:
        return Contents(images[0].descriptor, images, None, NAME)
    return Contents(*_index(images), NAME)


def _index(images: list[Image]) -> tuple[Any, list[Image], bytes]:
    descriptor, content = make_index(images)
    return descriptor, images, content


@pytest.fixture
def fetch(tmp_path: Path) -> Any:
    store = tmp_path / "store"
    store.mkdir()

    def find(layer: Layer) -> Path:
        path = store / layer.descriptor.digest
        path.write_bytes(BLOBS[layer.descriptor.digest])
        return path

    return find


def files_of(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["layout", "image.tar"])
def test_a_layout_holds_every_blob_under_its_digest(name: str, tmp_path: Path, fetch: Any) -> None:
    made = contents("linux/amd64", "linux/arm64")
    write_layout(tmp_path / "out" / name, made, fetch)
    files = (files_of if name.endswith("tar") else files_in)(tmp_path / "out" / name)
    index = json.loads(files["index.json"])
    blobs = {file: content for file, content in files.items() if file.startswith("blobs/")}

    assert {"imageLayoutVersion": "1.0.0"} == json.loads(files["oci-layout"])
    assert [made.top.digest] == [one["digest"] for one in index["manifests"]]
    assert {"org.opencontainers.image.ref.name": "1", "io.containerd.image.name": NAME} == index["manifests"][0][
        "annotations"
    ]
    assert all(digest_of(content) == file.removeprefix("blobs/").replace("/", ":") for file, content in blobs.items())
    assert 2 + 2 * 2 + 1 == len(blobs)  # layers are shared; a manifest and a configuration each; the index
    assert [name] == [path.name for path in (tmp_path / "out").iterdir()]


def test_a_tar_also_says_it_in_dockers_way(tmp_path: Path, fetch: Any) -> None:
    other = "linux/arm64" if host_platform() == "linux/amd64" else "linux/amd64"
    write_layout(tmp_path / "image.tar", contents(other, host_platform()), fetch)
    files = files_of(tmp_path / "image.tar")
    (entry,) = json.loads(files["manifest.json"])

    assert [NAME] == entry["RepoTags"]
    assert f"config of {host_platform()}".encode() == files[entry["Config"]]
    assert [b"of the base", b"function code"] == [files[blob] for blob in entry["Layers"]]


def test_the_same_image_is_the_same_tar(tmp_path: Path, fetch: Any) -> None:
    for name in ("a.tar", "b.tar"):
        write_layout(tmp_path / name, contents("linux/amd64"), fetch)

    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


@pytest.mark.parametrize("name", ["layout", "image.tar"])
def test_what_was_there_is_replaced_or_left(name: str, tmp_path: Path, fetch: Any) -> None:
    where = tmp_path / "out" / name
    write_layout(where, contents("linux/arm64"), fetch)
    before = where.stat().st_ino

    def fail(layer: Layer) -> Path:
        raise OSError(28, "No space left on device", "blob")

    with pytest.raises(OSError, match="No space left"):
        write_layout(where, contents("linux/amd64"), fail)
    assert before == where.stat().st_ino
    assert [name] == [path.name for path in where.parent.iterdir()]

    write_layout(where, contents("linux/amd64"), fetch)
    files = (files_of if name.endswith("tar") else files_in)(where)
    assert b"config of linux/amd64" in files.values()
    assert b"config of linux/arm64" not in files.values()
    assert [name] == [path.name for path in where.parent.iterdir()]


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, fetch: Any) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(ProjectError, match="with something else in it"):
        write_layout(tmp_path, contents("linux/amd64"), fetch)
    (tmp_path / "x.tar").mkdir()
    with pytest.raises(ProjectError, match=r"is a folder: name a file"):
        write_layout(tmp_path / "x.tar", contents("linux/amd64"), fetch)


def test_an_empty_folder_is_filled(tmp_path: Path, fetch: Any) -> None:
    (tmp_path / "layout").mkdir()
    write_layout(tmp_path / "layout", contents("linux/amd64"), fetch)

    assert (tmp_path / "layout" / "oci-layout").is_file()
