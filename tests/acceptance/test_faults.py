"""What goes wrong before an event is handled: one clear message each, and the documented exit code."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.func import func, running
from upon_build.cli.exits import Exit

YAML = "name: demo\nfunctions: [app.py]\n"
GOOD = "import upon\n\n@upon.http('POST /a')\ndef handle(data: dict) -> dict:\n    return data\n"
TWO = (
    "import upon\n\n@upon.cloudevent(type='a')\ndef one(event: upon.Event) -> None: ...\n\n"
    "@upon.cloudevent(source='/b')\ndef two(event: upon.Event) -> None: ...\n"
)
MODEL = GOOD + "\nmodel = upon.Model('m', 'm.onnx')\n"
TOPIC = "import upon\n\n@upon.kafka('a')\ndef handle(data: dict) -> None: ...\n"


@dataclass(frozen=True)
class Fault:
    """files: of the project. said: parts of the one message. exit: of `func check` and `func run`."""

    said: tuple[str, ...]
    files: dict[str, str] = field(default_factory=dict)
    exit: Exit = Exit.USAGE
    warning: bool = False


FAULTS = {
    "syntax error": Fault(("app.py:2", "SyntaxError"), {"app.py": "import upon\ndef broken(:\n"}),
    "error while importing": Fault(("app.py:1", "ZeroDivisionError", "1 / 0"), {"app.py": "1 / 0\n"}),
    "missing package": Fault(("nosuchpackage", "pip install"), {"app.py": "import nosuchpackage\n"}),
    "no functions": Fault(("there is no function in app.py", "decorate"), {"app.py": "x = 1\n"}),
    "no such file": Fault(
        ("there is no file 'ap.py'", "did you mean 'app.py'"), {"func.yaml": "name: demo\nfunctions: [ap.py]\n"}
    ),
    "two objects of one name": Fault(
        ("there are two functions of the name 'handle'", "app.py", "more.py"),
        {"func.yaml": "name: demo\nfunctions: [app.py, more.py]\n", "more.py": GOOD.replace("/a", "/b")},
    ),
    "two subscriptions match one event": Fault(("one", "two", "can match one event"), {"app.py": TWO}),
    "unknown key": Fault(
        ("func.yaml:3", "registri", "did you mean 'registry'"), {"func.yaml": YAML + "registri: x\n"}, Exit.OK, True
    ),
    "wrong type": Fault(
        ("func.yaml:4", "deploy.timeoutSeconds", "'soon'"), {"func.yaml": YAML + "deploy:\n  timeoutSeconds: soon\n"}
    ),
    "not YAML": Fault(("func.yaml:2", "not YAML"), {"func.yaml": "name: [\n"}),
    "bad decorator": Fault(
        ("app.py:3", "needs its arguments"), {"app.py": "import upon\n\n@upon.kafka\ndef handle(): ...\n"}
    ),
    "missing model file": Fault(("app.py:7", "m.onnx"), {"app.py": MODEL}),
    "a model that is not ONNX": Fault(("m.onnx", "ONNX"), {"app.py": MODEL, "m.onnx": "not a model"}),
    "unknown profile": Fault(("no profile 'staging'",)),
}


def write(folder: Path, fault: Fault) -> Path:
    for name, text in {"func.yaml": YAML, "app.py": GOOD, **fault.files}.items():
        (folder / name).write_text(text)
    return folder


def flags_of(name: str) -> list[str]:
    return ["--profile", "staging"] if name == "unknown profile" else []


@pytest.mark.parametrize("name", list(FAULTS))
def test_check(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]

    done = func("check", *flags_of(name), cwd=write(tmp_path, fault))

    assert done.returncode == fault.exit, done.stdout + done.stderr
    message = message_of(done.stdout + done.stderr, "Warning: " if fault.warning else "Error: ")
    assert [part for part in fault.said if part not in message] == [], message
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if not fault.warning])
def test_run(name: str, tmp_path: Path) -> None:
    fault = FAULTS[name]

    done = func("run", "--port", "0", *flags_of(name), cwd=write(tmp_path, fault))

    assert done.returncode == fault.exit, done.stdout + done.stderr
    message = message_of(done.stderr, "Error: ")
    assert [part for part in fault.said if part not in message] == [], message
    assert "Traceback" not in done.stderr


def test_a_warning_does_not_stop_a_run(tmp_path: Path) -> None:
    with running(cwd=write(tmp_path, FAULTS["unknown key"])) as run:
        pass

    assert "Warning: func.yaml:3" in run.stderr


def test_no_project(tmp_path: Path) -> None:
    for command in ("check", "run", "serve"):
        done = func(command, cwd=tmp_path)

        assert done.returncode == Exit.USAGE
        assert "there is no func.yaml" in done.stderr
        assert "func create NAME" in done.stderr


@pytest.mark.parametrize("command", ["run", "serve"])
def test_a_port_in_use(command: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = func(command, "--host", "127.0.0.1", "--port", port, cwd=write(tmp_path, Fault(())))

    assert done.returncode == Exit.UNAVAILABLE
    assert f"port {port}: the port is in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreachable_broker(tmp_path: Path, silent_port: int) -> None:
    project = write(tmp_path, Fault((), {"app.py": TOPIC}))

    done = func("run", "--port", "0", "--bootstrap", f"127.0.0.1:{silent_port}", cwd=project)

    assert done.returncode == Exit.UNAVAILABLE, done.stderr
    assert "no Kafka broker answers at '127.0.0.1:" in message_of(done.stderr, "Error: ")
    assert "Traceback" not in done.stderr


def test_a_broker_without_a_name(tmp_path: Path) -> None:
    project = write(tmp_path, Fault((), {"app.py": TOPIC}))

    done = func("run", "--port", "0", "--bootstrap", "kafka.invalid:9092", cwd=project)

    assert done.returncode == Exit.UNAVAILABLE, done.stderr
    assert "the name 'kafka.invalid' can't be resolved: correct kafka.bootstrap" in message_of(done.stderr, "Error: ")


def test_a_web_server_is_no_broker(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "func.yaml").write_text(YAML)
    (tmp_path / "web" / "app.py").write_text(GOOD)
    project = write(tmp_path, Fault((), {"app.py": TOPIC}))

    with running(cwd=tmp_path / "web") as run:
        address = run.url.removeprefix("http://")
        done = func("run", "--port", "0", "--bootstrap", address, cwd=project)

    assert done.returncode == Exit.UNAVAILABLE, done.stderr
    assert f"an HTTP server answers at {address!r}, and no Kafka broker" in message_of(done.stderr, "Error: ")


def test_nobody_to_invoke(tmp_path: Path, silent_port: int) -> None:
    url = f"http://127.0.0.1:{silent_port}"

    done = func("invoke", "--url", url, "--data", "{}", cwd=tmp_path)

    assert done.returncode == Exit.UNAVAILABLE
    assert done.stderr.startswith(f"Error: no service answers at {url}")
    assert "func run" in done.stderr


def test_no_kafka_for_events(tmp_path: Path) -> None:
    for arguments in (["send", "a", "--data", "1"], ["tail", "a"]):
        done = func("events", *arguments, cwd=tmp_path)

        assert done.returncode == Exit.UNAVAILABLE
        assert "there is no Kafka to talk to" in done.stderr


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that is taken and on which nobody listens: connections are refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


def message_of(output: str, prefix: str) -> str:
    """The one line that tells the fault."""
    lines = [line for line in output.splitlines() if line.startswith(prefix)]
    assert len(lines) == 1, output
    return lines[0]
