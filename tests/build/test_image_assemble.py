"""An image's manifest: layers in the decided order, the base named, and bytes that depend on nothing else."""

from __future__ import annotations

import json

import pytest

from upon_build.image.assembly.assemble import KINDS, MAX_LAYERS, assemble, kind_of
from upon_build.image.assembly.base import Base
from upon_build.image.assembly.index import make_index
from upon_build.image.oci import INDEX, LAYER, MANIFEST, Descriptor, Image, Layer, digest_of
from upon_build.image.platforms import as_mapping, platform_of
from upon_build.project import ProjectError


def layer(kind: str = "", number: int = 1) -> Layer:
    annotations = {"dev.upon.layer": kind} if kind else {}
    return Layer(Descriptor(LAYER, f"sha256:{number:064x}", 10, annotations), f"sha256:{number:064x}", 100, kind)


def image(platform: str = "linux/amd64", *, below: int = 1, kinds: tuple[str, ...] = KINDS) -> Image:
    base = Base("docker.io/library/python:3.11", f"sha256:{7:064x}", platform, as_mapping(platform), (layer(),) * below)
    return assemble(base, [layer(kind) for kind in kinds], f"config of {platform}".encode())


def test_the_manifest_names_everything_in_order() -> None:
    made = image()
    manifest = json.loads(made.content)

    assert digest_of(made.content) == made.descriptor.digest
    assert (MANIFEST, len(made.content)) == (manifest["mediaType"], made.descriptor.size)
    assert digest_of(b"config of linux/amd64") == manifest["config"]["digest"]
    assert ["base", *KINDS] == [kind_of(one) for one in made.layers]
    assert [one.descriptor.as_dict() for one in made.layers] == manifest["layers"]
    assert "docker.io/library/python:3.11" == manifest["annotations"]["org.opencontainers.image.base.name"]
    assert f"sha256:{7:064x}" == manifest["annotations"]["org.opencontainers.image.base.digest"]


def test_layers_out_of_order_are_a_defect() -> None:
    with pytest.raises(ValueError, match="out of order"):
        image(kinds=("code", "model"))


def test_more_layers_than_a_runtime_mounts_are_refused() -> None:
    assert MAX_LAYERS == len(image(below=MAX_LAYERS - len(KINDS)).layers)
    with pytest.raises(ProjectError, match=rf"would have {MAX_LAYERS + 1} layers"):
        image(below=MAX_LAYERS - len(KINDS) + 1)


def test_an_index_is_the_same_whatever_the_order_of_its_images() -> None:
    amd64, arm = image(), image("linux/arm/v7")
    descriptor, content = make_index([arm, amd64])
    value = json.loads(content)

    assert (descriptor, content) == make_index([amd64, arm])
    assert (INDEX, digest_of(content)) == (descriptor.media_type, descriptor.digest)
    assert [
        {"os": "linux", "architecture": "amd64"},
        {"os": "linux", "architecture": "arm", "variant": "v7"},
    ] == [one["platform"] for one in value["manifests"]]
    assert [amd64.descriptor.digest, arm.descriptor.digest] == [one["digest"] for one in value["manifests"]]


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ({"os": "linux", "architecture": "amd64"}, "linux/amd64"),
        ({"os": "linux", "architecture": "amd64", "variant": "v3"}, "linux/amd64/v3"),
        ({"os": "linux", "architecture": "arm64", "variant": "v8"}, "linux/arm64"),
        ({"os": "linux", "architecture": "arm", "variant": "v7"}, "linux/arm/v7"),
        ({}, "/"),
    ],
)
def test_what_goes_without_saying_is_left_out_of_a_platform(platform: dict[str, str], expected: str) -> None:
    assert expected == platform_of(platform)
