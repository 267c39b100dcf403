from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from support.artifacts import pushed
from support.registry import RealRegistry
from upon_build.image.documents.attach import (
    TITLE,
    Artifact,
    Retry,
    attach,
    attach_provenance,
    attach_sbom,
    fallback_tag,
    make_artifact,
    provenance_artifact,
    push_artifacts,
    sbom_artifact,
)
from upon_build.image.documents.dsse import make_statement
from upon_build.image.oci import EMPTY, INDEX, MANIFEST, Descriptor, canonical, describe
from upon_build.registry.client import Repository
from upon_build.registry.credentials import Credentials
from upon_build.registry.errors import NotFound, RegistryError
from upon_build.registry.reference import Reference, parse_reference

AT_ONCE = Retry(pause=lambda seconds: None)
SBOM = b'{"bomFormat":"CycloneDX"}'


@pytest.fixture
def repository(registry: RealRegistry) -> Iterator[Repository]:
    reference = parse_reference(registry.repository(f"attach/{uuid4().hex}"))
    with Repository(reference, credentials=Credentials({})) as opened:
        yield opened


@pytest.fixture
def image(repository: Repository) -> Descriptor:
    return pushed(repository)


def listed(registry: RealRegistry, repository: Repository, image: Descriptor) -> list[dict[str, Any]]:
    """What the fallback tag lists, as another client sees it."""
    path = f"/v2/{repository.reference.repository}/manifests/{fallback_tag(image.digest)}"
    index = json.loads(registry.get(path, Accept=INDEX))
    assert (2, INDEX) == (index["schemaVersion"], index["mediaType"])
    return list(index["manifests"])


def test_an_sbom_is_found_as_the_images_referrer(
    registry: RealRegistry, repository: Repository, image: Descriptor
) -> None:
    found = attach_sbom(repository, image, SBOM)
    entry = {
        "mediaType": MANIFEST,
        "digest": found.digest,
        "size": found.size,
        "artifactType": "application/vnd.cyclonedx+json",
    }
    assert [entry] == listed(registry, repository, image)
    assert [found] == repository.referrers(image.digest)


def test_the_artifact_is_one_of_oci_1_1(registry: RealRegistry, repository: Repository, image: Descriptor) -> None:
    found = attach_sbom(repository, image, SBOM)
    name = repository.reference.repository
    manifest = json.loads(registry.get(f"/v2/{name}/manifests/{found.digest}", Accept=MANIFEST))
    assert {"mediaType": MANIFEST, "digest": image.digest, "size": image.size} == manifest["subject"]
    assert "application/vnd.cyclonedx+json" == manifest["artifactType"]
    assert EMPTY == manifest["config"]["mediaType"]
    (layer,) = manifest["layers"]
    assert {TITLE: "sbom.cdx.json"} == layer["annotations"]
    assert SBOM == registry.get(f"/v2/{name}/blobs/{layer['digest']}")
    assert b"{}" == registry.get(f"/v2/{name}/blobs/{manifest['config']['digest']}")


def test_sbom_and_provenance_lie_side_by_side(
    registry: RealRegistry, repository: Repository, image: Descriptor
) -> None:
    statement = make_statement(repository.reference.name, image.digest, "https://slsa.dev/provenance/v1", {})
    attach_sbom(repository, image, SBOM)
    attach_provenance(repository, image, statement)
    first, second = listed(registry, repository, image)
    assert "application/vnd.cyclonedx+json" == first["artifactType"]
    assert "application/vnd.in-toto+json" == second["artifactType"]
    assert {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"} == second["annotations"]


def test_the_same_again_writes_nothing(registry: RealRegistry, repository: Repository, image: Descriptor) -> None:
    statement = make_statement(repository.reference.name, image.digest, "https://slsa.dev/provenance/v1", {})
    artifacts = [sbom_artifact(image, SBOM), provenance_artifact(image, statement)]
    first = attach(repository, image, artifacts)
    before = registry.mark()
    assert first == attach(repository, image, artifacts)
    assert {"GET"} == {request.method for request in registry.requests(before)}


def test_an_artifact_that_nobody_listed_is_listed_when_it_comes_again(
    registry: RealRegistry, repository: Repository, image: Descriptor
) -> None:
    """The writer before was killed between manifest and list."""
    push_artifacts(repository, [sbom_artifact(image, SBOM)])
    assert [] == repository.referrers(image.digest)
    attach_sbom(repository, image, SBOM)
    assert 1 == len(listed(registry, repository, image))


def test_what_others_listed_stays_as_it_is(registry: RealRegistry, repository: Repository, image: Descriptor) -> None:
    theirs = make_artifact(image, b"theirs", "application/x-theirs")
    push_artifacts(repository, [theirs])
    entry = {**theirs.descriptor.as_dict(), "annotations": {"who": "they"}, "urls": ["https://they.test/"]}
    index = canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})
    repository.put_manifest(describe(index, INDEX), index, fallback_tag(image.digest))
    attach_sbom(repository, image, SBOM)
    assert entry == listed(registry, repository, image)[0]


def test_a_deleted_referrer_does_not_block_new_ones(
    registry: RealRegistry, repository: Repository, image: Descriptor
) -> None:
    gone = attach_sbom(repository, image, b"{}")
    path = registry.storage / "docker/registry/v2/repositories" / repository.reference.repository
    (path / "_manifests/revisions/sha256" / gone.digest.removeprefix("sha256:") / "link").unlink()
    found = attach_sbom(repository, image, SBOM)
    assert [found.digest] == [entry["digest"] for entry in listed(registry, repository, image)]


def test_a_tag_that_holds_something_else_is_told(repository: Repository, image: Descriptor) -> None:
    _, content = repository.resolve("1")
    repository.put_manifest(image, content, fallback_tag(image.digest))
    with pytest.raises(RegistryError, match="no list of referrers: delete that tag"):
        attach_sbom(repository, image, SBOM)


def test_writers_at_once_all_get_in(registry: RealRegistry, repository: Repository, image: Descriptor) -> None:
    """Each reads the list again after a pause that is long against the time between read and write."""
    documents = [f'{{"number":{number}}}'.encode() for number in range(4)]
    start = threading.Barrier(len(documents))

    def write(document: bytes) -> None:
        start.wait(30)
        attach(repository, image, [sbom_artifact(image, document)], Retry(tries=20))

    threads = [threading.Thread(target=write, args=(document,)) for document in documents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    digests = {sbom_artifact(image, document).descriptor.digest for document in documents}
    assert digests >= {entry["digest"] for entry in listed(registry, repository, image)}
    for document in documents:  # whoever lost against a slower writer is listed at the next run
        attach_sbom(repository, image, document)
    assert digests == {entry["digest"] for entry in listed(registry, repository, image)}


class Busy:
    """A registry where another writer comes after each of our first writes, not having seen them."""

    def __init__(self, others: int) -> None:
        self.reference: Reference = parse_reference("ghcr.io/acme/app")
        self.others = others
        self.index: dict[str, Any] | None = None
        self.pauses: list[float] = []

    def resolve(self, reference_or_digest: str) -> tuple[Descriptor, bytes]:
        if self.index is None:
            raise NotFound("nothing")
        content = canonical(self.index)
        return describe(content, INDEX), content

    def upload(self, descriptor: Descriptor, path: Path, mount_from: str | None = None) -> int:
        return descriptor.size

    def referrers(self, digest: str) -> list[Descriptor]:
        return []

    def put_manifest(self, descriptor: Descriptor, content: bytes, tag: str | None = None) -> bool:
        if tag is not None:
            self.index = json.loads(content)
            if self.others:
                self.others -= 1
                self.index = {"manifests": [{"digest": f"sha256:{self.others}"}]}
        return False


def artifact() -> tuple[Descriptor, Artifact]:
    subject = Descriptor(MANIFEST, "sha256:" + "a" * 64, 2)
    return subject, sbom_artifact(subject, SBOM)


def test_a_list_that_another_writer_overwrote_is_written_again() -> None:
    busy, (subject, ours) = Busy(others=2), artifact()
    attach(busy, subject, [ours], Retry(pause=busy.pauses.append, random=lambda: 1.0))
    assert busy.index is not None
    assert ["sha256:0", ours.descriptor.digest] == [entry["digest"] for entry in busy.index["manifests"]]
    assert [0.05, 0.1, 0.2] == busy.pauses


def test_writers_without_an_end_are_an_error() -> None:
    busy, (subject, ours) = Busy(others=10**9), artifact()
    with pytest.raises(RegistryError, match="changes all the time"):
        attach(busy, subject, [ours], AT_ONCE)


class Listing(Busy):
    """A registry that has the referrers API."""

    def put_manifest(self, descriptor: Descriptor, content: bytes, tag: str | None = None) -> bool:
        assert tag is None
        return True


def test_a_registry_that_lists_referrers_itself_gets_no_tag() -> None:
    listing, (subject, ours) = Listing(others=0), artifact()
    assert [ours.descriptor] == attach(listing, subject, [ours], AT_ONCE)
    assert [] == listing.pauses
