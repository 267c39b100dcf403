"""func.yaml in an image says what the author wrote, profiles and passwords apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from upon_build.image.files.funcfile import image_file, plain_passwords
from upon_build.project.file import read_file

HEAD = "# Ours\nname: demo  # short\nfunctions: [app.py]\n"
PROFILES = "profiles:\n  # where\n  prod:\n    kafka: {bootstrap: 'kafka:9092'}\n\n  dev: {}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "func.yaml"


def image(path: Path, text: str) -> str:
    path.write_bytes(text.encode())
    return image_file(read_file(path)).decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD, HEAD),
        (HEAD + PROFILES, HEAD),
        (HEAD + "\n# The rest\n" + PROFILES, HEAD + "\n# The rest\n"),
        (HEAD + PROFILES + "run: {drainDelay: 1}\n", HEAD + "run: {drainDelay: 1}\n"),
        (PROFILES + HEAD, "name: demo  # short\nfunctions: [app.py]\n"),
        ((HEAD + PROFILES).replace("\n", "\r\n"), HEAD.replace("\n", "\r\n")),
        (HEAD + "profiles: {dev: {}}\n", HEAD),
        (HEAD + "'profiles': {dev: {}}", HEAD),
        (HEAD + "profiles:\n", HEAD),
        ("\ufeff" + HEAD + PROFILES, "\ufeff" + HEAD),
        ("---\n" + HEAD + PROFILES, "---\n" + HEAD),
        (HEAD + "run: &run {drainDelay: 1}\nprofiles: {dev: {run: *run}}\n", HEAD + "run: &run {drainDelay: 1}\n"),
    ],
)  # fmt: skip
def test_the_lines_of_profiles_are_cut_out(path: Path, text: str, expected: str) -> None:
    assert expected == image(path, text)


@pytest.mark.parametrize(
    "text",
    [
        "{name: demo, functions: [app.py], profiles: {dev: {}}, run: {drainDelay: 1}}\n",
        HEAD + "profiles: {dev: {run: &run {drainDelay: 1}}}\nrun: *run\n",
        HEAD + "? profiles\n: {dev: {}}\nrun: {drainDelay: 1}\n",
        HEAD + "run: {drainDelay: 1}\nprofiles:\n  dev:\n    x: |\n      a\n\n...\n",
    ],
)
def test_where_lines_can_not_be_cut_the_values_stay(path: Path, text: str) -> None:
    written = image(path, text)
    assert {"name": "demo", "functions": ["app.py"], "run": {"drainDelay": 1}} == YAML(typ="safe").load(written)


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text("ab: #-'\"\n", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("pqr"), inner, max_size=3),
    max_leaves=8,
)


@given(values=st.dictionaries(st.sampled_from(["name", "run", "kafka", "profiles", "x"]), VALUES, min_size=1))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_but_profiles_is_lost(tmp_path: Path, values: dict[str, Any]) -> None:
    path = tmp_path / "func.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(values, file)
    written = YAML(typ="safe").load(image_file(read_file(path)).decode())
    assert {key: value for key, value in values.items() if key != "profiles"} == (written or {})


def problems(path: Path, text: str) -> list[str]:
    path.write_text(text)
    return [str(problem) for problem in plain_passwords(read_file(path))]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("kafka: {sasl: {password: hunter2}}\n", "kafka.sasl.password"),
        ("idempotency: {url: 'redis://:hunter2@host'}\n", "idempotency.url"),
    ],
)
def test_passwords(path: Path, text: str, key: str) -> None:
    (said,) = problems(path, HEAD + text)
    assert said == (
        f"func.yaml:4: {key} is a password in plain text, and this file goes into the image: write a reference,"
        " {{ secret:name:key }}, or move it into a profile"
    )


@pytest.mark.parametrize(
    "text",
    [
        "kafka: {sasl: {password: '{{ secret:kafka:password }}'}}\n",
        "idempotency: {url: 'redis://host'}\n",
        "idempotency: {url: 'redis://user@host'}\n",
        "idempotency: {url: 'redis://:{{ secret:redis:password }}@host'}\n",
        "profiles: {dev: {kafka: {sasl: {password: hunter2}}}}\n",
    ],
)
def test_no_passwords(path: Path, text: str) -> None:
    assert [] == problems(path, HEAD + text)
