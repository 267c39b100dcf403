"""Documents beside an image: artifacts of OCI 1.1 that name it as their subject, found again as its referrers.

A registry without the referrers API would keep them where nobody finds them: there, the index under the tag
`sha256-<hex>` lists them, which whoever attaches something keeps up to date. Registries know no conditional write, so
what was written is read again after a moment, and written again where a writer that had not seen it came after.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from upon_build.image.documents.dsse import IN_TOTO, predicate_type_of
from upon_build.image.documents.sbom import MEDIA_TYPE as SBOM
from upon_build.image.oci import EMPTY, INDEX, MANIFEST, Descriptor, canonical, describe
from upon_build.registry.errors import NotFound, RegistryError
from upon_build.registry.reference import Reference

AT_ONCE = 4  # requests
TRIES = 6
LONGEST_PAUSE = 2.0  # seconds
MAX_REFERRERS = 1000  # entries of an index that is kept
NOTHING = b"{}"
TITLE = "org.opencontainers.image.title"


class Target(Protocol):
    """What attaching needs of a repository."""

    @property
    def reference(self) -> Reference: ...
    def resolve(self, reference_or_digest: str) -> tuple[Descriptor, bytes]: ...
    def upload(self, descriptor: Descriptor, path: Path, mount_from: str | None = None) -> int: ...
    def put_manifest(self, descriptor: Descriptor, content: bytes, tag: str | None = None) -> bool: ...
    def referrers(self, digest: str) -> list[Descriptor]: ...


@dataclass(frozen=True, slots=True)
class Artifact:
    """A manifest and what it consists of. descriptor: as a list of referrers shows it; blobs: config and layers."""

    descriptor: Descriptor
    content: bytes
    blobs: tuple[tuple[Descriptor, bytes], ...] = field(repr=False)

    @property
    def document(self) -> bytes:
        """What it is about."""
        return self.blobs[-1][1]


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and when a list that somebody else changed is written again. pause: takes seconds."""

    tries: int = TRIES
    pause: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random

    def wait(self, attempt: int) -> None:
        """Full jitter: two writers that met do not meet again."""
        self.pause(self.random() * min(LONGEST_PAUSE, 0.05 * 2**attempt))


def make_artifact(
    subject: Descriptor,
    document: bytes,
    media_type: str,
    *,
    artifact_type: str = "",
    title: str = "",
    annotations: Mapping[str, str] = {},
) -> Artifact:
    """One document about the subject. artifact_type: the document's media type where it is not given."""
    layer = describe(document, media_type, annotations={TITLE: title} if title else {})
    config = describe(NOTHING, EMPTY)
    value: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": artifact_type or media_type,
        "config": config.as_dict(),
        "layers": [layer.as_dict()],
        "subject": {"mediaType": subject.media_type, "digest": subject.digest, "size": subject.size},
    }
    if annotations:
        value["annotations"] = dict(annotations)
    content = canonical(value)
    described = describe(content, MANIFEST, artifact_type=value["artifactType"], annotations=dict(annotations))
    return Artifact(described, content, ((config, NOTHING), (layer, document)))


def sbom_artifact(subject: Descriptor, sbom: bytes) -> Artifact:
    return make_artifact(subject, sbom, SBOM, title="sbom.cdx.json")


def provenance_artifact(subject: Descriptor, statement: bytes) -> Artifact:
    predicate = {"in-toto.io/predicate-type": predicate_type_of(statement)}
    return make_artifact(subject, statement, IN_TOTO, title="provenance.intoto.json", annotations=predicate)


def attach_sbom(repository: Target, image: Descriptor, sbom: bytes) -> Descriptor:
    """Put an SBOM beside an image that is in the repository. Raises RegistryError."""
    return attach(repository, image, [sbom_artifact(image, sbom)])[0]


def attach_provenance(repository: Target, image: Descriptor, statement: bytes) -> Descriptor:
    """Put an in-toto statement beside an image that is in the repository. Raises RegistryError."""
    return attach(repository, image, [provenance_artifact(image, statement)])[0]


def attach(
    repository: Target, subject: Descriptor, artifacts: Sequence[Artifact], retry: Retry | None = None
) -> list[Descriptor]:
    """Push artifacts and make them the subject's referrers. What is there already is not pushed again.

    Raises RegistryError where the registry refuses, or where other writers take no end.
    """
    there = {descriptor.digest for descriptor in repository.referrers(subject.digest)}
    missing = [artifact for artifact in artifacts if artifact.descriptor.digest not in there]
    listed = push_artifacts(repository, missing)
    unlisted = [artifact for artifact, there_now in zip(missing, listed, strict=True) if not there_now]
    if unlisted:
        _list_by_tag(repository, subject.digest, unlisted, retry or Retry())
    return [artifact.descriptor for artifact in artifacts]


def push_artifacts(repository: Target, artifacts: Sequence[Artifact]) -> list[bool]:
    """Blobs first, then the manifests; for each, whether the registry lists it with its subject by itself."""
    blobs = {
        descriptor.digest: (descriptor, content) for artifact in artifacts for descriptor, content in artifact.blobs
    }
    with ThreadPoolExecutor(AT_ONCE, "upon-attach") as pool:
        list(pool.map(lambda blob: put_blob(repository, *blob), blobs.values()))
        return list(pool.map(lambda one: repository.put_manifest(one.descriptor, one.content, None), artifacts))


def put_blob(repository: Target, descriptor: Descriptor, content: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="upon-") as folder:
        path = Path(folder, "blob")
        path.write_bytes(content)
        repository.upload(descriptor, path, None)


def fallback_tag(digest: str, suffix: str = "") -> str:
    """`sha256-<hex>` of OCI's fallback, or with cosign's suffix `.sig` or `.att`."""
    return digest.replace(":", "-") + suffix


def _list_by_tag(repository: Target, digest: str, artifacts: Sequence[Artifact], retry: Retry) -> None:
    tag = fallback_tag(digest)
    for attempt in range(retry.tries + 1):
        entries = _entries(repository, tag)
        there = {entry.get("digest") for entry in entries}
        more = [artifact.descriptor.as_dict() for artifact in artifacts if artifact.descriptor.digest not in there]
        if not more:
            return
        if attempt < retry.tries:
            _write(repository, tag, [*entries, *more])
            retry.wait(attempt)
    raise RegistryError(f"the tag {tag!r} of {repository.reference.name} changes all the time: run it again later")


def _entries(repository: Target, tag: str) -> list[dict[str, Any]]:
    """What the index under the tag lists; nothing where there is none."""
    try:
        _, content = repository.resolve(tag)
    except NotFound:
        return []
    try:
        entries = json.loads(content)["manifests"]
        if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
            return entries
    except (ValueError, LookupError, TypeError):
        pass
    name = repository.reference.name
    raise RegistryError(f"{name}:{tag} is no list of referrers: delete that tag, or push to another repository")


def _write(repository: Target, tag: str, entries: Sequence[dict[str, Any]]) -> None:
    try:
        _put_index(repository, tag, entries)
    except RegistryError as error:
        if error.status != 400:
            raise
        # The registry refuses an index that names what was deleted since.
        _put_index(repository, tag, [entry for entry in entries if _is_there(repository, str(entry.get("digest")))])


def _put_index(repository: Target, tag: str, entries: Sequence[dict[str, Any]]) -> None:
    unique = list({str(entry.get("digest")): entry for entry in entries}.values())[-MAX_REFERRERS:]
    content = canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": unique})
    repository.put_manifest(describe(content, INDEX), content, tag)


def _is_there(repository: Target, digest: str) -> bool:
    try:
        repository.resolve(digest)
    except NotFound:
        return False
    return True
