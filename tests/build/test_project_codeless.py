"""A project known by its manifest has the settings that its code would have, resolved where it is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.projects import write_project
from upon._triggers import KafkaTrigger
from upon_build.project import ProjectError, load_project
from upon_build.project.codeless import CodelessProject, codeless
from upon_build.project.manifest import Manifest, manifest_of, read_manifest

APP = """
import upon
from upon import Event

@upon.options(timeout=7)
@upon.kafka("orders")
def score(event: Event) -> None: ...

@upon.batched(max_size=7)
@upon.kafka("many")
def many(events: list[Event]) -> None: ...

@upon.cron("0 3 * * *", catch_up=2)
def nightly(event: Event) -> None: ...
"""
YAML = """
name: demo
functions: [app.py]
run: {envs: [{name: TOKEN, value: "{{ secret:hub:token }}"}], startTimeout: 30}
delivery: {retry: 3}
idempotency: {store: redis, url: "{{ secret:redis:url }}"}
options: {score: {kafka: {orders: {ordering: key}}}}
profiles:
  prod: {kafka: {bootstrap: ["prod:9092"]}, options: {score: {timeout: 9, kafka: {orders: {topic: prod.orders}}}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_project(tmp_path, YAML, APP)


@pytest.fixture
def manifest(folder: Path) -> Manifest:
    with load_project(folder, env={}) as project:
        return read_manifest(manifest_of(project).to_bytes())


def made(manifest: Manifest, folder: Path, *, env: dict[str, str] | None = None, **more: Any) -> CodelessProject:
    given = {"profile": None, "default_profile": "dev", "flags": {}, **more}
    return codeless(manifest, folder, env=env or {}, **given)


def seen(spec: Any) -> list[Any]:
    """What sources take from a spec."""
    return [
        (one.name, one.timeout, one.concurrency, one.delivery, one.function.triggers, one.function.batched)
        for one in sorted(spec.functions, key=lambda one: str(one.name))
    ]


@pytest.mark.parametrize("profile", ["dev", "prod"])
def test_sources_get_what_the_project_with_its_code_would_give(folder: Path, manifest: Manifest, profile: str) -> None:
    env = {"HUB_TOKEN": "x", "REDIS_URL": "redis://a"}
    with load_project(folder, profile=profile, env=env) as project, made(manifest, folder, profile=profile) as same:
        expected, found = project.service_spec(), same.service_spec()
    assert seen(expected) == seen(found)
    fields = ("name", "kafka", "namespace", "start_timeout", "drain_timeout", "state_dir")
    assert [getattr(expected, name) for name in fields] == [getattr(found, name) for name in fields]


def test_without_a_func_yaml_the_manifests_copy_counts(manifest: Manifest, tmp_path_factory: Any) -> None:
    project = made(manifest, tmp_path_factory.mktemp("empty"), env={"FUNC_PROFILE": "prod"})
    spec = project.service_spec()
    assert ("demo", None, 30.0, 3) == (spec.name, spec.kafka, spec.start_timeout, spec.functions[0].delivery.retry)


def test_upon_config_takes_the_place_of_a_profile(folder: Path, manifest: Manifest, tmp_path_factory: Any) -> None:
    config = {"kafka": {"bootstrap": "there:9092"}, "options": {"score": {"kafka": {"orders": {"topic": "there"}}}}}
    for where in (folder, tmp_path_factory.mktemp("empty")):
        project = made(manifest, where, env={"UPON_CONFIG": json.dumps(config)}, profile="prod")
        spec = project.service_spec()
        assert spec.kafka is not None
        assert ("there:9092",) == spec.kafka.bootstrap
        score = next(one.function for one in spec.functions if one.name == "score")
        assert [KafkaTrigger("there", ordering="key")] == list(score.triggers)


def test_flags_and_variables_come_first(folder: Path, manifest: Manifest) -> None:
    env = {"FUNC_DELIVERY_RETRY": "9"}
    project = made(manifest, folder, env=env, flags={"kafka.bootstrap": "flag:1"}, profile="prod")
    spec = project.service_spec()
    assert spec.kafka is not None
    assert (("flag:1",), 9) == (spec.kafka.bootstrap, spec.functions[0].delivery.retry)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"UPON_CONFIG": "{"}, "UPON_CONFIG: not JSON"),
        ({"UPON_CONFIG": "[]"}, "UPON_CONFIG: it must be a mapping"),
        ({"UPON_CONFIG": '{"delivery": {"retry": -1}}'}, "delivery.retry must be a whole number"),
        ({"UPON_CONFIG": '{"options": {"nobody": {}}}'}, "options names the function 'nobody'"),
        ({"FUNC_DELIVERY_RETRY": "x"}, "FUNC_DELIVERY_RETRY: 'x' is not a whole number"),
    ],
)
def test_what_is_wrong_with_the_settings_is_told(
    folder: Path, manifest: Manifest, env: dict[str, str], message: str
) -> None:
    with pytest.raises(ProjectError) as caught:
        made(manifest, folder, env=env).service_spec()
    assert message in str(caught.value)


def test_a_schedule_is_checked_without_the_code(manifest: Manifest, folder: Path) -> None:
    (folder / "func.yaml").write_text(
        YAML + "  dev: {options: {nightly: {cron: {'0 3 * * *': {schedule: 99 * * * *}}}}}"
    )
    with pytest.raises(ProjectError, match="99"):
        made(manifest, folder).service_spec()


def test_a_manifest_of_another_project(manifest: Manifest, tmp_path_factory: Any) -> None:
    other = write_project(tmp_path_factory.mktemp("other"))
    (other / "func.yaml").write_text("name: other\nfunctions: [app.py]\n")
    with pytest.raises(ProjectError, match="the project is 'other', and the manifest that of 'demo'"):
        made(manifest, other)


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_profile_that_is_not_there(manifest: Manifest, folder: Path, tmp_path_factory: Any, where: str) -> None:
    with pytest.raises(ProjectError, match="there is no profile 'stage'"):
        made(manifest, folder if where == "here" else tmp_path_factory.mktemp("empty"), profile="stage")
