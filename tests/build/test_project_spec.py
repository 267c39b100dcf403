from __future__ import annotations

from pathlib import Path

import pytest

import upon
from support.projects import HEAD, write_project
from upon_build.project import ProjectError, load_project, spec_from_functions
from upon_triggers.settings import Delivery, KafkaConnection, Sasl, Tls

FULL = (
    HEAD
    + """\
run: {startTimeout: PT2M30S, maxBodySize: 1Mi, drainDelay: 0}
deploy: {namespace: ml, timeoutSeconds: 90, containerConcurrency: 7}
delivery: {retry: 1, backoffPolicy: linear, backoffDelay: 1, maxDelay: 2, maxInFlight: 3, deadLetter: none}
kafka:
  bootstrap: k:9093
  tls: {ca: certs/ca.pem}
  sasl: {mechanism: PLAIN, username: u, password: "{{ secret:kafka:password }}"}
"""
)


def spec(folder, yaml, **env):
    write_project(folder, yaml)
    with load_project(folder, env=env) as project:
        return project.service_spec(group_suffix=".local")


def test_everything_arrives(tmp_path):
    made = spec(tmp_path, FULL, KAFKA_PASSWORD="hunter2")
    assert (made.name, made.folder, made.namespace, made.group_suffix) == ("demo", tmp_path, "ml", ".local")
    assert (made.start_timeout, made.max_body_size, made.drain_delay, made.drain_timeout) == (150.0, 2**20, 0.0, 90.0)
    assert made.admission == 7
    assert made.functions[0].delivery == Delivery(1, "linear", 1.0, 2.0, 3, "at-least-once", "none")
    assert (made.functions[0].timeout, made.functions[0].concurrency) == (90.0, None)
    assert made.kafka == KafkaConnection(
        ("k:9093",), Tls(ca=str(tmp_path / "certs/ca.pem")), Sasl("PLAIN", "u", "hunter2")
    )
    assert "hunter2" not in repr(made)


def test_defaults(tmp_path):
    made = spec(tmp_path, HEAD)
    assert (made.namespace, made.admission, made.kafka, made.drain_delay) == ("default", 128, None, 5.0)
    assert (made.functions[0].timeout, made.functions[0].delivery) == (60.0, Delivery())


@pytest.mark.parametrize(("tls", "expected"), [("tls: {}", Tls()), ("tls:", None), ("", None)])
def test_tls_is_on_where_it_is_written(tmp_path, tls, expected):
    made = spec(tmp_path, HEAD + "kafka:\n  bootstrap: [k:1]\n" + (f"  {tls}\n" if tls else ""))
    assert made.kafka == KafkaConnection(("k:1",), expected)


def test_another_kafka_in_its_place(tmp_path):
    write_project(tmp_path, FULL)
    embedded = KafkaConnection(("127.0.0.1:9",), embedded=True)
    with load_project(tmp_path, env={"KAFKA_PASSWORD": "x"}) as project:
        assert project.service_spec(kafka=embedded).kafka is embedded


def test_a_missing_password_stops_the_start(tmp_path):
    with pytest.raises(ProjectError, match=r"^func.yaml:9: kafka.sasl.password needs secret 'kafka', key 'password'"):
        spec(tmp_path, FULL)


def test_errors_stop_the_start_and_warnings_do_not(tmp_path):
    with pytest.raises(ProjectError) as caught:
        spec(tmp_path, HEAD + "delivery: {retry: x, foo: 1}\n")
    assert str(caught.value) == "func.yaml:3: delivery.retry must be a whole number >= 0, not 'x'"
    assert spec(tmp_path, HEAD + "delivery: {foo: 1}\n").name == "demo"


def test_summary(tmp_path):
    app = "import upon\nm = upon.Model('m', 'func.yaml')\n@upon.cloudevent(type='a')\ndef f(): ...\n"
    write_project(tmp_path, app=app)
    with load_project(tmp_path, env={}) as project:
        summary = project.summary()
    assert summary["functions"] == [
        {
            "name": "f",
            "location": "app.py:3",
            "triggers": [{"kind": "cloudevent", "attributes": {"type": "a"}}],
            "options": {
                "timeout": {"value": 60, "origin": "default"},
                "retry": {"value": 5, "origin": "default"},
            },
        }
    ]
    assert summary["models"] == [
        {"name": "m", "path": "func.yaml", "location": "app.py:2", "inputs": [], "outputs": []}
    ]
    assert (summary["name"], summary["profile"], summary["problems"]) == ("demo", "dev", [])
    assert summary["settings"]["name"] == {"value": "demo", "origin": "func.yaml:1"}


audit = upon.Topic("audit")


@upon.kafka("orders")
def outer(event): ...


def test_plain_functions_with_what_is_around_them():
    model = upon.Model("m", __file__)

    @upon.resource
    def store():
        return {}

    @upon.http("POST /x")
    @upon.options(timeout=3)
    def inner(event):
        return model, store()

    made = spec_from_functions(inner, outer, name="tests")
    assert (made.name, made.folder) == ("tests", Path.cwd())
    assert [("inner", 3.0), ("outer", 60.0)] == [(one.name, one.timeout) for one in made.functions]
    assert made.models == (model,)
    assert made.topics == (audit,)
    assert made.resources == (store,)


def test_plain_functions_are_checked():
    @upon.http("POST /x")
    def bad(event, model): ...

    with pytest.raises(ProjectError, match="bad has more than one required parameter"):
        spec_from_functions(bad)
    with pytest.raises(upon.UsageError, match="is no Function: decorate it"):
        spec_from_functions(len)  # type: ignore[arg-type]


def test_two_plain_functions_of_one_name():
    @upon.http("POST /x")
    def outer(event): ...

    with pytest.raises(ProjectError, match="there are two functions of the name 'outer'"):
        spec_from_functions(outer, globals()["outer"])
