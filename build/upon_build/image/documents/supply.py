"""What goes beside a pushed image: its bill of materials, its provenance, and a signature."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from upon_build.image.assembly.assemble import kind_of
from upon_build.image.assembly.inspect import opened
from upon_build.image.documents.attach import Artifact, attach, provenance_artifact, sbom_artifact
from upon_build.image.documents.provenance import Origin, make_provenance
from upon_build.image.documents.sbom import Bill, Model, Package, make_sbom, package_of
from upon_build.image.oci import Image, Layer, digest_of
from upon_build.image.plan import Built, Part
from upon_build.project.problems import fail

if TYPE_CHECKING:
    from upon_build.image.documents.cosign import Readable
    from upon_build.image.documents.keys import SigningKey
    from upon_build.image.store import Store
    from upon_build.lock.wheels import Wheel


def attach_documents(
    built: Built, repository: Readable, store: Store, *, sbom: bool, provenance: bool, key: SigningKey | None = None
) -> None:
    """Attach the documents to each platform's image, which is in the repository. Raises RegistryError.

    key: signs them too, so that nobody else's can stand in for them.
    """
    for image, part in zip(built.images, built.parts, strict=True):
        artifacts = documents(built, image, part, repository.reference.name, store, sbom=sbom, provenance=provenance)
        if artifacts:
            attach(repository, image.descriptor, artifacts)
        if key is not None:
            _attest(artifacts, repository, image.descriptor.digest, key)


def _attest(artifacts: Sequence[Artifact], repository: Readable, digest: str, key: SigningKey) -> None:
    from upon_build.image.documents.signing import attest_image, statement_of

    for artifact in artifacts:
        attest_image(repository, digest, statement_of(artifact, repository.reference.name, digest), key)


def documents(
    built: Built, image: Image, part: Part, repository: str, store: Store, *, sbom: bool, provenance: bool
) -> list[Artifact]:
    """The documents of one image as artifacts. repository: `ghcr.io/acme/reviews`."""
    packages = [_package(wheel, store) for wheel in part.wheels if wheel.name != "upon"]
    upon = _package(_upon(part), store)
    found = []
    if sbom:
        found.append(
            sbom_artifact(
                image.descriptor, make_sbom(_bill(built, image, part, upon, packages, code_files(image, store)))
            )
        )
    if provenance:
        statement = make_provenance(_origin(built, image, part, repository, upon, packages))
        found.append(provenance_artifact(image.descriptor, statement))
    return found


def _bill(
    built: Built,
    image: Image,
    part: Part,
    upon: Package,
    packages: Sequence[Package],
    files: Sequence[tuple[str, str]],
) -> Bill:
    facts = built.facts
    return Bill(
        name=built.service,
        image=image.descriptor.digest,
        platform=part.platform,
        base=(part.base.name, part.base.digest),
        upon=upon,
        packages=packages,
        models=_models(built),
        files=files,
        version=facts.version,
        when=facts.epoch or None,
    )


def _origin(
    built: Built, image: Image, part: Part, repository: str, upon: Package, packages: Sequence[Package]
) -> Origin:
    revision = built.facts.revision
    return Origin(
        repository=repository,
        image=image.descriptor.digest,
        project=built.service,
        platform=part.platform,
        python=part.interpreter.version,
        base=(part.base.name, part.base.digest),
        upon=upon,
        packages=packages,
        models=_models(built),
        lock=digest_of(built.lock.to_bytes()),
        source=revision.source,
        revision=revision.commit,
        parameters=built.parameters,
    )


def _models(built: Built) -> list[Model]:
    return [
        Model(
            path=model["path"],
            sha256=model["sha256"],
            size=model["size"],
            name=model["name"],
            license=model.get("license", ""),
        )
        for model in built.facts.models
    ]


def code_files(image: Image, store: Store) -> list[tuple[str, str]]:
    """(path in the image, SHA-256) of the function code, read from its layer: that is what the image has."""
    found: list[tuple[str, str]] = []
    for layer in image.layers:
        if kind_of(layer) == "code":
            found += _files(layer, store)
    return found


def _files(layer: Layer, store: Store) -> list[tuple[str, str]]:
    key = f"upon.files/v1 {layer.diff_id}"
    known = store.recall(key)
    if known is None:
        known = {"files": list(_hashed(layer, store))}
        store.remember(key, known)
    return [(path, sha256) for path, sha256 in known["files"]]


def _hashed(layer: Layer, store: Store) -> Iterator[tuple[str, str]]:
    blob = store.find(layer.descriptor.digest)
    if blob is None:
        raise fail("the layer cache", f"the blob of {layer.title!r} is gone", "run the command again")
    with opened(blob) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name, hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]


def _upon(part: Part) -> Wheel:
    return part.own or next(wheel for wheel in part.wheels if wheel.name == "upon")


def _package(wheel: Wheel, store: Store) -> Package:
    """A wheel's entry, remembered: to open dozens of zips takes longer than all the rest."""
    key = f"upon.sbom.package/v1 {wheel.path.name} {wheel.sha256}"
    known = store.recall(key)
    if known is not None:
        return Package(**{**known, "licenses": tuple(known["licenses"]), "requires": tuple(known["requires"])})
    found = package_of(wheel.path, wheel.sha256, name=wheel.name, version=wheel.version)
    store.remember(key, asdict(found))
    return found
