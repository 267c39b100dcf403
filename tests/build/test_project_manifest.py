"""A manifest says what the code says, in the same bytes every time, and is read strictly."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.http import eventually
from support.projects import write_project
from upon import Event, Function, UsageError
from upon._signature import analyse
from upon._triggers import (
    Batched,
    CloudEventTrigger,
    CronTrigger,
    HttpTrigger,
    KafkaTrigger,
    Options,
)
from upon_build.project import ProjectError, load_project
from upon_build.project.making import Making, make_manifest
from upon_build.project.manifest import FORMAT, Manifest, manifest_of, read_manifest
from upon_build.project.standin import stand_in

APP = """
import upon
from upon import Event

model = upon.Model("sentiment", "models/s.onnx")
scored = upon.Topic("scored")

@upon.options(timeout=7, retry=2, concurrency=3)
@upon.kafka("reviews", group="g", ordering="key", value="text", start="latest", reply_to="out", reply_type="t")
@upon.cron("0 3 * * *", timezone="Europe/Berlin", overlap="replace", catch_up=3, jitter=2.5)
@upon.http("POST /score/{id}")
@upon.cloudevent(type="a", source="/b")
def score(event: Event) -> None: ...

@upon.batched(max_size=7, max_wait=0.5)
@upon.kafka("many")
def many(events: list[Event]) -> None: ...
"""
YAML = """
name: reviews
functions: [app.py]
run: {envs: [{name: TOKEN, value: "{{ secret:hub:token }}"}]}
delivery: {retry: 5, backoffDelay: PT0.2S}
kafka: {bootstrap: "kafka:9092", sasl: {username: me, password: hunter2}}
options: {score: {timeout: 9, kafka: {reviews: {topic: prod.reviews}}}}
profiles: {dev: {}, prod: {kafka: {bootstrap: "prod:9092"}}}
"""

NAMES = st.from_regex(r"[a-z_]{1,12}", fullmatch=True).filter(str.isidentifier)
TOPICS = st.from_regex(r"[a-zA-Z0-9_-]{1,30}", fullmatch=True)
REPLIES = {"reply_to": st.none() | TOPICS, "reply_type": st.none() | st.text(min_size=1)}
SECONDS = st.floats(0.001, 1e6)
TRIGGERS = st.one_of(
    st.builds(
        KafkaTrigger,
        TOPICS,
        group=st.none() | TOPICS,
        value=st.sampled_from(["json", "text", "bytes"]),
        ordering=st.sampled_from(["partition", "key", "unordered"]),
        start=st.sampled_from(["earliest", "latest"]),
        **REPLIES,
    ),
    st.builds(
        CronTrigger,
        st.just("0 3 * * *"),
        timezone=st.sampled_from(["UTC", "Europe/Berlin"]),
        overlap=st.sampled_from(["allow", "forbid", "replace"]),
        catch_up=st.integers(0, 99),
        jitter=SECONDS,
        **REPLIES,
    ),
    st.builds(HttpTrigger, st.sampled_from(["POST /score/{id}", "GET /ä b".replace(" b", "")]), **REPLIES),
    st.builds(CloudEventTrigger, st.lists(st.tuples(NAMES, st.text(min_size=1))).map(tuple), **REPLIES),
)
OPTIONS = st.builds(
    Options,
    timeout=st.none() | SECONDS,
    concurrency=st.none() | st.integers(1, 99),
    retry=st.none() | st.integers(0, 99),
    idempotent=st.none() | st.booleans(),
)
FUNCTIONS = st.builds(
    lambda name, batch, triggers, options, batched: Function(
        stand_in(name, batch=batch), tuple(triggers), options, batched
    ),
    NAMES,
    st.booleans(),
    st.lists(TRIGGERS, max_size=4),
    OPTIONS,
    st.none() | st.builds(Batched, st.integers(1, 999), SECONDS),
)
MANIFESTS = st.builds(
    Manifest,
    st.text(min_size=1),
    st.lists(FUNCTIONS, max_size=4, unique_by=lambda function: function.name).map(tuple),
    st.lists(st.tuples(TOPICS, TOPICS), unique=True).map(tuple),
    st.lists(TOPICS, unique=True).map(tuple),
    st.just({"name": "reviews"}),
)


def said(function: Function[..., Any]) -> tuple[Any, ...]:
    """What a function says of itself."""
    batch = analyse(function.plain).batch
    return (function.name, batch, function.triggers, function.options, function.batched)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path, YAML, APP)


def made(folder: Path, **more: Any) -> Manifest:
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models" / "s.onnx").touch()
    with load_project(folder, env={"HUB_TOKEN": "secret-token"}, **more) as project:
        return manifest_of(project)


@settings(max_examples=40, deadline=None)
@given(MANIFESTS)
def test_what_is_written_is_read_again(manifest: Manifest) -> None:
    read = read_manifest(manifest.to_bytes())
    assert sorted(map(said, manifest.functions), key=str) == sorted(map(said, read.functions), key=str)
    assert (manifest.service, sorted(manifest.models), sorted(manifest.topics)) == (
        read.service,
        list(read.models),
        list(read.topics),
    )
    assert manifest.to_bytes() == read.to_bytes()


def test_a_projects_functions_are_those_of_its_code(project: Path) -> None:
    (project / "models").mkdir()
    (project / "models" / "s.onnx").touch()
    with load_project(project, env={"HUB_TOKEN": "x"}) as loaded:
        manifest = read_manifest(manifest_of(loaded).to_bytes())
        expected = sorted(map(said, loaded.objects.functions), key=str)
    assert expected == sorted(map(said, manifest.functions), key=str)
    assert ("reviews", (("sentiment", "models/s.onnx"),), ("scored",)) == (
        manifest.service,
        manifest.models,
        manifest.topics,
    )


def test_no_path_time_secret_variable_or_profile_is_in_it(project: Path) -> None:
    content = made(project).to_bytes().decode()
    for word in (str(project), str(Path.home()), "secret-token", "hunter2", "prod:9092", "profiles"):
        assert word not in content
    value = json.loads(content)
    assert "{{ secret:hub:token }}" == value["project"]["run"]["envs"][0]["value"]
    assert "PT0.2S" == value["project"]["delivery"]["backoffDelay"]
    assert {"username": "me"} == value["project"]["kafka"]["sasl"]


def test_options_and_profiles_are_not_applied(project: Path) -> None:
    assert made(project).to_bytes() == made(project, profile="prod").to_bytes()
    score = next(function for function in made(project).functions if function.name == "score")
    assert 7 == score.options.timeout
    assert "reviews" in [trigger.topic for trigger in score.triggers if isinstance(trigger, KafkaTrigger)]


def test_the_same_project_gives_the_same_bytes(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = write_project(tmp_path_factory.mktemp("other"), YAML, APP)
    os.utime(other / "app.py", (0, 0))
    assert made(project).to_bytes() == made(other).to_bytes()


def test_a_project_with_errors_has_no_manifest(tmp_path: Path) -> None:
    write_project(tmp_path, YAML, APP)
    with pytest.raises(ProjectError, match=r"models/s\.onnx"), load_project(tmp_path, env={}) as project:
        manifest_of(project)


def test_a_function_of_a_manifest_cannot_be_called() -> None:
    manifest = Manifest("s", (Function(stand_in("f", batch=False)), Function(stand_in("g", batch=True))))
    one, many = read_manifest(manifest.to_bytes()).functions
    with pytest.raises(UsageError, match="the code of this function is not here"):
        one(Event.of())
    with pytest.raises(UsageError, match="the code of this function is not here"):
        many([])


# Reading


def valid() -> dict[str, Any]:
    trigger = KafkaTrigger("orders")
    value: dict[str, Any] = json.loads(Manifest("s", (Function(stand_in("f", batch=False), (trigger,)),)).to_bytes())
    return value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "format is None"),
        (b"{}", "format is None"),
        (b'{"format": "upon.manifest/v2"}', f"format is 'upon.manifest/v2': this version of Upon reads '{FORMAT}'"),
    ],
)
def test_what_is_no_manifest(content: bytes, message: str) -> None:
    with pytest.raises(ProjectError, match=r"m\.json: ") as caught:
        read_manifest(content, "m.json")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("more",), 1, "the manifest has the unknown key 'more'"),
        (("service",), None, "None is no text"),
        (("service",), ..., "'service' is missing"),
        (("functions",), 3, "not iterable"),
        (("functions", 0, "more"), 1, "a function has the unknown key 'more'"),
        (("functions", 0, "name"), "f-1", "'f-1' is no function's name"),
        (("functions", 0, "batch"), 1, "batch is 1"),
        (("functions", 0, "batched"), {"max_size": 0}, "max_size=0"),
        (("functions", 0, "options"), {"timeout": -1}, "timeout=-1"),
        (("functions", 0, "options"), {"patience": 1}, "patience"),
        (("functions", 0, "triggers", 0, "kind"), "mqtt", "unknown kind of trigger 'mqtt'"),
        (("functions", 0, "triggers", 0, "kind"), ..., "'kind' is missing"),
        (("functions", 0, "triggers", 0, "value"), "yaml", "value='yaml'"),
        (("functions", 0, "triggers", 0, "start"), ..., "'start' is missing"),
        (("functions", 0, "triggers", 0, "more"), 1, "a trigger of kind kafka has the unknown key 'more'"),
        (("models",), [{"name": "m"}], "'path' is missing"),
        (("project",), [], r"[] is no mapping"),
    ],
)
def test_a_manifest_is_read_strictly(path: tuple[Any, ...], value: Any, message: str) -> None:
    content = valid()
    inner: Any = content
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    with pytest.raises(ProjectError) as caught:
        read_manifest(json.dumps(content).encode())
    assert message in str(caught.value)


def test_two_functions_of_one_name_are_refused() -> None:
    content = valid()
    content["functions"] *= 2
    with pytest.raises(ProjectError, match="two functions have one name"):
        read_manifest(json.dumps(content).encode())


# Making, in another process


def test_a_manifest_is_made_by_one_import_in_another_process(tmp_path: Path) -> None:
    app = "import os, sys, time\nprint('noise')\nos.write(1, b'more noise')\ntime.sleep(0.1)\n" + APP.replace(
        'model = upon.Model("sentiment", "models/s.onnx")', ""
    )
    write_project(tmp_path, YAML, app)
    found = make_manifest(tmp_path, "dev")
    assert ["many", "score"] == [function.name for function in found.manifest.functions]
    assert found.seconds >= 0.1


def test_what_is_wrong_with_the_code_is_told(tmp_path: Path) -> None:
    write_project(tmp_path, app="import upon\nimport nowhere\n")
    with pytest.raises(ProjectError, match=r"app\.py:2: .*nowhere"):
        make_manifest(tmp_path, "dev")


def test_code_that_ends_the_process(tmp_path: Path) -> None:
    write_project(tmp_path, app="import os\nos._exit(7)\n")
    with pytest.raises(ProjectError, match="ended with 7"):
        make_manifest(tmp_path, "dev")


def test_code_that_never_comes_to_an_end(tmp_path: Path) -> None:
    write_project(tmp_path, app="import time\ntime.sleep(60)\n")
    with pytest.raises(ProjectError, match=r"was not imported within 0\.5 s"):
        make_manifest(tmp_path, "dev", timeout=0.5)


def test_an_import_that_nobody_waits_for_is_ended(tmp_path: Path) -> None:
    """Even where the code started a process that holds the output open."""
    app = "import os, subprocess\nsubprocess.Popen(['sleep', '30'])\n"
    said = tmp_path / "pid"
    write_project(tmp_path, app=f"{app}open({str(said)!r}, 'w').write(str(os.getpid()))\nos.read(os.pipe()[0], 1)\n")
    with Making(tmp_path, "dev"):
        assert eventually(lambda: said.is_file() and said.read_text() != "", timeout=60)
        began = time.monotonic()

    assert time.monotonic() - began < 20
    with pytest.raises(ProcessLookupError):
        os.kill(int(said.read_text()), 0)
