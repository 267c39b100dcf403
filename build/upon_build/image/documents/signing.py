"""Signatures as `cosign sign --key` makes them: whoever has the public key can verify an image with cosign."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upon_build.image.documents.attach import Artifact, Retry, Target, fallback_tag
from upon_build.image.documents.cosign import Entry, Readable, append, read_content, read_entries
from upon_build.image.documents.dsse import ENVELOPE, IN_TOTO, make_statement, opened, predicate_type_of, seal
from upon_build.image.documents.keys import SigningKey, VerifyingKey, read_signing_key
from upon_build.image.oci import Descriptor, canonical, describe, digest_of

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
CYCLONEDX = "https://cyclonedx.org/bom"
SIGNATURE = "dev.cosignproject.cosign/signature"
KIND = "cosign container image signature"


@dataclass(frozen=True, slots=True)
class Signed:
    """tag: where the signature lies; added: False where this key had signed before; warning: about the key's file."""

    tag: str
    added: bool
    warning: str = ""


def sign_image(repository: Target, digest: str, key: Path | SigningKey, retry: Retry | None = None) -> Signed:
    """Sign a manifest or index that is in the repository. Signatures of others stay.

    Raises ProjectError for a key that can't be used, RegistryError.
    """
    key = read_signing_key(key) if isinstance(key, Path) else key
    payload = make_payload(repository.reference.name, digest)
    signature = base64.b64encode(key.sign(payload)).decode()
    fresh = Entry(describe(payload, PAYLOAD, annotations={SIGNATURE: signature}), payload)
    tag = fallback_tag(digest, ".sig")
    public = key.public

    def signed_by_us(entry: Entry) -> bool:
        return entry.descriptor.digest == fresh.descriptor.digest and _fits(entry.descriptor, payload, public)

    return Signed(tag, append(repository, tag, fresh, signed_by_us, retry), key.warning)


def verify_image(repository: Readable, digest: str, key: Path | VerifyingKey) -> list[dict[str, Any]]:
    """The payloads that this key signed for this digest; none is none."""
    from upon_build.image.documents.keys import read_verifying_key

    public = read_verifying_key(key) if isinstance(key, Path) else key
    found = []
    for entry in read_entries(repository, fallback_tag(digest, ".sig")):
        if entry.descriptor.media_type != PAYLOAD:
            continue
        payload = read_content(repository, entry)
        if _fits(entry.descriptor, payload, public) and _signed_digest(payload) == digest:
            found.append(json.loads(payload))
    return found


def attest_image(
    repository: Readable, digest: str, statement: bytes, key: Path | SigningKey, retry: Retry | None = None
) -> Signed:
    """Sign an in-toto statement about the image, where `cosign verify-attestation --key` looks for it."""
    key = read_signing_key(key) if isinstance(key, Path) else key
    envelope = seal(statement, key)
    annotations = {SIGNATURE: "", "predicateType": predicate_type_of(statement)}
    fresh = Entry(describe(envelope, ENVELOPE, annotations=annotations), envelope)
    tag = fallback_tag(digest, ".att")
    public = key.public

    def says_the_same(entry: Entry) -> bool:
        if entry.descriptor.annotations.get("predicateType") != annotations["predicateType"]:
            return False
        return opened(read_content(repository, entry), public) == statement

    return Signed(tag, append(repository, tag, fresh, says_the_same, retry), key.warning)


def statement_of(artifact: Artifact, name: str, digest: str) -> bytes:
    """What an artifact says of an image, as an in-toto statement. name: registry and repository."""
    if artifact.descriptor.artifact_type == IN_TOTO:
        return artifact.document
    return make_statement(name, digest, CYCLONEDX, json.loads(artifact.document))


def verify_attestations(repository: Readable, digest: str, key: Path | VerifyingKey) -> list[dict[str, Any]]:
    """The statements that this key signed for this digest."""
    from upon_build.image.documents.keys import read_verifying_key

    public = read_verifying_key(key) if isinstance(key, Path) else key
    entries = read_entries(repository, fallback_tag(digest, ".att"))
    sealed = [read_content(repository, entry) for entry in entries if entry.descriptor.media_type == ENVELOPE]
    statements = [json.loads(found) for found in (opened(each, public) for each in sealed) if found is not None]
    return [each for each in statements if _is_about(each, digest)]


def make_payload(name: str, digest: str) -> bytes:
    """What is signed. name: registry and repository, such as `ghcr.io/acme/reviews`."""
    identity = {"docker-reference": name}
    critical = {"identity": identity, "image": {"docker-manifest-digest": digest}, "type": KIND}
    return canonical({"critical": critical, "optional": None})


def _fits(descriptor: Descriptor, payload: bytes, key: VerifyingKey) -> bool:
    try:
        signature = base64.b64decode(descriptor.annotations.get(SIGNATURE, ""), validate=True)
    except ValueError:
        return False
    return digest_of(payload) == descriptor.digest and key.verifies(signature, payload)


def _signed_digest(payload: bytes) -> str:
    try:
        return str(json.loads(payload)["critical"]["image"]["docker-manifest-digest"])
    except (ValueError, LookupError, TypeError):
        return ""


def _is_about(statement: Any, digest: str) -> bool:
    subjects = statement.get("subject") if isinstance(statement, dict) else None
    names = [each.get("digest", {}).get("sha256") for each in subjects or [] if isinstance(each, dict)]
    return digest.removeprefix("sha256:") in names
