"""A base is held to one digest, and looked into once: which Python it has, and which C library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.small_base import PYTHON, SmallRegistry, layer_bytes
from upon_build.image.assembly.base import Base, Bases, base_reference
from upon_build.image.assembly.inspect import Interpreter, find_interpreter
from upon_build.image.oci import DOCKER_LIST, DOCKER_MANIFEST, LAYER, canonical, digest_of
from upon_build.image.store import Store
from upon_build.project import ProjectError

NAME = "registry.example/team/python:3.11"
AMD64, ARM64 = "linux/amd64", "linux/arm64"
DOCKER = (
    DOCKER_MANIFEST,
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def there() -> SmallRegistry:
    return SmallRegistry()


def bases(there: SmallRegistry, store: Store) -> Bases:
    return Bases(store, lambda reference: there)


def offline(store: Store) -> Bases:
    def connect(reference: object) -> Any:
        raise AssertionError(f"{reference} was asked")

    return Bases(store, connect)


def refusal(act: Any) -> str:
    with pytest.raises(ProjectError) as caught:
        act()
    return str(caught.value)


# Which image


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("cpu", "docker.io/library/python:3.12-slim"),
        ("gpu", "docker.io/library/python:3.12-slim"),
        ("ghcr.io/acme/base:1", "ghcr.io/acme/base:1"),
    ],
)
def test_a_preset_is_a_python_image_of_the_version(wanted: str, expected: str) -> None:
    assert expected == base_reference(wanted, "3.12")


def test_a_tag_becomes_the_digest_of_the_platforms_manifest(there: SmallRegistry, store: Store) -> None:
    amd64, arm64 = there.add_image(), there.add_image(platform="linux/arm64/v8")
    attestation = there.add_image(platform="unknown/unknown")
    there.add_index(
        (attestation, {"os": "unknown", "architecture": "unknown"}),
        (arm64, {"os": "linux", "architecture": "arm64", "variant": "v8"}),
        (amd64, {"os": "linux", "architecture": "amd64"}),
        tag="3.11",
    )
    found = bases(there, store)

    assert [amd64, arm64] == [found.find(NAME, platform).digest for platform in (AMD64, ARM64)]
    assert ["3.11"] == [asked for asked in there.asked if not asked.startswith("sha256:")]
    assert NAME == found.find(NAME, AMD64).name


def test_the_same_base_is_found_without_network_by_its_digest(there: SmallRegistry, store: Store) -> None:
    digest = there.add_image(tag="3.11")
    first = bases(there, store).find(NAME, AMD64)

    assert first == offline(store).find(NAME, AMD64, digest)
    assert first.digest == offline(store).find(f"registry.example/team/python@{digest}", AMD64).digest


def test_dockers_media_types_are_taken_for_what_they_are(there: SmallRegistry, store: Store) -> None:
    image = there.add_image(media=DOCKER)
    there.add_index((image, {"os": "linux", "architecture": "amd64"}), tag="3.11", media=DOCKER_LIST)

    base = bases(there, store).find(NAME, AMD64)

    assert [LAYER] == [layer.descriptor.media_type for layer in base.layers]
    assert ["registry.example/team/python"] == [layer.source for layer in base.layers]
    assert digest_of(layer_bytes(*PYTHON)) == base.layers[0].descriptor.digest


def test_an_image_for_another_platform_is_refused(there: SmallRegistry, store: Store) -> None:
    image = there.add_image(tag="3.11")
    there.add_index((image, {"os": "linux", "architecture": "amd64"}), tag="several")
    found = bases(there, store)

    one = refusal(lambda: found.find(NAME, ARM64))
    several = refusal(lambda: found.find("registry.example/team/python:several", ARM64))

    assert f"the base {NAME} is an image for linux/amd64, not for linux/arm64" in one
    assert "has no image for linux/arm64: it has linux/amd64" in several


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (canonical({"schemaVersion": 1, "fsLayers": []}), "is no image of schema version 2"),
        (b"<html>", "is no image: "),
        (b"[]", "is no image: "),
        (canonical({"config": {}, "layers": []}), "is no image: "),
    ],
)
def test_what_is_no_image_is_refused(content: bytes, said: str, there: SmallRegistry, store: Store) -> None:
    there.tags["3.11"] = there.add(content)

    assert said in refusal(lambda: bases(there, store).find(NAME, AMD64))


def test_layers_that_do_not_fit_their_configuration_are_refused(there: SmallRegistry, store: Store) -> None:
    there.add_image(tag="3.11", rootfs={"diff_ids": []})
    there.add_image(tag="windows", media=(*DOCKER[:2], "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"))
    found = bases(there, store)

    assert "names 0 layers, its manifest 1" in refusal(lambda: found.find(NAME, AMD64))
    assert "of the media type" in refusal(lambda: found.find("registry.example/team/python:windows", AMD64))


# Which Python


def inspected(there: SmallRegistry, store: Store, python: str = "3.11", **image: Any) -> Interpreter:
    layers = image.pop("layers", [PYTHON])
    there.add_image(*(layer_bytes(*layer) for layer in layers), tag="3.11", **image)
    found = bases(there, store)
    return find_interpreter(found.find(NAME, AMD64), python, store, found.fetch)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([["usr/bin/python3.11"]], "/usr/bin/python3.11"),
        ([["./usr/bin/python3.11"], ["usr/local/bin/python3.11"]], "/usr/local/bin/python3.11"),
        ([["usr/bin/python3.12", "usr/bin/python3.11"]], "/usr/bin/python3.11"),
        ([["usr/bin/python3.11 -> python3"]], "/usr/bin/python3.11"),
        ([["usr/local/bin/python3.11", "usr/bin/python3.11"], ["usr/local/bin/.wh.python3.11"]], "/usr/bin/python3.11"),
        ([["usr/local/bin/python3.11", "usr/bin/python3.11"], ["usr/local/.wh.bin"]], "/usr/bin/python3.11"),
        ([["usr/local/bin/python3.11", "usr/bin/python3.11"], ["usr/local/.wh..wh..opq"]], "/usr/bin/python3.11"),
        ([["usr/bin/python3.11"], ["usr/bin/.wh.python3.11", "usr/bin/python3.11"]], "/usr/bin/python3.11"),
    ],
)
def test_the_interpreter_is_read_from_the_layers(
    layers: list[list[str]], expected: str, there: SmallRegistry, store: Store
) -> None:
    assert Interpreter(expected, "3.11") == inspected(there, store, layers=layers)


def test_python_may_be_anywhere_in_the_bases_own_path(there: SmallRegistry, store: Store) -> None:
    found = inspected(
        there,
        store,
        layers=[["opt/python/bin/python3.11", "usr/bin/python3.11"]],
        config={"Env": ["PATH=/opt/python/bin:/usr/bin"]},
    )

    assert "/opt/python/bin/python3.11" == found.path


def test_a_base_is_looked_into_once(there: SmallRegistry, store: Store) -> None:
    first = inspected(there, store)
    base = offline(store).find(NAME, AMD64, bases(there, store).find(NAME, AMD64).digest)

    def fetch(layer: object) -> Path:
        raise AssertionError(f"{layer} was fetched")

    assert first == find_interpreter(base, "3.11", store, fetch)


def test_the_official_image_tells_by_its_configuration(there: SmallRegistry, store: Store) -> None:
    there.add_image(
        layer_bytes("nothing"),
        tag="3.11",
        config={"Env": ["PATH=/usr/local/bin:/usr/bin", "PYTHON_VERSION=3.11.9", "PYTHON_SHA256=abc"]},
        history=[{"created_by": "RUN apt-get update; apt-get install -y --no-install-recommends ca-certificates"}],
    )
    found = bases(there, store)
    base = found.find(NAME, AMD64)
    asked = len(there.asked)

    assert Interpreter("/usr/local/bin/python3.11", "3.11") == find_interpreter(base, "3.11", store, found.fetch)
    assert asked == len(there.asked)


@pytest.mark.parametrize("more", [{}, {"history": [{"created_by": "RUN apk add --no-cache ca-certificates"}]}])
def test_alpine_is_refused_by_its_layers_or_its_history(
    more: dict[str, Any], there: SmallRegistry, store: Store
) -> None:
    env = {"Env": ["PATH=/usr/local/bin", "PYTHON_VERSION=3.11.9", "PYTHON_SHA256=abc"]}
    alpine = [["lib/ld-musl-x86_64.so.1", "usr/local/bin/python3.11"]]

    said = refusal(lambda: inspected(there, store, layers=alpine, config=env, **more))

    assert "is built on musl (Alpine)" in said
    assert "docker.io/library/python:3.11-slim" in said


def test_a_variable_alone_is_not_believed(there: SmallRegistry, store: Store) -> None:
    said = refusal(
        lambda: inspected(there, store, layers=[["bin/sh"]], config={"Env": ["PATH=/bin", "PYTHON_VERSION=3.11.9"]})
    )

    assert f"the base {NAME} has no Python: there is no python3.N in /bin, /usr/local/bin, /usr/bin" in said


def test_another_python_is_refused_with_both_ways_out(there: SmallRegistry, store: Store) -> None:
    said = refusal(lambda: inspected(there, store, python="3.13"))

    assert "has Python 3.11, and func.lock is for Python 3.13" in said
    assert "choose a base with Python 3.13, or set build.python to '3.11' and run `func lock`" in said


def test_a_layer_that_can_not_be_read_is_refused(there: SmallRegistry, store: Store) -> None:
    whole = layer_bytes(*PYTHON)
    there.add_image(whole, tag="3.11")
    found = bases(there, store)
    base: Base = found.find(NAME, AMD64)
    broken = store.find(store.add(whole[: len(whole) // 2]))
    assert broken is not None

    assert "a layer of the base" in refusal(lambda: find_interpreter(base, "3.11", store, lambda layer: broken))


def test_a_base_knows_its_environment(there: SmallRegistry, store: Store) -> None:
    there.add_image(tag="3.11", config={"Env": ["A=1=2", "B="]})

    assert {"A": "1=2", "B": ""} == bases(there, store).find(NAME, AMD64).env
