"""`func events` against the development broker: which Kafka, what is written, what is shown."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from upon import Event
from upon_build.cli.app import main
from upon_build.cli.exits import Fault
from upon_build.cli.kafka import connection_for
from upon_build.cli.running import announced
from upon_triggers.settings import KafkaConnection, Tls

pytest.importorskip("confluent_kafka", reason="needs the development broker: pip install 'upon[dev]'")


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    from upon_triggers.kafka.embedded import EmbeddedBroker

    with EmbeddedBroker() as made:
        yield made.bootstrap


@pytest.fixture
def project(tmp_path: Path, broker: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose `func run`, as far as anybody can tell, is this process."""
    monkeypatch.chdir(tmp_path)
    with announced(tmp_path, "http://127.0.0.1:1", broker, True):
        yield tmp_path


def events(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["events", *arguments])


def last(topic: str, count: int = 1) -> list[dict[str, object]]:
    shown = events("tail", topic, "--from-beginning", "-n", str(count), "--timeout", "20", "-o", "json")
    assert shown.exit_code == 0, shown.output
    return [json.loads(line) for line in shown.stdout.splitlines()]


def test_what_is_sent_is_shown(project: Path) -> None:
    sent = events("send", "plain", "--data", '{"a": 1}', "--key", "k", "-o", "json")

    assert sent.exit_code == 0, sent.output
    assert json.loads(sent.stdout) == {"topic": "plain", "key": "k", "bytes": 8}
    (record,) = last("plain")
    assert (record["topic"], record["offset"], record["key"]) == ("plain", 0, "k")
    event = record["event"]
    assert isinstance(event, dict)
    assert (event["type"], event["data"]) == ("dev.knative.kafka.event", {"a": 1})


def test_a_content_type_travels_along(project: Path) -> None:
    assert events("send", "text", "--data", "hello", "--content-type", "text/plain").exit_code == 0

    (record,) = last("text")
    assert isinstance(record["event"], dict)
    assert (record["event"]["datacontenttype"], record["event"]["data"]) == ("text/plain", "hello")


def test_a_cloudevent_is_shown_as_one_and_a_broken_one_as_text(project: Path, broker: str) -> None:
    publisher = publisher_of(broker)
    publisher.publish("mixed", Event.of([1], id="7", type="t", source="/s"), None, lambda error: None)
    publisher.publish_raw("mixed", None, b"x", [("ce_id", b"8")], lambda error: None)
    assert publisher.flush(20)
    publisher.close(5)

    records = last("mixed", 2)
    whole = next(record["event"] for record in records if record["event"])
    broken = next(record for record in records if record["event"] is None)
    assert whole == {
        "specversion": "1.0", "id": "7", "source": "/s", "type": "t", "datacontenttype": "application/json", "data": [1]
    }  # fmt: skip
    assert broken["value"] == "x"


def publisher_of(broker: str):  # type: ignore[no-untyped-def]
    from upon_triggers.kafka.publisher import KafkaPublisher

    publisher = KafkaPublisher(KafkaConnection((broker,), embedded=True))
    publisher.open()
    return publisher


def test_people_see_a_line(project: Path) -> None:
    events("send", "lines", "--data", '{"a": 1}', "--key", "k")

    shown = events("tail", "lines", "--from-beginning", "-n", "1", "--timeout", "20")

    assert shown.stdout.rstrip().endswith('0  key=k  {"a": 1}')


def test_the_end_is_where_tail_begins(project: Path) -> None:
    events("send", "old", "--data", "1")

    shown = events("tail", "old", "--timeout", "0.5")

    assert shown.exit_code == 3
    assert shown.stdout == ""
    assert "no record in 'old' within 0.5 s" in shown.stderr


@pytest.mark.parametrize("command", ["send", "tail"])
def test_a_name_that_is_no_topic(project: Path, command: str) -> None:
    result = events(command, "a b")

    assert result.exit_code == 2
    assert "'a b' is not a Kafka topic name" in result.stderr


# Which Kafka


def test_the_running_project_comes_first(project: Path, broker: str) -> None:
    (project / "func.yaml").write_text("name: demo\nfunctions: [app.py]\nkafka: {bootstrap: kafka:9092}\n")

    assert connection_for(None, None, project) == KafkaConnection((broker,), embedded=True)
    assert connection_for(broker, None, project) == KafkaConnection((broker,), embedded=True)
    assert connection_for("other:1, other:2", None, project) == KafkaConnection(("other:1", "other:2"))


def test_then_func_yaml_with_its_profile_and_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("FUNC_")]:
        monkeypatch.delenv(name)
    (tmp_path / "func.yaml").write_text(
        "name: demo\nfunctions: [app.py]\nkafka: {bootstrap: dev:1}\n"
        "profiles: {prod: {kafka: {bootstrap: kafka:9092, tls: {}}}}\n"
    )

    assert connection_for(None, None, tmp_path) == KafkaConnection(("dev:1",))
    assert connection_for(None, "prod", tmp_path) == KafkaConnection(("kafka:9092",), Tls())
    assert connection_for("near:1", "prod", tmp_path) == KafkaConnection(("near:1",), Tls())


def test_a_flag_needs_no_project(tmp_path: Path) -> None:
    assert connection_for("near:1", None, tmp_path) == KafkaConnection(("near:1",))
    with pytest.raises(Fault, match="there is no Kafka to talk to"):
        connection_for(None, None, tmp_path)
