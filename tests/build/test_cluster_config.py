"""What is in force where it is deployed from is in force in the pods."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import upon
from support.deployments import PROJECTS, SCORE, handler, made, wanted
from upon_build.cluster.checks.environment import carried_problems
from upon_build.cluster.objects.config import config_env, upon_config
from upon_build.cluster.objects.wanted import Wanted
from upon_build.project.codeless import CodelessProject, codeless
from upon_build.project.settings import LEAVES

# Of no use to a pod; a profile of them makes no new revision.
NOT_FOR_PODS = ("build", "registry", "runtime", "models", "profiles", "specVersion", "name", "functions")


def pod_env(one: Wanted) -> dict[str, str]:
    """The container's variables as Kubernetes hands them over, with a made-up value for each secret."""
    found = {}
    for env in config_env(one):
        value = env.get("value")
        found[env["name"]] = "***" if value is None else expanded(value)
    return found


def expanded(value: str) -> str:
    """`$$` is `$`; nothing here refers to another variable, which would need a `$(` that is not escaped."""
    out = ""
    index = 0
    while index < len(value):
        if value.startswith("$$", index):
            index += 1
        elif value.startswith("$(", index):
            raise AssertionError(f"{value!r} has a reference to a variable")
        out += value[index]
        index += 1
    return out


def in_pod(one: Wanted) -> CodelessProject:
    """The project as its pod finds it: the image's manifest, no func.yaml with profiles, the variables."""
    with TemporaryDirectory() as empty:
        manifest = one.project.manifest
        return codeless(manifest, Path(empty), profile=None, default_profile="prod", env=pod_env(one), flags={})


def in_force(project: CodelessProject) -> dict[str, Any]:
    found: dict[str, Any] = {
        ".".join(keys): project.settings.get(".".join(keys)).value for keys in LEAVES if keys[0] not in NOT_FOR_PODS
    }
    for one in project.functions:
        found[one.function.name] = ({name: value.value for name, value in one.options.items()}, one.function.triggers)
    return {**found, "tls": project.settings.has("kafka.tls"), "sasl": project.settings.has("kafka.sasl")}


@given(PROJECTS, PROJECTS, st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_pod_comes_to_the_very_settings(project: Mapping[str, Any], older: Mapping[str, Any], stale: bool) -> None:
    """With an image that is older than func.yaml too, except where that is refused."""
    with TemporaryDirectory() as folder:
        built_from = {**older["yaml"], "name": project["name"]} if stale else None
        if built_from is not None:
            built_from.pop("profiles")
        yaml = {"name": project["name"], **project["yaml"]}
        one = wanted(Path(folder), yaml, *project["functions"], built_from=built_from, env=project["env"])
        if list(carried_problems(one)):
            assert stale
            return
        assert in_force(one.project) == in_force(in_pod(one))


@given(PROJECTS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_same_project_gives_the_same_text(project: Mapping[str, Any]) -> None:
    with TemporaryDirectory() as one, TemporaryDirectory() as two:
        assert upon_config(made(Path(one), project)) == upon_config(made(Path(two), project))


def test_nothing_to_say_is_an_empty_profile(tmp_path: Path) -> None:
    assert [{"name": "UPON_CONFIG", "value": "{}"}] == config_env(wanted(tmp_path))


def test_the_profile_travels_and_others_do_not(tmp_path: Path) -> None:
    one = wanted(tmp_path, "profiles: {prod: {delivery: {retry: 2}}, staging: {delivery: {retry: 9}}}\n")
    assert {"delivery": {"retry": 2}} == json.loads(upon_config(one))


def test_what_pods_do_not_read_makes_no_new_revision(tmp_path: Path) -> None:
    one = wanted(tmp_path, "profiles: {prod: {registry: ghcr.io/acme, build: {python: '3.12'}}}\n")
    assert "{}" == upon_config(one)


def test_a_flag_and_a_variable_travel(tmp_path: Path) -> None:
    env = {"FUNC_DELIVERY_BACKOFF_DELAY": "PT2S", "FUNC_OPTIONS_SCORE_TIMEOUT": "9"}
    one = wanted(tmp_path, env=env, deploy__namespace="ml")
    expected = {
        "delivery": {"backoffDelay": 2.0},
        "deploy": {"namespace": "ml"},
        "options": {"score": {"timeout": 9.0}},
    }
    assert expected == json.loads(upon_config(one))


def test_a_variable_that_beats_a_functions_own_option_travels_for_the_function(tmp_path: Path) -> None:
    own = upon.options(retry=1)(handler("picky"))
    one = wanted(tmp_path, "", SCORE, own, env={"FUNC_DELIVERY_RETRY": "7"})
    assert in_force(one.project) == in_force(in_pod(one))
    assert 7 == in_force(in_pod(one))["picky"][0]["retry"]


def test_a_change_since_the_image_travels(tmp_path: Path) -> None:
    one = wanted(tmp_path, "delivery: {retry: 3}\n", built_from={"delivery": {"retry": 1, "maxInFlight": 5}})
    assert {"delivery": {"maxInFlight": 1000, "retry": 3}} == json.loads(upon_config(one))


def test_what_the_image_has_more_is_a_problem_with_its_remedy(tmp_path: Path) -> None:
    one = wanted(tmp_path, "", built_from={"kafka": {"groupInstanceId": "a"}})
    (problem,) = carried_problems(one)
    assert ("kafka.groupInstanceId", "build the image again") == (problem.message.split()[5].strip(","), problem.remedy)


@pytest.mark.parametrize(
    ("older", "expected"),
    [
        ({"kafka": {"tls": {}}}, "kafka.tls"),
        ({"options": {"score": {"retry": 1}}}, "options.score.retry"),
        ({"deploy": {"labels": {"a": "b"}}}, "deploy.labels"),
    ],
)
def test_what_a_profile_cannot_take_away(tmp_path: Path, older: Mapping[str, Any], expected: str) -> None:
    (problem,) = carried_problems(wanted(tmp_path, "", built_from=older))
    assert f" {expected}," in problem.message


def test_tls_that_is_new_since_the_image_travels(tmp_path: Path) -> None:
    assert {"kafka": {"tls": {}}} == json.loads(upon_config(wanted(tmp_path, "kafka: {tls: {}}\n", built_from={})))


def test_secrets_are_references_and_nothing_else(tmp_path: Path) -> None:
    yaml = """\
run:
  envs:
    - {name: TOKEN, value: "{{ secret:hub:token }}"}
    - {name: DSN, value: "redis://:{{ secret:redis:password }}@cache"}
    - {name: MODE, value: "{{configMap:modes:mode}}"}
kafka: {bootstrap: ["kafka:9093"], sasl: {username: me, password: "{{ secret:kafka:password }}"}}
"""
    expected = [
        {"name": "KAFKA_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "kafka", "key": "password"}}},
        {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "modes", "key": "mode"}}},
        {"name": "REDIS_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
        {"name": "UPON_CONFIG", "value": "{}"},
    ]
    assert expected == config_env(wanted(tmp_path, yaml))


def test_a_pod_puts_a_value_around_a_secret_together(tmp_path: Path) -> None:
    yaml = 'run: {envs: [{name: DSN, value: "redis://:{{ secret:redis:password }}@cache"}]}\n'
    assert {"DSN": "redis://:***@cache"} == dict(in_pod(wanted(tmp_path, yaml)).environment())


@pytest.mark.parametrize("value", ["$(HOME)", "$$", "a$b", "$$(X)$", "$", "100 $"])
def test_dollars_arrive_as_they_are_written(tmp_path: Path, value: str) -> None:
    one = wanted(tmp_path, {"run": {"envs": [{"name": "PRICE", "value": value}]}})
    assert value == pod_env(one)["PRICE"]


def test_a_password_in_a_variable_never_gets_into_an_object(tmp_path: Path) -> None:
    env = {"FUNC_KAFKA_SASL_PASSWORD": "hunter2", "FUNC_IDEMPOTENCY_URL": "redis://:hunter2@cache"}
    one = wanted(tmp_path, "kafka: {bootstrap: ['k:9092']}\n", env=env)
    assert "hunter2" not in str(config_env(one))
