"""Images for another machine than this one: its wheels, its base, and an index over both."""

from __future__ import annotations

import struct
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.builds import Builder, copied
from support.readers import Crane, Skopeo
from support.registry import RealRegistry

pytestmark = pytest.mark.timeout(300)  # the first test may be the one that fetches packages

BOTH = ("linux/amd64", "linux/arm64")
MACHINES = {"linux/amd64": 62, "linux/arm64": 183}  # of ELF: EM_X86_64, EM_AARCH64
INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class Pushed:
    reference: str
    digest: str
    index: dict[str, Any]
    manifests: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def pushed(builder: Builder, small_project: Path, skopeo: Skopeo, tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    folder = copied(small_project, tmp_path_factory.mktemp("platforms") / "project")
    flags = [part for platform in BOTH for part in ("--platform", platform)]
    builder.lock(folder, *flags)
    built = builder.build(folder, "platforms/both", *flags)
    name = builder.registry.repository("platforms/both")
    index = skopeo.raw(f"docker://{name}@{built.digest}")
    found = {
        "/".join(one["platform"][key] for key in ("os", "architecture")): skopeo.raw(f"docker://{name}@{one['digest']}")
        for one in index["manifests"]
    }
    return Pushed(f"{name}:latest", built.digest, index, found)


def test_the_tag_names_an_index_of_both(pushed: Pushed, builder: Builder) -> None:
    assert INDEX == pushed.index["mediaType"]
    assert set(BOTH) == set(pushed.manifests)
    assert pushed.digest == builder.registry.tagged("platforms/both", "latest")


def test_readers_choose_their_own(pushed: Pushed, skopeo: Skopeo) -> None:
    found = {platform: skopeo.inspect(pushed.reference, platform) for platform in BOTH}
    assert ["amd64", "arm64"] == [found[platform]["Architecture"] for platform in BOTH]
    assert [["65532:65532"] * 2] == [[skopeo.config(pushed.reference, one)["config"]["User"] for one in BOTH]]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_crane_finds_nothing_wrong(pushed: Pushed, crane: Crane) -> None:
    crane.validate(pushed.reference)


@pytest.mark.parametrize("platform", BOTH)
def test_libraries_are_for_the_machine(pushed: Pushed, registry: RealRegistry, platform: str) -> None:
    machines = {
        machine
        for layer in pushed.manifests[platform]["layers"]
        if layer.get("annotations", {}).get("dev.upon.layer") in ("package", "packages")
        for machine in machines_in(registry.blob(layer["digest"]))
    }
    assert {MACHINES[platform]} == machines


def machines_in(layer: Path) -> set[int]:
    """For which processors the layer's shared libraries are."""
    found = set()
    with tarfile.open(layer, "r:gz") as archive:
        for member in archive:
            if member.isfile() and ".so" in member.name:
                file = archive.extractfile(member)
                assert file is not None
                head = file.read(20)
                found |= {struct.unpack_from("<H", head, 18)[0]} if head[:4] == b"\x7fELF" else set()
    return found


def test_what_has_no_machine_is_shared(pushed: Pushed) -> None:
    """Upon, models, code: one blob for both."""
    layers = {
        platform: {
            layer["annotations"]["dev.upon.layer"]: layer["digest"]
            for layer in manifest["layers"]
            if "dev.upon.layer" in layer.get("annotations", {})
        }
        for platform, manifest in pushed.manifests.items()
    }
    amd64, arm64 = (layers[platform] for platform in BOTH)
    assert {name: amd64[name] for name in ("upon", "code", "manifest")} == {
        name: arm64[name] for name in ("upon", "code", "manifest")
    }
    assert amd64["packages"] != arm64["packages"]


def test_one_platform_of_two_is_the_same_image(
    pushed: Pushed, builder: Builder, small_project: Path, tmp_path: Path
) -> None:
    """An image of one platform does not depend on which others are built beside it."""
    built = builder.build(copied(small_project, tmp_path / "project"), "platforms/one", "--platform", "linux/amd64")
    digests = {one["platform"]["architecture"]: one["digest"] for one in pushed.index["manifests"]}
    assert digests["amd64"] == built.digest
