"""The client against a real registry without locks."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest

from support.artifacts import image_of, layer_of
from support.registry import RealRegistry
from upon_build.image.oci import EMPTY, INDEX, MANIFEST, Descriptor, canonical, describe
from upon_build.image.store import Store
from upon_build.registry.client import Repository
from upon_build.registry.errors import DigestMismatch, NotFound, RegistryError
from upon_build.registry.push import push_image
from upon_build.registry.reference import parse_reference
from upon_build.registry.upload import CHUNK

MIB = 2**20


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def repository(registry: RealRegistry, name: str) -> Repository:
    return Repository(parse_reference(registry.repository(name)), env={})


def test_what_was_pushed_is_resolved_by_tag_and_by_digest(registry: RealRegistry, store: Store) -> None:
    image = image_of(store, b"one", b"two")
    with repository(registry, "client/resolve") as found:
        push_image(image, store, found, "v1")
        assert (image.descriptor, image.content) == found.resolve("v1")
        assert (image.descriptor, image.content) == found.resolve(image.descriptor.digest)
        by_reference = found.sibling(found.reference.at(image.descriptor.digest))
        assert (image.descriptor, image.content) == by_reference.resolve()


@pytest.mark.parametrize("wanted", ["v9", "sha256:" + "0" * 64])
def test_what_is_not_there_is_named(registry: RealRegistry, wanted: str) -> None:
    with repository(registry, "client/nothing") as found:
        with pytest.raises(NotFound, match=rf"there is no {registry.host}/client/nothing[:@]{wanted}") as raised:
            found.resolve(wanted)
    assert 404 == raised.value.status


def test_a_blob_is_fetched_into_the_store_once(registry: RealRegistry, store: Store, tmp_path: Path) -> None:
    image = image_of(store, b"a layer of its own")
    layer = image.layers[0].descriptor
    other = Store(tmp_path / "other")
    with repository(registry, "client/fetch") as found:
        push_image(image, store, found, "v1")
        mark = registry.mark()
        path = found.fetch(layer, other)
        assert path == found.fetch(layer, other)
    assert b"a layer of its own" == path.read_bytes()
    assert ["GET"] == [request.method for request in registry.requests(mark)]


def test_a_blob_that_is_not_there_is_not_found(registry: RealRegistry, store: Store) -> None:
    with repository(registry, "client/fetch") as found:
        with pytest.raises(NotFound, match="BLOB_UNKNOWN"):
            found.fetch(Descriptor("application/x", "sha256:" + "1" * 64, 3), store)
        with pytest.raises(RegistryError, match="only sha256"):
            found.fetch(Descriptor("application/x", "sha256:../../etc", 3), store)


def test_a_blob_is_sent_once(registry: RealRegistry, store: Store) -> None:
    layer = layer_of(store, b"sent once").descriptor
    path = store.find(layer.digest)
    assert path is not None
    with repository(registry, "client/once") as found:
        assert not found.has(layer.digest)
        assert layer.size == found.upload(layer, path, None)
        assert found.has(layer.digest)
        assert 0 == found.upload(layer, path, None)


def test_an_empty_blob_can_be_sent_and_fetched(registry: RealRegistry, store: Store, tmp_path: Path) -> None:
    image = image_of(store, b"")
    with repository(registry, "client/empty") as found:
        push_image(image, store, found, "v1")
        assert b"" == found.fetch(image.layers[0].descriptor, Store(tmp_path / "other")).read_bytes()


def test_a_blob_of_another_repository_is_mounted(registry: RealRegistry, store: Store) -> None:
    layer = layer_of(store, b"to be mounted").descriptor
    path = store.find(layer.digest)
    assert path is not None
    with repository(registry, "client/from") as first, repository(registry, "client/to") as second:
        first.upload(layer, path, None)
        assert second.mount(layer.digest, "client/from")
        assert second.has(layer.digest)
    with repository(registry, "client/third") as third:
        assert 0 == third.upload(layer, path, "client/from")
        assert not third.mount("sha256:" + "2" * 64, "client/from")


def test_a_large_blob_goes_in_chunks_and_little_of_it_is_in_memory(
    registry: RealRegistry, store: Store, tmp_path: Path
) -> None:
    size = 2 * CHUNK + 5
    with store.writing() as writing:
        for _ in range(2):
            writing.write(os.urandom(MIB) * (CHUNK // MIB))
        writing.write(b"tails")
        path, digest = writing.commit(), writing.digest()
    layer = Descriptor("application/x", digest, size)
    mark = registry.mark()
    tracemalloc.start()
    try:
        with repository(registry, "client/large") as found:
            assert size == found.upload(layer, path, None)
            fetched = found.fetch(layer, Store(tmp_path / "other"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert {digest: size} == registry.received(mark)
    assert 3 == sum(request.method == "PATCH" for request in registry.requests(mark))
    assert size == fetched.stat().st_size
    assert peak < 8 * MIB, f"{peak / MIB:.1f} MiB"


def test_a_damaged_file_is_told_and_not_stored(registry: RealRegistry, store: Store) -> None:
    layer = layer_of(store, b"right").descriptor
    path = store.find(layer.digest)
    assert path is not None
    with repository(registry, "client/damaged") as found:
        path.write_bytes(b"wrong")
        with pytest.raises(DigestMismatch, match=r"DIGEST_INVALID.*func cache prune"):
            found.upload(layer, path, None)
        path.write_bytes(b"short")
        with pytest.raises(DigestMismatch, match="has 5 bytes, not 9"):
            found.upload(Descriptor("application/x", layer.digest, 9), path, None)
        assert not found.has(layer.digest)


def test_a_manifest_must_be_what_its_descriptor_says(registry: RealRegistry) -> None:
    descriptor = describe(b"{}", MANIFEST)
    with repository(registry, "client/manifest") as found:
        with pytest.raises(DigestMismatch, match="build it again"):
            found.put_manifest(descriptor, b"{ }", "v1")


def test_a_manifest_whose_layers_are_missing_is_refused_in_the_registrys_words(
    registry: RealRegistry, store: Store
) -> None:
    image = image_of(store, b"never sent")
    with repository(registry, "client/missing") as found:
        with pytest.raises(RegistryError, match="MANIFEST_BLOB_UNKNOWN") as raised:
            found.put_manifest(image.descriptor, image.content, "v1")
    assert raised.value.status in (400, 404)
    assert [] == registry.tags("client/missing")


def test_referrers_are_read_from_the_fallback_tag(registry: RealRegistry, store: Store) -> None:
    subject = "sha256:" + "3" * 64
    image = image_of(store, b"about the subject")
    entry = {**image.descriptor.as_dict(), "artifactType": EMPTY, "annotations": {"a": "b"}}
    content = canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})
    with repository(registry, "client/referrers") as found:
        assert [] == found.referrers(subject)
        push_image(image, store, found, None)
        found.put_manifest(describe(content, INDEX), content, subject.replace(":", "-"))
        listed = found.referrers(subject)
    expected = Descriptor(
        MANIFEST, image.descriptor.digest, image.descriptor.size, annotations={"a": "b"}, artifact_type=EMPTY
    )
    assert [expected] == listed
