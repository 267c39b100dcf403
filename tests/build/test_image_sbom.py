from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from upon_build.image.documents.sbom import Bill, Model, Package, make_sbom, oci_purl, purl
from upon_build.image.packages.metadata import IDS, NAMES

SHA = {letter: letter * 64 for letter in "abcdef0123"}
MIT = ({"license": {"id": "MIT"}},)
BILL = Bill(
    name="reviews",
    image=f"sha256:{SHA['a']}",
    platform="linux/amd64",
    base=("docker.io/library/python:3.12-slim", f"sha256:{SHA['b']}"),
    upon=Package("upon", "0.1.0", SHA["c"], "upon-0.1.0-py3-none-any.whl", MIT, ("click", "orjson")),
    packages=(
        Package("onnxruntime", "1.22.0", SHA["d"], "onnxruntime.whl", ({"expression": "MIT"},), ("numpy", "sympy")),
        Package("numpy", "2.1.0+cu12", SHA["e"], "numpy.whl", ({"license": {"name": "BSD License"}},)),
        Package("click", "8.2.0", SHA["f"], "click.whl"),
    ),
    models=(Model("models/iris.onnx", SHA["0"], 1234, "iris", "Apache-2.0", "onnx"), Model("models/t5", SHA["1"])),
    files=(("app/reviews.py", SHA["2"]), ("app/func.yaml", SHA["3"])),
)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return dict(json.loads(make_sbom(BILL)))


@pytest.mark.parametrize("bill", [BILL, replace(BILL, packages=(), models=(), files=(), when=1700000000, version="2")])
def test_it_is_cyclonedx_by_the_official_schema(bill: Bill) -> None:
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(make_sbom(bill).decode())
    assert error is None, getattr(error, "data", error)


def test_a_document_that_breaks_the_schema_is_noticed() -> None:
    broken = replace(BILL, models=(replace(BILL.models[0], sha256="short"),))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(make_sbom(broken).decode()) is not None


def test_everything_in_the_image_is_in_it(document: dict[str, Any]) -> None:
    found = {(each["type"], each["name"]): each["hashes"][0]["content"] for each in document["components"]}
    assert found == {
        ("container", "docker.io/library/python:3.12-slim"): SHA["b"],
        ("library", "upon"): SHA["c"],
        ("library", "onnxruntime"): SHA["d"],
        ("library", "numpy"): SHA["e"],
        ("library", "click"): SHA["f"],
        ("machine-learning-model", "iris"): SHA["0"],
        ("machine-learning-model", "models/t5"): SHA["1"],
        ("file", "app/reviews.py"): SHA["2"],
        ("file", "app/func.yaml"): SHA["3"],
    }
    image = document["metadata"]["component"]
    assert ("container", "reviews", SHA["a"]) == (image["type"], image["name"], image["hashes"][0]["content"])
    assert [{"name": "dev.upon.platform", "value": "linux/amd64"}] == image["properties"]


def test_a_package_says_where_it_is_from_and_its_licence(document: dict[str, Any]) -> None:
    by_name = {each["name"]: each for each in document["components"]}
    assert "pkg:pypi/numpy@2.1.0%2Bcu12" == by_name["numpy"]["purl"]
    assert [{"license": {"name": "BSD License"}}] == by_name["numpy"]["licenses"]
    assert [{"expression": "MIT"}] == by_name["onnxruntime"]["licenses"]
    assert "licenses" not in by_name["click"]


def test_a_model_has_its_licence_path_and_size(document: dict[str, Any]) -> None:
    model = next(each for each in document["components"] if each["name"] == "iris")
    assert [{"license": {"id": "Apache-2.0"}}] == model["licenses"]
    said = {each["name"]: each["value"] for each in model["properties"]}
    assert {"dev.upon.path": "models/iris.onnx", "dev.upon.size": "1234", "dev.upon.runtime": "onnx"} == said


def test_who_needs_whom(document: dict[str, Any]) -> None:
    needs = {each["ref"]: each["dependsOn"] for each in document["dependencies"]}
    upon, numpy, runtime = purl("upon", "0.1.0"), purl("numpy", "2.1.0+cu12"), purl("onnxruntime", "1.22.0")
    assert [numpy] == needs[runtime]
    assert [purl("click", "8.2.0")] == needs[upon]
    top = needs[f"image:{BILL.image}"]
    assert {upon, runtime, f"base:{BILL.base[1]}", "model:models/t5", "file:app/reviews.py"} <= set(top)
    assert numpy not in top


def test_every_reference_is_unique_and_known(document: dict[str, Any]) -> None:
    refs = [document["metadata"]["component"]["bom-ref"], *(each["bom-ref"] for each in document["components"])]
    assert len(set(refs)) == len(refs)
    assert sorted(refs) == sorted(each["ref"] for each in document["dependencies"])
    assert {ref for each in document["dependencies"] for ref in each["dependsOn"]} <= set(refs)


def test_the_bytes_depend_on_the_inputs_alone() -> None:
    turned = replace(BILL, packages=BILL.packages[::-1], models=BILL.models[::-1], files=BILL.files[::-1])
    assert make_sbom(BILL) == make_sbom(turned)


def test_the_serial_number_is_of_the_content(document: dict[str, Any]) -> None:
    other = json.loads(make_sbom(replace(BILL, files=(("app/reviews.py", SHA["1"]),))))
    assert other["serialNumber"] != document["serialNumber"]


def test_the_time_is_told_or_left_out(document: dict[str, Any]) -> None:
    assert "timestamp" not in document["metadata"]
    assert "1970-01-01T00:00:00Z" == json.loads(make_sbom(replace(BILL, when=0)))["metadata"]["timestamp"]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("docker.io/library/python:3.12-slim", "pkg:oci/python@{}?repository_url=docker.io/library/python"),
        ("127.0.0.1:5000/acme/base", "pkg:oci/base@{}?repository_url=127.0.0.1%3A5000/acme/base"),
        ("ghcr.io/acme/base:1@sha256:abc", "pkg:oci/base@{}?repository_url=ghcr.io/acme/base"),
    ],
)
def test_an_images_url(reference: str, expected: str) -> None:
    assert expected.format("sha256%3Aabc") == oci_purl(reference, "sha256:abc")


def test_every_identifier_of_a_licence_is_one_of_spdx() -> None:
    """The schema lists them."""
    packages = [
        Package(f"p{number}", "1", SHA["a"], licenses=({"license": {"id": known}},)) for number, known in enumerate(IDS)
    ]
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(make_sbom(replace(BILL, packages=packages)).decode())
    assert error is None, getattr(error, "data", error)
    assert set(NAMES.values()) <= set(IDS)
