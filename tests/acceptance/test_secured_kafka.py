"""A project on a locked Kafka, as real processes: the password comes by reference, and is seen nowhere."""

from __future__ import annotations

import json
import time
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.func import Running, func, running
from support.kafka_secured import PASSWORD, SecuredKafka
from upon_build.cli.exits import Exit

pytestmark = pytest.mark.kafka

APP = "import upon\n\n@upon.kafka({topic!r}, reply_to={out!r})\ndef handle(data: dict) -> dict:\n    return data\n"
IN_TIME = 30.0  # seconds, a start of Python on a busy machine included


@dataclass
class Project:
    """A folder whose profile `dev` names the secured broker's listener SASLTLS."""

    folder: Path
    secured: SecuredKafka
    user: str
    topic: str

    @property
    def out(self) -> str:
        return f"{self.topic}.out"

    @property
    def dead(self) -> str:
        return f"{self.topic}.handle.dead"

    def write(self, listener: str = "SASLTLS", password: str = PASSWORD) -> None:
        (self.folder / "app.py").write_text(APP.format(topic=self.topic, out=self.out))
        (self.folder / ".env").write_text(f"KAFKA_PASSWORD={password}\n")
        (self.folder / "func.yaml").write_text(
            "name: demo\nfunctions: [app.py]\nprofiles:\n  dev:\n    kafka:\n"
            f"      bootstrap: {self.secured.address(listener)}\n"
            f"      tls: {{ca: {self.secured.file('ca.pem')}}}\n"
            f'      sasl: {{username: {self.user}, password: "{{{{ secret:kafka:password }}}}"}}\n'
        )


@pytest.fixture
def project(secured: SecuredKafka, tmp_path: Path) -> Project:
    """A user of its own with every right that the project needs."""
    mark = uuid.uuid4().hex[:8]
    made = Project(tmp_path, secured, f"user{mark}", f"in{mark}")
    secured.add_user(made.user)
    secured.create_topics(made.topic)
    secured.allow_all(made.user, made.topic, "demo.handle", made.out, made.dead)
    made.write()
    return made


def everything_of(run: Running) -> str:
    """What the process shows of itself."""
    process = Path(f"/proc/{run.process.pid}")
    shown = [(process / name).read_bytes().replace(b"\0", b" ").decode() for name in ("cmdline", "environ")]
    for path in ("/health/readiness", "/metrics"):
        with urllib.request.urlopen(run.url + path, timeout=10) as answer:
            shown.append(answer.read().decode())
    return "\n".join([*shown, json.dumps(run.ready), run.stderr])


def test_in_and_out_with_a_secret(project: Project) -> None:
    seen: list[str] = []

    def tool(*arguments: str) -> str:
        done = func(*arguments, cwd=project.folder)
        seen.extend([done.stdout, done.stderr])
        assert Exit.OK == done.returncode, done.stderr
        return done.stdout

    project.secured.allow(project.user, "Write", topic=project.topic)
    project.secured.allow(project.user, "Read", topic=project.out)
    with running(cwd=project.folder) as run:
        tool("events", "send", project.topic, "--data", '{"n": 1}')
        told = tool("events", "tail", project.out, "--from-beginning", "-n", "1", "--timeout", "60", "-o", "json")
        seen.append(everything_of(run))
        assert Exit.OK == run.stop()
        seen.append(run.stderr)
    tool("check")
    tool("check", "-o", "json")
    assert {"n": 1} == json.loads(told)["event"]["data"]
    assert [] == [text for text in seen if PASSWORD in text]


Change = Callable[[Project], None]
FAULTS: dict[str, tuple[Change, str]] = {
    "wrong password": (lambda p: p.write(password="wrong-too"), "refuses the credentials of '{user}' with SCRAM"),
    "expired certificate": (lambda p: p.write("EXPIRED"), "has expired: renew it"),
    "needless credentials": (lambda p: p.write("TLS"), "takes no SASL credentials: remove kafka.sasl"),
    "no right to read": (
        lambda p: p.secured.withdraw(p.user, "Read", topic=p.topic),
        "topic '{topic}' can't be read with these credentials",
    ),
    "no right on the group": (
        lambda p: p.secured.withdraw(p.user, "Read", group="demo.handle"),
        "consumer group 'demo.handle' can't be joined with these credentials: grant Read",
    ),
    "no right to reply": (
        lambda p: p.secured.withdraw(p.user, "Write Create", topic=p.out),
        "topic '{out}' can't be written to with these credentials",
    ),
    "no right to make the dead letter topic": (
        lambda p: p.secured.withdraw(p.user, "Create", topic=p.dead),
        "topic '{dead}' does not exist and can't be made from here (these credentials lack the right Create): run",
    ),
}


@pytest.mark.parametrize("name", list(FAULTS))
def test_what_run_says(project: Project, name: str) -> None:
    change, said = FAULTS[name]
    change(project)
    began = time.monotonic()

    done = func("run", "--port", "0", cwd=project.folder)

    assert Exit.UNAVAILABLE == done.returncode, done.stderr
    assert time.monotonic() - began < IN_TIME
    names = {name: getattr(project, name) for name in ("user", "topic", "out", "dead")}
    assert said.format(**names) in one_error(done.stderr)
    assert "wrong-too" not in done.stdout + done.stderr


@pytest.mark.parametrize("command", [("send", "--data", "{}"), ("tail", "--from-beginning", "--timeout", "20")])
def test_what_events_say(project: Project, command: tuple[str, ...]) -> None:
    verb, *rest = command
    rights = {"send": ("Write", "written to"), "tail": ("Read", "read")}
    operation, done_to = rights[verb]
    project.secured.withdraw(project.user, "Read Write Create", topic=project.topic)

    hidden = func("events", verb, project.topic, *rest, cwd=project.folder)
    project.secured.allow(project.user, "Describe", topic=project.topic)
    seen = func("events", verb, project.topic, *rest, cwd=project.folder)
    project.write(password="wrong-too")
    refused = func("events", verb, project.topic, *rest, cwd=project.folder)

    assert [Exit.UNAVAILABLE] * 3 == [done.returncode for done in (hidden, seen, refused)]
    lacking = f"topic {project.topic!r} can't be {done_to} with these credentials"
    assert f"{lacking}, or does not exist: grant {operation}" in one_error(hidden.stderr)
    assert f"{lacking}: grant {operation}" in one_error(seen.stderr)
    assert f"refuses the credentials of {project.user!r}" in one_error(refused.stderr)


def one_error(stderr: str) -> str:
    [line] = [line for line in stderr.splitlines() if line.startswith("Error: ")]
    assert "Traceback" not in stderr
    return line
