"""kustomize and Helm: the same objects as `-o yaml`. The chart is filled in here, for want of Helm itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from ruamel.yaml import YAML

from support.deployments import IMAGE, PROJECTS, made, wanted
from upon_build.cluster.exports.helm import IMAGE as HELM_IMAGE
from upon_build.cluster.exports.helm import NAMESPACE, chart
from upon_build.cluster.exports.kustomize import kustomization
from upon_build.cluster.objects.render import objects_of
from upon_build.cluster.objects.text import scalar

PLACE = re.compile(r"{{ (.*?) }}")


def load(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def filled(text: str, values: Mapping[str, Any], namespace: str) -> str:
    """As Helm fills in the few kinds of placeholders that a chart of ours has; any other is an error."""

    def value(match: re.Match[str]) -> str:
        name, _, function = match[1].partition(" | ")
        assert function in ("", "quote")
        if name == '"{{"':
            return "{{"
        if name == ".Release.Namespace":
            return namespace
        found: Any = {"Values": values}
        for key in name.removeprefix(".").split("."):
            found = found[key]
        return f'"{found}"' if function else str(found)

    # Helm reads from left to right: what stands for `{{` must not begin a placeholder of its own.
    return re.sub(r'{{ (?:"{{"|[^{}]*?) }}', lambda found: value(_place(found[0])), text)


def _place(text: str) -> re.Match[str]:
    found = re.fullmatch(r"{{ (.*) }}", text)
    assert found is not None
    return found


@given(PROJECTS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_chart_filled_in_is_what_is_deployed_there(project: Mapping[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        released = objects_of(made(Path(folder), project, deploy__namespace=NAMESPACE))
        expected = objects_of(made(Path(folder), project, deploy__namespace="elsewhere"))
    files = chart(_with_image(released, HELM_IMAGE), project["name"], IMAGE)
    values = load(files["values.yaml"])
    texts = [text for name, text in files.items() if name.startswith("templates/")]
    made_of = [load(filled(text, values, "elsewhere")) for text in texts]
    for thing in expected:
        if thing["apiVersion"].startswith("serving"):
            thing["spec"]["template"]["metadata"]["annotations"].setdefault("autoscaling.knative.dev/max-scale", "0")
    assert expected == made_of


def _with_image(value: Any, image: str) -> Any:
    if isinstance(value, dict):
        return {key: image if part == IMAGE else _with_image(part, image) for key, part in value.items()}
    return [_with_image(part, image) for part in value] if isinstance(value, list) else value


def test_what_a_chart_lets_be_said_otherwise(tmp_path: Path) -> None:
    one = wanted(tmp_path, "deploy: {scale: {min: 1, max: 4}}\n")
    files = chart(objects_of(one), "demo", IMAGE)
    assert {"image": IMAGE, "scale": {"min": 1, "max": 4}} == load(files["values.yaml"])
    assert {"name": "demo", "apiVersion": "v2", "version": "0.1.0"}.items() <= load(files["Chart.yaml"]).items()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (IMAGE, {"name": IMAGE.partition("@")[0], "digest": IMAGE.partition("@")[2]}),
        ("localhost:5000/demo", {"name": "localhost:5000/demo", "newTag": "latest"}),
        ("localhost:5000/demo:v1", {"name": "localhost:5000/demo", "newTag": "v1"}),
    ],
)
def test_a_base_for_kustomize(tmp_path: Path, image: str, expected: dict[str, str]) -> None:
    objects = objects_of(wanted(tmp_path))
    files = kustomization(objects, image, "ml")
    listed = load(files.pop("kustomization.yaml"))
    assert (list(files), "ml") == (listed["resources"], listed["namespace"])
    assert [{**expected, "newName": expected["name"]}] == listed["images"]
    assert objects == [load(text) for text in files.values()]


@pytest.mark.parametrize(
    "text", ["on", "No", "null", "~", "1e3", "12:30", "0x1", "", " a", "a: b", "#", "é\x85\u2028", "-", "=", "y"]
)
def test_texts_that_yaml_would_take_for_something_else_are_quoted(text: str) -> None:
    assert scalar(text).startswith('"')
    assert text == load(scalar(text))


@pytest.mark.parametrize("text", ["demo", "a/b@sha256:0a", "http://x.y", "nvidia.com/gpu", "/tmp", "READ_only"])
def test_names_stay_as_they_are(text: str) -> None:
    assert text == scalar(text) == load(scalar(text))
