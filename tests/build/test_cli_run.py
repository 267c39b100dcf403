"""`func run` as a real process: what scripts and people see, and how it ends."""

from __future__ import annotations

import http.client
import json
import re
import signal
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.func import func, running, started
from support.services_on_disk import service_in
from upon_build.cli.running import state_path

APP = """
import time
from pathlib import Path
import upon

@upon.http("POST /echo")
def echo(data: dict) -> dict:
    if "sleep" in data:
        Path("started").touch()
        time.sleep(data["sleep"])
    if "fail" in data:
        raise ValueError(data["fail"])
    return data

@upon.kafka("numbers", reply_to="numbers.doubled")
def double(number: int) -> int:
    return 2 * number

@upon.cron("0 0 1 1 *")
def yearly(event: upon.Event) -> None: ...
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "func.yaml").write_text("name: demo\nfunctions: [app.py]\nrun: {drainDelay: 1}\n")
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def post(url: str, path: str, data: object) -> tuple[int, object]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request("POST", path, json.dumps(data), {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"null")
    finally:
        connection.close()


def test_ready_is_the_first_line_and_says_where(project: Path) -> None:
    with running(cwd=project) as run:
        ready = run.ready
        state = json.loads(state_path(project).read_text())
        assert post(run.url, "/echo", {"a": 1}) == (200, {"a": 1})
        assert run.event("handled")["function"] == "echo"
        assert run.stop() == 0

    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", ready["url"])
    assert re.fullmatch(r"127\.0\.0\.1:\d+", ready["kafka"])
    assert (ready["profile"], ready["embedded"], ready["functions"]) == ("dev", True, ["echo", "double", "yearly"])
    assert (state["url"], state["kafka"], state["pid"]) == (ready["url"], ready["kafka"], ready["pid"])
    assert not state_path(project).exists()


def test_a_thousand_records_are_a_few_lines(project: Path) -> None:
    from upon_triggers.kafka.publisher import KafkaPublisher
    from upon_triggers.settings import KafkaConnection

    with running(cwd=project) as run:
        publisher = KafkaPublisher(KafkaConnection((run.ready["kafka"],), embedded=True))
        publisher.open()
        for number in range(1000):
            publisher.publish_raw("numbers", None, str(number).encode(), [], lambda error: None)
        assert publisher.flush(20)
        publisher.close(5)

        began, lines = time.monotonic(), list[dict[str, object]]()
        while sum(int(str(line["count"])) for line in lines) < 1000:
            lines.append(run.event("handled", timeout=20))
        took = time.monotonic() - began

    assert sum(int(str(line["count"])) for line in lines) == 1000
    assert {line["replyTo"] for line in lines} == {"numbers.doubled"}
    assert len(lines) <= 4 + 2 * took


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_finishes_what_is_in_flight(project: Path, number: int) -> None:
    answers: list[object] = []
    with running(cwd=project) as run:
        asking = threading.Thread(target=lambda: answers.append(post(run.url, "/echo", {"sleep": 1.0})))
        asking.start()
        in_flight(project)
        assert run.stop(number) == 0
        asking.join(10)

    assert answers == [(200, {"sleep": 1.0})]


def test_the_second_signal_ends_at_once(project: Path) -> None:
    with running(cwd=project) as run:
        threading.Thread(target=lambda: ask_in_vain(run.url), daemon=True).start()
        in_flight(project)
        run.process.send_signal(signal.SIGTERM)
        run.event("stopping")
        time.sleep(0.4)  # the same signal right behind the first is still the first
        began = time.monotonic()
        assert run.stop() == 1

    assert time.monotonic() - began < 5


def ask_in_vain(url: str) -> None:
    with pytest.raises((http.client.HTTPException, OSError)):
        post(url, "/echo", {"sleep": 20.0})


def in_flight(project: Path) -> None:
    """Wait until a handler that sleeps has begun."""
    deadline = time.monotonic() + 20
    while not (project / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_people_see_lines_with_failures_and_where_they_came_from(project: Path) -> None:
    with started("run", "--port", "0", cwd=project, ready="") as run:
        lines = read_until(run.lines, "Ready")
        url = next(line.split()[1] for line in lines if line.startswith("  http"))
        assert post(url, "/echo", {"fail": "bad row"})[0] == 500
        lines += read_until(run.lines, "in echo:")
        sent = func("events", "send", "numbers", "--data", '"x"', cwd=project)
        assert sent.returncode == 0, sent.stderr
        lines += read_until(run.lines, "invalid")
        assert run.stop(signal.SIGINT) == 0

    text = "\n".join(lines)
    assert "demo, profile dev (default)" in text
    assert "keeps about 5 MB a partition" in text
    assert "POST /echo  error  ValueError: bad row" in text
    assert re.search(r'app\.py:12 in echo: raise ValueError\(data\["fail"\]\)', text)
    assert re.search(r"kafka  double  numbers\[\d\] 0  invalid", text)
    assert "\x1b" not in text


def read_until(lines: object, wanted: str) -> list[str]:
    found: list[str] = []
    while not any(wanted in line for line in found):
        found.append(lines.get(timeout=30).rstrip("\n"))  # type: ignore[attr-defined]
    return found


def test_tick_fires_each_schedule_once(project: Path) -> None:
    with running("--tick", cwd=project) as run:
        assert run.event("ticked")["functions"] == ["yearly"]
        handled = run.event("handled")

    assert (handled["trigger"], handled["function"], handled["count"]) == ("cron", "yearly", 1)


def test_another_folder_and_profile(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    with running("--profile", "prod", str(project), cwd=elsewhere) as run:
        assert run.ready["profile"] == "prod"
        assert state_path(project).exists()


def test_the_environment_of_func_yaml_reaches_the_log_level(project: Path) -> None:
    with (project / "func.yaml").open("a") as file:
        file.write("profiles: {dev: {run: {envs: [{name: LOG_LEVEL, value: LOUD}]}}}\n")

    done = func("run", "--port", "0", cwd=project)

    assert done.returncode == 2
    assert "LOG_LEVEL='LOUD' is not a level" in done.stderr


def test_what_the_code_prints_does_not_mix_with_json(tmp_path: Path) -> None:
    service_in(tmp_path, "import upon\nprint('hello')\n@upon.http('GET /x')\ndef x(): print('again')\n")
    checked = func("check", "-o", "json", cwd=tmp_path)
    assert ["x"] == [function["name"] for function in json.loads(checked.stdout)["functions"]]
    assert "hello\n" == checked.stderr
    with running(cwd=tmp_path) as run:
        with urllib.request.urlopen(f"{run.url}/x", timeout=10) as answer:
            assert 204 == answer.status
        run.event("handled")
        assert run.stop() == 0
    assert "hello\n" in run.stderr
    assert "again\n" in run.stderr


@pytest.mark.parametrize("command", ["run", "serve"])
def test_a_missing_secret_is_told_once_and_every_other_warning_too(project: Path, command: str) -> None:
    with (project / "func.yaml").open("a") as file:
        file.write(
            'registri: x\nkafka: {bootstrap: "127.0.0.1:9", sasl: {username: u, password: "{{ secret:hub:key }}"}}\n'
        )
    ended = func(command, "--port", "0", cwd=project)
    assert (2, 1) == (ended.returncode, ended.stderr.count("needs secret 'hub'"))
    assert "did you mean 'registry'?" in ended.stderr
    assert "Error: func.yaml:5: kafka.sasl.password needs secret 'hub', key 'key'" in ended.stderr
