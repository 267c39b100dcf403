"""`func dlq` against the development broker: what it counts, shows, sends back and refuses."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from support.brokers import until
from support.func import FUNC, environment
from support.groups import commit
from support.projects import write_project
from support.terminal import on_terminal
from upon_build.cli.app import main
from upon_build.cli.running import announced
from upon_triggers.settings import KafkaConnection

pytest.importorskip("confluent_kafka", reason="needs the development broker: pip install 'upon[dev]'")

HEAD = "name: demo\nfunctions: [app.py]\n"
APP = """
import upon
@upon.kafka('{topic}')
def pack(event): ...
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[Any]:
    from upon_triggers.kafka.embedded import EmbeddedBroker

    with EmbeddedBroker() as made:
        yield made


@pytest.fixture
def topic(tmp_path: Path, broker: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A topic of the test's own, with four letters, in a project whose `func run` is this process."""
    name = f"t{uuid.uuid4().hex[:8]}"
    write_project(tmp_path, HEAD, APP.format(topic=name))
    monkeypatch.chdir(tmp_path)
    broker.create_topic(name, 1)
    broker.create_topic(f"{name}.pack.dead", 1)
    write(broker.bootstrap, f"{name}.pack.dead", [letter(name, number) for number in range(4)])
    commit(broker.bootstrap, "demo.pack", name)
    with announced(tmp_path, "http://127.0.0.1:1", broker.bootstrap, True):
        yield name


def letter(topic: str, number: int, **more: str) -> tuple[bytes | None, list[tuple[str, bytes | None]]]:
    headers = {
        "upon-error-kind": "rejected" if number % 2 else "error",
        "upon-error": f"it failed\x1b[31m {number}",
        "upon-attempts": "3",
        "upon-function": "pack",
        "upon-group": "demo.pack",
        "upon-origin": f"{topic}/0/{number}",
        "upon-origin-time": "1700000000000",
        "upon-time": f"2026-01-31T12:00:0{number}Z",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    return b'{"n":%d}' % number, [(name, value.encode()) for name, value in headers.items()]


def write(bootstrap: str, topic: str, records: list[tuple[bytes | None, list[tuple[str, bytes | None]]]]) -> None:
    from upon_triggers.kafka.publisher import KafkaPublisher

    publisher = KafkaPublisher(KafkaConnection((bootstrap,), embedded=True))
    publisher.open()
    for value, headers in records:
        publisher.publish_raw(topic, b"k", value, headers, lambda error: None)
    assert publisher.flush(20)
    publisher.close(5)


def dlq(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["dlq", *arguments])


def objects(*arguments: str) -> list[dict[str, Any]]:
    found = dlq(*arguments, "-o", "json")
    assert found.exit_code == 0, found.output
    return [json.loads(line) for line in found.stdout.splitlines()]


def tail(topic: str, count: int) -> list[dict[str, Any]]:
    shown = CliRunner().invoke(
        main, ["events", "tail", topic, "--from-beginning", "-n", str(count), "--timeout", "20", "-o", "json"]
    )
    assert shown.exit_code == 0, shown.output
    return [json.loads(line) for line in shown.stdout.splitlines()]


def test_the_projects_topics_are_counted(topic: str) -> None:
    assert [
        {
            "topic": f"{topic}.pack.dead",
            "functions": ["pack"],
            "exists": True,
            "total": 4,
            "pending": 4,
            "replayed": 0,
            "oldest": "2026-01-31T12:00:00.000Z",
            "newest": "2026-01-31T12:00:03.000Z",
            "kinds": {"error": 2, "rejected": 2},
        }
    ] == objects("ls")
    assert "4 pending, 0 replayed  error 2, rejected 2" in dlq("ls").stdout


def test_a_topic_that_was_not_made_yet_is_listed(topic: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP.format(topic="never"))
    assert [("never.pack.dead", False, 0)] == [(f["topic"], f["exists"], f["total"]) for f in objects("ls")]
    assert "is not there yet" in dlq("ls").stdout
    assert [(f"{topic}.pack.dead", 4)] == [(f["topic"], f["total"]) for f in objects("ls", f"{topic}.pack.dead")]


def test_a_letter_is_shown_as_it_was(topic: str) -> None:
    [shown] = objects("show", "pack", "--id", "0/1")
    event = shown.pop("event")
    assert {
        "topic": f"{topic}.pack.dead",
        "partition": 0,
        "offset": 1,
        "id": "0/1",
        "key": "k",
        "kind": "rejected",
        "error": "it failed\x1b[31m 1",
        "attempts": 3,
        "function": "pack",
        "group": "demo.pack",
        "origin": {"topic": topic, "partition": 0, "offset": 1, "timestamp": 1700000000000},
        "time": "2026-01-31T12:00:01.000Z",
        "replays": 0,
        "replayed": False,
        "omitted": None,
    } == shown
    assert ("partition:0/offset:1", {"n": 1}, "2023-11-14T22:13:20.000Z") == (event["id"], event["data"], event["time"])
    assert not [name for name in event if name.startswith("kafkaheaderupon")]


def test_people_see_lines_that_do_no_harm(topic: str) -> None:
    shown = dlq("show", f"{topic}.pack.dead", "--kind", "rejected", "-n", "1").stdout.splitlines()
    assert 3 == len(shown)
    assert shown[0].startswith("0/1  2026-01-31 ")
    assert shown[0].endswith(f"  pending  rejected after 3 attempts  pack of {topic}/0/1  key=k")
    assert ["    it failed\\x1b[31m 1", '    {"n":1}'] == shown[1:]


def test_a_pointer_says_where_its_record_lies(topic: str, broker: Any) -> None:
    _, headers = letter(topic, 7, upon_omitted="the value of 9 bytes and 0 headers: read them at the origin")
    write(broker.bootstrap, f"{topic}.pack.dead", [(None, headers)])
    shown = dlq("show", "pack", "--id", "0/4").stdout
    assert (
        f"too large to be kept here: the value of 9 bytes and 0 headers: read them at the origin {topic}/0/7" in shown
    )
    [found] = objects("show", "pack", "--id", "0/4")
    assert (None, None) == (found["event"], found["value"])


def test_a_dry_run_writes_nothing(topic: str) -> None:
    shown = dlq("replay", "pack", "--dry-run", "--kind", "error")
    assert [
        f"0/0 → {topic}/0 for demo.pack  error",
        f"0/2 → {topic}/0 for demo.pack  error",
        f"2 letters of {topic}.pack.dead would be replayed",
    ] == shown.stdout.splitlines()
    assert [4] == [found["pending"] for found in objects("ls")]


def test_a_replay_and_another(topic: str) -> None:
    assert f"replayed 2 letters of {topic}.pack.dead\n" == dlq("replay", "pack", "--kind", "rejected", "--yes").stdout
    assert [False, True, False, True] == [found["replayed"] for found in objects("show", "pack")]
    assert ["0/0", "0/2"] == [found["id"] for found in objects("show", "pack", "--pending")]
    replayed = objects("replay", "pack", "--yes")
    assert [("0/0", "replayed", topic, 0, "demo.pack"), ("0/2", "replayed", topic, 0, "demo.pack")] == [
        (found["id"], found["status"], found["topic"], found["partition"], found["group"]) for found in replayed
    ]
    assert f"{topic}.pack.dead holds no pending letter that matches\n" == dlq("replay", "pack", "--yes").stdout
    assert [(0, 4)] == [(found["pending"], found["replayed"]) for found in objects("ls")]
    events = [record["event"] for record in tail(topic, 4)]
    assert [1, 3, 0, 2] == [event["data"]["n"] for event in events]
    assert [f"partition:0/offset:{n}" for n in (1, 3, 0, 2)] == [event["id"] for event in events]


def test_what_stays_is_a_failure(topic: str, broker: Any) -> None:
    write(broker.bootstrap, f"{topic}.pack.dead", [letter("nowhere", 5)])
    found = dlq("replay", "pack", "--yes")
    assert (1, 4) == (found.exit_code, len(tail(topic, 4)))
    assert "0/4 stays: there is no topic 'nowhere' any more" in found.stdout
    assert f"replayed 4 letters of {topic}.pack.dead; 1 stay" in found.stdout
    assert "1 letter could not be replayed and stays pending" in found.stderr


def test_a_terminal_is_asked(topic: str, broker: Any, tmp_path: Path) -> None:
    command = [*FUNC, "dlq", "replay", f"{topic}.pack.dead", "--kind", "error"]
    with on_terminal(command, cwd=tmp_path, env=environment({"PYTHONUNBUFFERED": "1"})) as terminal:
        terminal.wait_for(f"Replay 2 letters of {topic}.pack.dead? [y/N]")
        os.write(terminal._master, b"n\n")
        assert 1 == terminal.process.wait(30)
        until(lambda: "nothing was done" in terminal.text)
    assert [4] == [found["pending"] for found in objects("ls")]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["show", "{topic}.pak.dead"], 1, "there is no topic '{topic}.pak.dead': did you mean '{topic}.pack.dead'?"),
        (["show", "a b"], 2, "'a b' is not a Kafka topic name"),
        (["ls", "{topic}.no"], 1, "there is no topic '{topic}.no'"),
        (["replay", "pack"], 2, "there is no terminal to ask on: add --yes"),
        (["replay", "pack", "--yes", "--to", "{topic}x"], 1, "there is no topic '{topic}x': did you mean '{topic}'?"),
        (["replay", "pack", "--yes", "--to", "{topic}.pack.dead"], 2, "is the topic that is replayed"),
        (["replay", "pack", "--rate", "fast"], 2, "--rate 'fast' is no rate"),
        (["purge", "pack"], 2, "say what to delete: one of --replayed, --before TIME, --all"),
        (["purge", "pack", "--all", "--replayed"], 2, "say what to delete"),
        (["purge", "pack", "--all", "--yes"], 1, "the development broker can't delete records"),
    ],
)
def test_what_is_refused(topic: str, arguments: list[str], code: int, message: str) -> None:
    found = dlq(*(argument.format(topic=topic) for argument in arguments))
    assert (code, "") == (found.exit_code, found.stdout)
    assert message.format(topic=topic) in found.stderr


def test_outside_of_a_project_topics_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = dlq("ls", "--bootstrap", "127.0.0.1:1")
    assert 2 == found.exit_code
    assert "there is no func.yaml here that would say which functions there are: name the topics" in found.stderr


def test_a_project_without_dead_letters(topic: str, tmp_path: Path) -> None:
    (tmp_path / "func.yaml").write_text(HEAD + "delivery: {deadLetter: none}\n")
    found = dlq("ls")
    assert (0, "") == (found.exit_code, found.stdout)
    assert "no function of this project has a dead-letter topic" in found.stderr
