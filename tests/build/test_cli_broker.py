"""Which groups and which Kafka a `func run` uses."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

import upon
from upon._triggers import KafkaTrigger
from upon_build.cli.broker import connection_of, is_loopback, needs_kafka, suffix_of, with_group
from upon_build.project import load_project
from upon_runtime.spec import FunctionSpec, ServiceSpec
from upon_triggers.settings import KafkaConnection


@pytest.mark.parametrize(
    ("bootstrap", "expected"),
    [
        ("127.0.0.1:9092", True),
        ("localhost:9092", True),
        ("[::1]:9092", True),
        ("127.9.9.9", True),
        ("kafka:9092", False),
        ("10.0.0.1:9092", False),
        ("localhost.example.com:9092", False),
    ],
)
def test_loopback(bootstrap: str, expected: bool) -> None:
    assert is_loopback(bootstrap) is expected


def test_a_kafka_that_others_use_gets_groups_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    shared = KafkaConnection(("localhost:9092", "kafka:9092"))

    assert suffix_of(shared, None) == ".local.ada"
    assert suffix_of(shared, "mine") == ""
    assert suffix_of(KafkaConnection(("localhost:9092",)), None) == ""
    assert suffix_of(None, None) == ""


@upon.kafka("a")
@upon.http("POST /a")
def one(event: upon.Event) -> None: ...


@upon.kafka("b", group="theirs")
def two(event: upon.Event) -> None: ...


def groups(spec: ServiceSpec) -> list[str | None]:
    triggers = [trigger for f in spec.functions for trigger in f.function.triggers]
    return [trigger.group for trigger in triggers if isinstance(trigger, KafkaTrigger)]


def test_group_names_the_group_of_one_trigger_and_begins_that_of_several() -> None:
    only = ServiceSpec("svc", Path(), (FunctionSpec(one),))
    both = ServiceSpec("svc", Path(), (FunctionSpec(one), FunctionSpec(two)))

    assert groups(with_group(only, "mine")) == ["mine"]
    assert groups(with_group(both, "mine")) == ["mine.one", "mine.two"]
    assert groups(with_group(both, None)) == [None, "theirs"]
    assert [str(t) for t in with_group(only, "mine").functions[0].function.triggers] == ["http POST /a", "kafka a"]


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        ("@upon.kafka('a')\ndef f(event: upon.Event) -> None: ...", True),
        ("@upon.http('POST /a', reply_to='b')\ndef f(event: upon.Event) -> dict: return {}", True),
        ("t = upon.Topic('a')\n@upon.http('POST /a')\ndef f(event: upon.Event) -> None: ...", True),
        ("@upon.http('POST /a')\ndef f(event: upon.Event) -> None: ...", False),
    ],
)
def test_a_broker_is_started_only_for_who_needs_it(code: str, needed: bool, tmp_path: Path) -> None:
    (tmp_path / "func.yaml").write_text("name: demo\nfunctions: [needs.py]\n")
    (tmp_path / "needs.py").write_text(f"import upon\n{code}\n")

    with load_project(tmp_path, env={}) as project:
        assert needs_kafka(project) is needed


def test_a_configured_kafka_comes_before_a_development_broker(tmp_path: Path) -> None:
    (tmp_path / "func.yaml").write_text("name: demo\nfunctions: [needs.py]\nkafka: {bootstrap: kafka:9092}\n")
    (tmp_path / "needs.py").write_text("import upon\n@upon.kafka('a')\ndef f(event: upon.Event) -> None: ...\n")

    with load_project(tmp_path, env={}) as project, ExitStack() as stack:
        assert connection_of(project, "127.0.0.1:1", stack) == KafkaConnection(("kafka:9092",))
    with load_project(tmp_path, env={}, flags={"kafka.bootstrap": "other:1"}) as project, ExitStack() as stack:
        assert connection_of(project, None, stack) == KafkaConnection(("other:1",))
