"""An image's bill of materials in CycloneDX 1.6 JSON: the same inputs give the same bytes."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from upon_build.image.oci import canonical
from upon_build.image.packages.metadata import Metadata, named_license, normalized, read_metadata

MEDIA_TYPE = "application/vnd.cyclonedx+json"
SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:upon:sbom:v1")


@dataclass(frozen=True, slots=True)
class Package:
    """A wheel in the image. sha256: of the wheel's file, hexadecimal."""

    name: str
    version: str
    sha256: str
    file: str = ""
    licenses: tuple[Mapping[str, Any], ...] = ()
    requires: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """A model file or directory in the image. sha256: as func.lock has it. license: SPDX or any name."""

    path: str
    sha256: str
    size: int | None = None
    name: str = ""
    license: str = ""
    runtime: str = ""


@dataclass(frozen=True, slots=True)
class Bill:
    """What an image consists of.

    name: the project's; image: its digest; base: reference and digest of the image below; files: path in the image and
    sha256 of the function code; when: Unix seconds that the document bears, or None for no time at all.
    """

    name: str
    image: str
    platform: str
    base: tuple[str, str]
    upon: Package
    packages: Sequence[Package] = ()
    models: Sequence[Model] = ()
    files: Sequence[tuple[str, str]] = ()
    version: str = ""
    when: int | None = None
    properties: Mapping[str, str] = field(default_factory=dict)


def package_of(wheel: Path, sha256: str, *, name: str = "", version: str = "") -> Package:
    """A wheel's entry, with what its METADATA says. sha256: hexadecimal, with or without `sha256:` before it."""
    said: Metadata = read_metadata(wheel)
    return Package(name or said.name, version or said.version, _bare(sha256), wheel.name, said.licenses, said.requires)


def make_sbom(bill: Bill) -> bytes:
    """The document's bytes. Its serial number is a UUID made from all the rest."""
    document = _document(bill)
    serial = uuid.uuid5(NAMESPACE, canonical(document).decode())
    return canonical({**document, "serialNumber": f"urn:uuid:{serial}"})


def purl(name: str, version: str) -> str:
    """A Python package's URL: `pkg:pypi/typing-extensions@4.12.0`."""
    return f"pkg:pypi/{quote(normalized(name), safe='')}@{quote(version, safe='')}"


def oci_purl(reference: str, digest: str) -> str:
    """An image's URL, from its reference without tag: `docker.io/library/python`."""
    repository = _repository(reference)
    name = repository.rpartition("/")[2].lower()
    return f"pkg:oci/{quote(name, safe='')}@{quote(digest, safe='')}?repository_url={quote(repository, safe='/')}"


def _document(bill: Bill) -> dict[str, Any]:
    image, components = _image(bill), _components(bill)
    metadata: dict[str, Any] = {"component": image, "tools": {"components": [_tool(bill.upon)]}}
    if bill.when is not None:
        metadata["timestamp"] = datetime.fromtimestamp(bill.when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata,
        "components": components,
        "dependencies": _dependencies(bill, image["bom-ref"], [each["bom-ref"] for each in components]),
    }


def _image(bill: Bill) -> dict[str, Any]:
    properties = {"dev.upon.platform": bill.platform, **bill.properties}
    return {
        "type": "container",
        "bom-ref": f"image:{bill.image}",
        "name": bill.name,
        "version": bill.version or bill.image,
        "hashes": _hashes(bill.image),
        "properties": _properties(properties),
    }


def _components(bill: Bill) -> list[dict[str, Any]]:
    found = [
        _base(*bill.base),
        _package(bill.upon),
        *map(_package, bill.packages),
        *map(_model, bill.models),
        *(_file(path, sha256) for path, sha256 in bill.files),
    ]
    unique = {component["bom-ref"]: component for component in found}
    return [unique[ref] for ref in sorted(unique)]


def _tool(upon: Package) -> dict[str, Any]:
    return {"type": "application", "name": "upon", "version": upon.version}


def _base(reference: str, digest: str) -> dict[str, Any]:
    return {
        "type": "container",
        "bom-ref": f"base:{digest}",
        "name": reference,
        "version": digest,
        "purl": oci_purl(reference, digest),
        "hashes": _hashes(digest),
    }


def _package(package: Package) -> dict[str, Any]:
    said: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl(package.name, package.version),
        "name": normalized(package.name),
        "version": package.version,
        "purl": purl(package.name, package.version),
        "hashes": _hashes(package.sha256),
    }
    if package.licenses:
        said["licenses"] = [dict(each) for each in package.licenses]
    if package.file:
        said["properties"] = _properties({"dev.upon.wheel": package.file})
    return said


def _model(model: Model) -> dict[str, Any]:
    said: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{model.path}",
        "name": model.name or model.path,
        "version": _bare(model.sha256),
        "hashes": _hashes(model.sha256),
    }
    if model.license:
        said["licenses"] = [named_license(model.license)]
    size = "" if model.size is None else str(model.size)
    said["properties"] = _properties(
        {"dev.upon.path": model.path, "dev.upon.size": size, "dev.upon.runtime": model.runtime}
    )
    return said


def _file(path: str, sha256: str) -> dict[str, Any]:
    return {"type": "file", "bom-ref": f"file:{path}", "name": path, "hashes": _hashes(sha256)}


def _dependencies(bill: Bill, image: str, refs: Sequence[str]) -> list[dict[str, Any]]:
    """What needs what, as far as the wheels say; the image needs whatever nothing else in it needs."""
    known = [bill.upon, *bill.packages]
    by_name = {normalized(package.name): purl(package.name, package.version) for package in known}
    needs: dict[str, set[str]] = {ref: set() for ref in refs}
    for package in known:
        own = purl(package.name, package.version)
        needs[own] |= {by_name[name] for name in package.requires if name in by_name} - {own}
    inner = set().union(*needs.values())
    upon = purl(bill.upon.name, bill.upon.version)
    tops = [ref for ref in refs if ref not in inner or ref == upon]
    return [{"ref": image, "dependsOn": tops}, *({"ref": ref, "dependsOn": sorted(needs[ref])} for ref in refs)]


def _hashes(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": _bare(digest)}]


def _properties(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": values[name]} for name in sorted(values) if values[name]]


def _repository(reference: str) -> str:
    """`ghcr.io/acme/base:1@sha256:…` -> `ghcr.io/acme/base`."""
    bare = reference.partition("@")[0]
    head, slash, last = bare.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _bare(digest: str) -> str:
    return digest.removeprefix("sha256:")
