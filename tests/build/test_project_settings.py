from __future__ import annotations

from pathlib import Path

import pytest

import upon
from support.projects import HEAD, lines, read, write_project
from upon_build.project import ProjectError
from upon_build.project.settings import LEAVES, Value, variable

FILE = HEAD + "delivery: {retry: 1, backoffDelay: 3}\nprofiles: {prod: {delivery: {retry: 2}}}\n"

#  profile, env, flags, expected value of delivery.retry, layer, origin
ORDER = [
    ("dev", {}, {}, 1, "file", "func.yaml:3"),
    ("prod", {}, {}, 2, "profile", "func.yaml:4 (profile prod)"),
    ("prod", {"FUNC_DELIVERY_RETRY": "3"}, {}, 3, "variable", "FUNC_DELIVERY_RETRY"),
    ("prod", {"FUNC_DELIVERY_RETRY": "3"}, {"delivery.retry": 4}, 4, "flag", "--retry"),
    ("prod", {"FUNC_DELIVERY_RETRY": "3"}, {"delivery.retry": "4"}, 4, "flag", "--retry"),
    ("prod", {"FUNC_DELIVERY_RETRY": "3"}, {"delivery.retry": None}, 3, "variable", "FUNC_DELIVERY_RETRY"),
]


@pytest.mark.parametrize(("profile", "env", "flags", "value", "layer", "origin"), ORDER)
def test_the_first_layer_that_says_something_wins(tmp_path, profile, env, flags, value, layer, origin):
    found = read(write_project(tmp_path, FILE), profile=profile, env=env, flags=flags).settings.get("delivery.retry")
    assert (value, layer, origin) == (found.value, found.layer, found.origin)


def test_a_default_says_so(tmp_path):
    found = read(write_project(tmp_path)).settings.get("delivery.maxDelay")
    assert (300.0, "default", "default") == (found.value, found.layer, found.origin)


def test_an_image_has_another_default_for_the_state_folder(tmp_path):
    env = {"UPON_STATE_DIR": "/tmp/.upon"}
    found = read(write_project(tmp_path), env=env).settings.get("run.stateDir")
    said = read(write_project(tmp_path, HEAD + "run: {stateDir: state}\n"), env=env).settings.get("run.stateDir")

    assert ("/tmp/.upon", "default", "UPON_STATE_DIR") == (found.value, found.layer, found.origin)
    assert ("state", "file") == (said.value, said.layer)


VARIABLES = [
    ("delivery.backoffDelay", "FUNC_DELIVERY_BACKOFF_DELAY", "PT0.5S", 0.5),
    ("delivery.backoffDelay", "FUNC_DELIVERY_BACKOFF_DELAY", "0.25", 0.25),
    ("delivery.maxInFlight", "FUNC_DELIVERY_MAX_IN_FLIGHT", "7", 7),
    ("delivery.deadLetter", "FUNC_DELIVERY_DEAD_LETTER", "orders.dead", "orders.dead"),
    ("delivery.deadLetter", "FUNC_DELIVERY_DEAD_LETTER", "none", "none"),
    ("run.maxBodySize", "FUNC_RUN_MAX_BODY_SIZE", "1Ki", 1024),
    ("run.maxBodySize", "FUNC_RUN_MAX_BODY_SIZE", "10", 10),
    ("run.drainDelay", "FUNC_RUN_DRAIN_DELAY", "P1DT1H1M1S", 90061.0),
    ("kafka.bootstrap", "FUNC_KAFKA_BOOTSTRAP", "a:1, b:2", ["a:1", "b:2"]),
    ("kafka.tls.verify", "FUNC_KAFKA_TLS_VERIFY", "false", False),
    ("deploy.visibility", "FUNC_DEPLOY_VISIBILITY", "public", "public"),
    ("deploy.timeoutSeconds", "FUNC_DEPLOY_TIMEOUT_SECONDS", "9", 9),
    ("deploy.serviceAccountName", "FUNC_DEPLOY_SERVICE_ACCOUNT_NAME", "robot", "robot"),
    ("name", "FUNC_NAME", "other", "other"),
]


@pytest.mark.parametrize(("path", "name", "text", "value"), VARIABLES)
def test_variable(tmp_path, path, name, text, value):
    found = read(write_project(tmp_path), env={name: text}).settings.get(path)
    assert (value, name) == (found.value, found.where)


FAULTS = [
    ("FUNC_DELIVERY_RETRY", "many", "'many' is not a whole number >= 0"),
    ("FUNC_DELIVERY_RETRY", "-1", "'-1' is not a whole number >= 0"),
    ("FUNC_KAFKA_TLS_VERIFY", "maybe", "'maybe' is not true or false"),
    ("FUNC_KAFKA_BOOTSTRAP", "kafka", "'kafka' is not an address such as kafka:9092"),
    ("FUNC_DELIVERY_GUARANTEE", "perhaps", "'perhaps' is not 'at-least-once' or 'exactly-once'"),
    ("FUNC_OPTIONS_SCORE_TIMEOUT", "0", "'0' is not a duration > 0 in seconds, or ISO 8601 such as PT0.2S or PT5M"),
]


@pytest.mark.parametrize(("name", "text", "message"), FAULTS)
def test_a_wrong_variable_is_an_error(tmp_path, name, text, message):
    assert [f"error {name}: {message}: correct {name}"] == lines(write_project(tmp_path), env={name: text})


def test_a_wrong_flag_is_an_error(tmp_path):
    flags = {"kafka.bootstrap": "kafka"}
    expected = ["error --bootstrap: 'kafka' is not an address such as kafka:9092: correct --bootstrap"]
    assert expected == lines(write_project(tmp_path), flags=flags)


def test_an_unknown_flag_is_a_fault_of_the_caller(tmp_path):
    with pytest.raises(upon.UsageError, match=r"'kafka.bootstraps' is no setting: did you mean 'kafka.bootstrap'\?"):
        read(write_project(tmp_path), flags={"kafka.bootstraps": "a:1"})


NEARLY = [
    ("FUNC_DELIVERY_RETRYS", ["did you mean 'FUNC_DELIVERY_RETRY'?"]),
    ("FUNC_OPTIONS_SCORE_TIMEOT", ["did you mean 'FUNC_OPTIONS_SCORE_TIMEOUT'?"]),
    ("FUNC_OPTIONS_SCORE_KAFKA_ORDERS_TOPIC", []),
    ("FUNC_DEBUG", []),
    ("FUNC_HOME", []),
    ("FUNC_NAMESPACE", []),
    ("KAFKA_BOOTSTRAP", []),
]


@pytest.mark.parametrize(("name", "remedy"), NEARLY)
def test_a_variable_that_is_nearly_a_setting_is_a_warning(tmp_path, name, remedy):
    expected = [f"warning {name}: the variable is not a known setting: {text}" for text in remedy]
    assert expected == lines(write_project(tmp_path), env={name: "x1"})


def test_variables_have_distinct_names():
    names = [variable(path) for path in LEAVES]
    assert len(names) == len(set(names))


def test_a_profile_is_laid_over_the_file(tmp_path):
    yaml = HEAD + (
        "run:\n"
        "  envs: [{name: A, value: a}, {name: B, value: b}]\n"
        "deploy: {resources: {limits: {cpu: 1, memory: 1Gi}}, scale: {min: 1, max: 3}}\n"
        "build: {platforms: [linux/amd64, linux/arm64]}\n"
        "profiles:\n"
        "  prod:\n"
        "    run: {envs: [{name: B, value: c}, {name: C, value: d}]}\n"
        "    deploy: {resources: {limits: {cpu: 2}}, scale: {max: , min: 2}}\n"
        "    build: {platforms: [linux/s390x]}\n"
    )
    settings = read(write_project(tmp_path, yaml), profile="prod").settings
    assert settings["run.envs"] == [
        {"name": "A", "value": "a"},
        {"name": "B", "value": "c"},
        {"name": "C", "value": "d"},
    ]
    assert settings["deploy.resources.limits"] == {"cpu": "2", "memory": "1Gi"}
    assert (settings["deploy.scale.min"], settings["deploy.scale.max"]) == (2, 3)
    assert settings["build.platforms"] == ["linux/s390x"]


#  --profile, FUNC_PROFILE, default, expected
PROFILES = [
    (None, None, "dev", "dev"),
    (None, None, "prod", "prod"),
    (None, "stage", "dev", "stage"),
    ("prod", "stage", "dev", "prod"),
    (None, "", "dev", "dev"),
    (None, "prod", "dev", "prod"),
]


@pytest.mark.parametrize(("flag", "env", "default", "expected"), PROFILES)
def test_which_profile(tmp_path, flag, env, default, expected):
    write_project(tmp_path, HEAD + "profiles: {stage: {}}\n")
    environ = {} if env is None else {"FUNC_PROFILE": env}
    assert expected == read(tmp_path, profile=flag, env=environ, default_profile=default).profile


UNKNOWN = [
    ({"profile": "stag"}, "--profile: func.yaml has no profile 'stag': did you mean 'stage'?"),
    ({"profile": "x"}, "--profile: func.yaml has no profile 'x': there is dev, prod, stage"),
    ({"env": {"FUNC_PROFILE": "prd"}}, "FUNC_PROFILE: func.yaml has no profile 'prd': did you mean 'prod'?"),
]


@pytest.mark.parametrize(("how", "message"), UNKNOWN)
def test_an_unknown_profile_is_an_error(tmp_path, how, message):
    write_project(tmp_path, HEAD + "profiles: {stage: {}}\n")
    with pytest.raises(ProjectError) as caught:
        read(tmp_path, **how)
    assert message == str(caught.value)


def test_a_secret_in_plain_text_is_never_shown(tmp_path):
    yaml = HEAD + "kafka: {bootstrap: [a:1], sasl: {username: u, password: hunter2}}\n"
    project = read(write_project(tmp_path, yaml))
    assert project.settings.get("kafka.sasl.password").shown == "***"
    project = read(tmp_path, env={"FUNC_KAFKA_SASL_PASSWORD": "hunter3"})
    everything = repr((project.summary(), project.settings.all(), project.kafka_connection(), project))
    assert "hunter" not in everything
    assert project.kafka_connection().sasl.password == "hunter3"


def test_a_value_does_not_show_itself():
    assert "hunter2" not in repr(Value("hunter2", "file", "func.yaml:1"))


def test_reading_imports_nothing_heavy(tmp_path):
    import subprocess
    import sys

    write_project(tmp_path, FILE)
    code = (
        "import sys; from upon_build.project import read_project; read_project(sys.argv[1]).summary();"
        "heavy = {'numpy', 'flask', 'pydantic', 'kafka', 'cronsim', 'onnxruntime', 'rich', 'app'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, cwd=Path("/")
    )
    assert ("[]\n", "") == (done.stdout, done.stderr)
