from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from upon_build.image.documents.provenance import Origin, make_provenance, without_credentials
from upon_build.image.documents.sbom import Model, Package

SHA = {letter: letter * 64 for letter in "abcdef0"}
ORIGIN = Origin(
    repository="ghcr.io/acme/reviews",
    image=f"sha256:{SHA['a']}",
    project="reviews",
    platform="linux/amd64",
    python="3.12",
    base=("docker.io/library/python:3.12-slim", f"sha256:{SHA['b']}"),
    upon=Package("upon", "0.1.0", SHA["c"], "upon-0.1.0-py3-none-any.whl", ({"license": {"id": "MIT"}},)),
    packages=(Package("numpy", "2.1.0", SHA["d"], "numpy-2.1.0-cp312.whl"),),
    models=(Model("models/iris.onnx", SHA["e"]),),
    lock=f"sha256:{SHA['f']}",
    source="https://ann:hunter2@git.test/acme/reviews.git?token=hunter2",
    revision="0123abcd",
    parameters={"bytecode": True},
)


@pytest.fixture
def statement() -> dict[str, Any]:
    return dict(json.loads(make_provenance(ORIGIN)))


def test_it_is_an_in_toto_statement_with_slsa_provenance(statement: dict[str, Any]) -> None:
    assert "https://in-toto.io/Statement/v1" == statement["_type"]
    assert "https://slsa.dev/provenance/v1" == statement["predicateType"]
    assert [{"name": "ghcr.io/acme/reviews", "digest": {"sha256": SHA["a"]}}] == statement["subject"]


def test_it_says_how_it_was_built(statement: dict[str, Any]) -> None:
    definition = statement["predicate"]["buildDefinition"]
    assert "urn:upon:func-build:v1" == definition["buildType"]
    assert {
        "project": "reviews",
        "platform": "linux/amd64",
        "python": "3.12",
        "base": "docker.io/library/python:3.12-slim",
        "bytecode": True,
    } == definition["externalParameters"]
    builder = {"id": "urn:upon:func", "version": {"upon": "0.1.0"}}
    assert {"builder": builder} == statement["predicate"]["runDetails"]


def test_it_names_every_input_with_its_digest(statement: dict[str, Any]) -> None:
    found = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert [
        ("docker.io/library/python:3.12-slim", {"sha256": SHA["b"]}),
        ("func.lock", {"sha256": SHA["f"]}),
        ("source", {"gitCommit": "0123abcd"}),
        ("numpy-2.1.0-cp312.whl", {"sha256": SHA["d"]}),
        ("upon-0.1.0-py3-none-any.whl", {"sha256": SHA["c"]}),
        ("models/iris.onnx", {"sha256": SHA["e"]}),
    ] == [(each["name"], each["digest"]) for each in found]
    assert "pkg:pypi/numpy@2.1.0" == found[3]["uri"]
    assert "git+https://git.test/acme/reviews.git" == found[2]["uri"]


def test_the_sources_password_is_left_out() -> None:
    assert b"hunter2" not in make_provenance(ORIGIN)


def test_what_is_not_known_is_not_there() -> None:
    found = json.loads(make_provenance(replace(ORIGIN, lock="", revision="", models=(), packages=())))
    names = [each["name"] for each in found["predicate"]["buildDefinition"]["resolvedDependencies"]]
    assert ["docker.io/library/python:3.12-slim", "upon-0.1.0-py3-none-any.whl"] == names


def test_the_bytes_depend_on_the_inputs_alone() -> None:
    more = (*ORIGIN.packages, Package("click", "8", SHA["0"], "click.whl"))
    assert make_provenance(replace(ORIGIN, packages=more)) == make_provenance(replace(ORIGIN, packages=more[::-1]))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://git.test/a/b.git", "https://git.test/a/b.git"),
        ("https://token@git.test:8443/a/b.git#x", "https://git.test:8443/a/b.git"),
        ("git@git.test:a/b.git", "ssh://git.test/a/b.git"),
        ("ssh://ann:secret@git.test/a/b.git", "ssh://git.test/a/b.git"),
    ],
)
def test_an_address_that_may_be_told(address: str, expected: str) -> None:
    assert expected == without_credentials(address)
