from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from support.artifacts import pushed
from support.registry import RealRegistry
from upon_build.image.documents.attach import Retry, fallback_tag, provenance_artifact, sbom_artifact
from upon_build.image.documents.dsse import make_statement, opened, seal
from upon_build.image.documents.keys import SigningKey
from upon_build.image.documents.signing import (
    PAYLOAD,
    SIGNATURE,
    attest_image,
    make_payload,
    sign_image,
    statement_of,
    verify_attestations,
    verify_image,
)
from upon_build.image.oci import MANIFEST, Descriptor, canonical, describe
from upon_build.registry.client import Repository
from upon_build.registry.credentials import Credentials
from upon_build.registry.errors import RegistryError
from upon_build.registry.reference import parse_reference

PREDICATE = "https://slsa.dev/provenance/v1"
KINDS = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


@pytest.fixture
def key() -> SigningKey:
    return SigningKey(KINDS["P-256"]())


@pytest.fixture
def repository(registry: RealRegistry) -> Iterator[Repository]:
    reference = parse_reference(registry.repository(f"signed/{uuid4().hex}"))
    with Repository(reference, credentials=Credentials({})) as opened:
        yield opened


@pytest.fixture
def image(repository: Repository) -> Descriptor:
    return pushed(repository)


def layers(registry: RealRegistry, repository: Repository, tag: str) -> list[dict[str, Any]]:
    """As another client sees them; the configuration fits them."""
    name = repository.reference.repository
    manifest = json.loads(registry.get(f"/v2/{name}/manifests/{tag}", Accept=MANIFEST))
    config = json.loads(registry.get(f"/v2/{name}/blobs/{manifest['config']['digest']}"))
    found: list[dict[str, Any]] = manifest["layers"]
    assert [layer["digest"] for layer in found] == config["rootfs"]["diff_ids"]
    return found


def test_the_payload_is_cosigns() -> None:
    said = json.loads(make_payload("ghcr.io/acme/reviews", "sha256:abc"))
    identity, image = {"docker-reference": "ghcr.io/acme/reviews"}, {"docker-manifest-digest": "sha256:abc"}
    critical = {"identity": identity, "image": image, "type": "cosign container image signature"}
    assert {"critical": critical, "optional": None} == said


def test_a_signature_lies_where_cosign_looks_and_openssl_verifies_it(
    registry: RealRegistry, repository: Repository, image: Descriptor, key: SigningKey, tmp_path: Path
) -> None:
    signed = sign_image(repository, image.digest, key)
    assert (f"sha256-{image.digest[7:]}.sig", True, "") == (signed.tag, signed.added, signed.warning)
    (layer,) = layers(registry, repository, signed.tag)
    assert "application/vnd.dev.cosign.simplesigning.v1+json" == layer["mediaType"] == PAYLOAD
    payload = registry.get(f"/v2/{repository.reference.repository}/blobs/{layer['digest']}")
    assert make_payload(repository.reference.name, image.digest) == payload
    signature = base64.b64decode(layer["annotations"][SIGNATURE])
    for name, content in (("pub", key.public.pem()), ("sig", signature), ("text", payload)):
        (tmp_path / name).write_bytes(content)
    command = ["openssl", "dgst", "-sha256", "-verify", "pub", "-signature", "sig", "text"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (0, "Verified OK\n") == (done.returncode, done.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_who_has_the_public_key_can_verify(kind: str, repository: Repository, image: Descriptor) -> None:
    ours, other = SigningKey(KINDS[kind]()), SigningKey(KINDS[kind]())
    assert [] == verify_image(repository, image.digest, ours.public)
    sign_image(repository, image.digest, ours)
    (payload,) = verify_image(repository, image.digest, ours.public)
    assert image.digest == payload["critical"]["image"]["docker-manifest-digest"]
    assert [] == verify_image(repository, image.digest, other.public)


def test_one_key_signs_once_and_the_signatures_of_others_stay(
    registry: RealRegistry, repository: Repository, image: Descriptor, key: SigningKey
) -> None:
    other = SigningKey(KINDS["RSA"]())
    assert sign_image(repository, image.digest, other).added
    first = layers(registry, repository, fallback_tag(image.digest, ".sig"))
    assert sign_image(repository, image.digest, key).added
    before = registry.mark()
    assert not sign_image(repository, image.digest, key).added
    assert {"GET"} == {request.method for request in registry.requests(before)}
    found = layers(registry, repository, fallback_tag(image.digest, ".sig"))
    assert (first, 2) == (found[:1], len(found))
    assert verify_image(repository, image.digest, other.public)
    assert verify_image(repository, image.digest, key.public)


def test_a_signature_of_another_image_counts_for_nothing(
    repository: Repository, image: Descriptor, key: SigningKey
) -> None:
    """Somebody copied the whole tag of a signed image to an unsigned one."""
    signed = sign_image(repository, image.digest, key)
    copied, content = repository.resolve(signed.tag)
    unsigned = "sha256:" + "0" * 64
    repository.put_manifest(copied, content, fallback_tag(unsigned, ".sig"))
    assert [] == verify_image(repository, unsigned, key.public)


def test_a_tag_without_signatures_is_told(repository: Repository, image: Descriptor, key: SigningKey) -> None:
    index = canonical({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []})
    described = describe(index, "application/vnd.oci.image.index.v1+json")
    repository.put_manifest(described, index, fallback_tag(image.digest, ".sig"))
    with pytest.raises(RegistryError, match="holds no signatures: delete that tag"):
        sign_image(repository, image.digest, key)


def test_a_signature_that_another_writer_overwrote_is_written_again(
    repository: Repository, image: Descriptor, key: SigningKey
) -> None:
    other = SigningKey(KINDS["P-256"]())
    tag = fallback_tag(image.digest, ".sig")
    sign_image(repository, image.digest, other)
    theirs, content = repository.resolve(tag)
    pauses: list[float] = []

    def overwrite(seconds: float) -> None:
        if not pauses:
            repository.put_manifest(theirs, content, tag)
        pauses.append(seconds)

    assert sign_image(repository, image.digest, key, Retry(pause=overwrite)).added
    assert 2 == len(pauses)
    assert verify_image(repository, image.digest, key.public)
    assert verify_image(repository, image.digest, other.public)


def test_an_attestation_lies_where_cosign_looks(
    registry: RealRegistry, repository: Repository, image: Descriptor, key: SigningKey
) -> None:
    statement = make_statement(repository.reference.name, image.digest, PREDICATE, {"a": 1})
    signed = attest_image(repository, image.digest, statement, key)
    assert f"sha256-{image.digest[7:]}.att" == signed.tag
    (layer,) = layers(registry, repository, signed.tag)
    assert "application/vnd.dsse.envelope.v1+json" == layer["mediaType"]
    assert {SIGNATURE: "", "predicateType": PREDICATE} == layer["annotations"]
    assert [json.loads(statement)] == verify_attestations(repository, image.digest, key.public)
    assert [] == verify_attestations(repository, image.digest, SigningKey(KINDS["P-256"]()).public)


def test_a_statement_is_attested_once(repository: Repository, image: Descriptor, key: SigningKey) -> None:
    one, two = (make_statement(repository.reference.name, image.digest, PREDICATE, {"a": n}) for n in (1, 2))
    assert attest_image(repository, image.digest, one, key).added
    assert attest_image(repository, image.digest, two, key).added
    assert not attest_image(repository, image.digest, one, key).added
    assert 2 == len(verify_attestations(repository, image.digest, key.public))


def test_a_statement_about_another_image_counts_for_nothing(
    repository: Repository, image: Descriptor, key: SigningKey
) -> None:
    statement = make_statement(repository.reference.name, "sha256:" + "0" * 64, PREDICATE, {})
    attest_image(repository, image.digest, statement, key)
    assert [] == verify_attestations(repository, image.digest, key.public)


def test_what_is_attached_can_be_attested(repository: Repository, image: Descriptor, key: SigningKey) -> None:
    name, digest = repository.reference.name, image.digest
    provenance = make_statement(name, digest, PREDICATE, {"a": 1})
    for artifact in (sbom_artifact(image, b'{"bomFormat":"CycloneDX"}'), provenance_artifact(image, provenance)):
        attest_image(repository, digest, statement_of(artifact, name, digest), key)
    first, second = verify_attestations(repository, digest, key.public)
    assert ("https://cyclonedx.org/bom", {"bomFormat": "CycloneDX"}) == (first["predicateType"], first["predicate"])
    assert json.loads(provenance) == second


def test_an_envelope_opens_for_its_key_alone(key: SigningKey) -> None:
    envelope = seal(b'{"predicateType":"x"}', key)
    assert b'{"predicateType":"x"}' == opened(envelope, key.public)
    assert opened(envelope, SigningKey(KINDS["P-256"]()).public) is None
    said = json.loads(envelope)
    assert opened(canonical({**said, "payload": base64.b64encode(b"{}").decode()}), key.public) is None
    assert opened(canonical({**said, "payloadType": "text/plain"}), key.public) is None
    for broken in (b"", b"[]", b"{}", canonical({**said, "payload": "?"}), canonical({**said, "signatures": 1})):
        assert opened(broken, key.public) is None
