"""Where an image comes from: SLSA provenance v1 in an in-toto statement, the same for the same inputs.

It holds no time and no number of the run: two builds of one image say the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from upon_build.image.documents.dsse import make_statement
from upon_build.image.documents.sbom import Model, Package, oci_purl, purl

PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:upon:func-build:v1"  # what its parameters mean: docs/how-to/verify-an-image.md
BUILDER = "urn:upon:func"


@dataclass(frozen=True, slots=True)
class Origin:
    """What an image was made of.

    repository: `ghcr.io/acme/reviews`; image: the digest of its manifest; base: reference and digest;
    upon: Upon's own wheel; source, revision: the repository's address and commit, where they are known;
    lock: sha256 of func.lock; parameters: more settings of the build, such as `{"bytecode": True}`.
    """

    repository: str
    image: str
    project: str
    platform: str
    python: str
    base: tuple[str, str]
    upon: Package
    packages: Sequence[Package] = ()
    models: Sequence[Model] = ()
    lock: str = ""
    source: str = ""
    revision: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)


def make_provenance(origin: Origin) -> bytes:
    """The statement's bytes."""
    own = {"project": origin.project, "platform": origin.platform, "python": origin.python, "base": origin.base[0]}
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": {**origin.parameters, **own},
        "resolvedDependencies": list(_dependencies(origin)),
    }
    details = {"builder": {"id": BUILDER, "version": {"upon": origin.upon.version}}}
    predicate = {"buildDefinition": definition, "runDetails": details}
    return make_statement(origin.repository, origin.image, PREDICATE, predicate)


def without_credentials(address: str) -> str:
    """An address as it may be told: no user, password, query or fragment. `git@host:path` becomes an ssh address."""
    short = re.fullmatch(r"(?:[^@/]+@)?([^:/@]+):(?!//)(.+)", address)
    if short is not None:
        return f"ssh://{short[1]}/{short[2].lstrip('/')}"
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _dependencies(origin: Origin) -> Iterable[dict[str, Any]]:
    reference, digest = origin.base
    yield {"name": reference, "uri": oci_purl(reference, digest), "digest": _sha256(digest)}
    if origin.lock:
        yield {"name": "func.lock", "digest": _sha256(origin.lock)}
    if origin.revision:
        yield _source(origin.source, origin.revision)
    for package in sorted((origin.upon, *origin.packages), key=lambda each: (each.name, each.version, each.file)):
        name = package.file or package.name
        yield {"name": name, "uri": purl(package.name, package.version), "digest": _sha256(package.sha256)}
    for model in sorted(origin.models, key=lambda each: each.path):
        yield {"name": model.path, "digest": _sha256(model.sha256)}


def _source(address: str, revision: str) -> dict[str, Any]:
    said: dict[str, Any] = {"name": "source", "digest": {"gitCommit": revision}}
    return {**said, "uri": f"git+{without_credentials(address)}"} if address else said


def _sha256(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}
