"""What `func build` pushed, in the eyes of others: readers that check every digest, and a container that serves it."""

from __future__ import annotations

import gzip
import json
import signal
import tarfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.builds import ROOT, Builder, Built, created_in, example_in, settings
from support.containers import container
from support.readers import Crane, Skopeo, Umoci, Unpacked, pulled
from support.registry import RealRegistry
from upon import __version__

SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
SAMPLE = ROOT / "examples/samples/tides.py"
FIRST_BUILD = 300  # seconds for a test that may be the first one to build: packages are fetched


@dataclass(frozen=True)
class Subject:
    """A built project; posted, content_type: the event for one of its functions; predicted: a part of the reply."""

    name: str
    folder: Path
    built: Built
    reference: str
    function: str
    posted: bytes
    content_type: str
    predicted: dict[str, str]


@pytest.fixture(scope="module", params=["example", "created"])
def subject(request: pytest.FixtureRequest, builder: Builder, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp(request.param)
    repository = f"runs/{request.param}"
    if request.param == "example":
        folder = example_in(folder)
        event = ("identify_batch", SAMPLE.read_bytes(), "application/octet-stream", {"type": "python"})
    else:
        folder = created_in(folder)
        settings(folder, "run: {drainDelay: 0.1}\n")
        event = ("classify", json.dumps(SETOSA).encode(), "application/json", {"label": "setosa"})
    built = builder.build(folder, repository)
    return Subject(request.param, folder, built, builder.reference(repository), *event)


@pytest.fixture(scope="module")
def image(subject: Subject, skopeo: Skopeo, umoci: Umoci, tmp_path_factory: pytest.TempPathFactory) -> Unpacked:
    return pulled(skopeo, umoci, subject.reference, tmp_path_factory.mktemp("pulled"))


@pytest.fixture(scope="module")
def manifest(subject: Subject, skopeo: Skopeo) -> dict[str, Any]:
    return skopeo.raw(f"docker://{subject.reference.removesuffix(':latest')}@{subject.built.digest}")


@pytest.mark.timeout(FIRST_BUILD)
def test_skopeo_finds_what_the_command_says(subject: Subject, skopeo: Skopeo) -> None:
    found = skopeo.inspect(subject.reference)
    assert subject.built.digest == found["Digest"]
    assert ("linux", "amd64") == (found["Os"], found["Architecture"])
    labels = found["Labels"]
    assert subject.built.digest != labels["org.opencontainers.image.base.digest"]
    models = json.loads(labels["dev.upon.models"])
    assert {"example": ["magika"], "created": ["iris"]}[subject.name] == [model["name"] for model in models]
    assert subject.function in json.loads(labels["dev.upon.functions"])


@pytest.mark.timeout(FIRST_BUILD)
def test_the_configuration_is_that_of_a_service_without_rights(subject: Subject, skopeo: Skopeo) -> None:
    config = skopeo.config(subject.reference)["config"]
    env = dict(item.split("=", 1) for item in config["Env"])
    assert "65532:65532" == config["User"]
    assert ["/opt/venv/bin/func", "serve"] == config["Entrypoint"]
    assert "/app" == config["WorkingDir"]
    assert not config.get("Cmd")
    assert env["PATH"].startswith("/opt/venv/bin:/usr/local/sbin:")
    expected = {
        "HOME": "/tmp",
        "XDG_CACHE_HOME": "/tmp/.cache",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "HOST": "0.0.0.0",
        "UPON_MANIFEST": "/opt/upon/manifest.json",
    }
    assert expected == {name: env[name] for name in expected}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("subject", ["example"], indirect=True)
def test_crane_finds_nothing_wrong(subject: Subject, crane: Crane) -> None:
    assert subject.built.digest == crane.digest(subject.reference)
    crane.validate(subject.reference)


@pytest.mark.timeout(FIRST_BUILD)
def test_layers_come_in_the_order_of_how_seldom_they_change(subject: Subject, manifest: dict[str, Any]) -> None:
    kinds = [kind_of(layer) for layer in manifest["layers"]]
    titles = [layer.get("annotations", {}).get("org.opencontainers.image.title", "") for layer in manifest["layers"]]
    large = [title for title, kind in zip(titles, kinds, strict=True) if kind == "package"]
    assert sorted(large) == large
    assert any("onnxruntime" in title for title in large)
    assert ["base", *["package"] * len(large), "packages", "upon", "model", "code", "manifest"] == kinds


def kind_of(layer: dict[str, Any]) -> str:
    return str(layer.get("annotations", {}).get("dev.upon.layer", "base"))


def members(registry: RealRegistry, manifest: dict[str, Any]) -> Iterator[tarfile.TarInfo]:
    """Every entry of our own layers."""
    for layer in manifest["layers"]:
        if kind_of(layer) != "base":
            with tarfile.open(registry.blob(layer["digest"]), "r:gz") as archive:
                yield from archive


@pytest.mark.timeout(FIRST_BUILD)
def test_files_belong_to_root_and_have_no_times(manifest: dict[str, Any], registry: RealRegistry) -> None:
    found = list(members(registry, manifest))
    assert {(0, 0, "", "")} == {(one.uid, one.gid, one.uname, one.gname) for one in found}
    assert {0} == {one.mtime for one in found}
    assert {0o755} == {one.mode for one in found if one.isdir()}
    assert {0o644, 0o755} == {one.mode for one in found if one.isfile()}
    assert not [one.name for one in found if one.name.startswith(("/", "..")) or "/../" in one.name]
    roots = {one.name.removeprefix("./").split("/")[0] for one in found}
    assert {"app", "opt"} == roots


@pytest.mark.timeout(FIRST_BUILD)
def test_nothing_of_this_machine_is_in_the_image(
    subject: Subject, manifest: dict[str, Any], registry: RealRegistry, skopeo: Skopeo
) -> None:
    traces = [str(subject.folder).encode(), str(ROOT).encode(), str(Path.home() / ".cache").encode()]
    said = [json.dumps(manifest).encode(), json.dumps(skopeo.config(subject.reference)).encode()]
    ours = [layer for layer in manifest["layers"] if kind_of(layer) in ("upon", "code", "manifest", "packages")]
    said += [gzip.decompress(registry.blob(layer["digest"]).read_bytes()) for layer in ours]
    assert [] == [trace for trace in traces for content in said if trace in content]


def ask(url: str, subject: Subject) -> tuple[int, dict[str, str], Any]:
    """The event, posted in binary mode: status, headers, data of the reply."""
    headers = {"ce-id": "1", "ce-source": "/tests", "ce-type": "file", "ce-specversion": "1.0"}
    request = urllib.request.Request(
        f"{url}/functions/{subject.function}",
        data=subject.posted,
        headers={**headers, "Content-Type": subject.content_type},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, json.load(answer)


@pytest.mark.timeout(FIRST_BUILD)
@pytest.mark.usefixtures("containers")
def test_it_starts_answers_with_a_prediction_and_stops(subject: Subject, image: Unpacked, tmp_path: Path) -> None:
    with container(image, log=tmp_path / "log") as started:
        started.wait_until_ready()
        status = started.status()
        assert {"65532"} == set(status["Uid"].split()) | set(status["Gid"].split())
        assert "0000000000000000" == status["CapEff"]
        code, headers, data = ask(started.url, subject)
        assert 200 == code
        assert "1" == headers["ce-causationid"]
        assert subject.predicted == {name: data[name] for name in subject.predicted}
        assert 0 == started.stop(signal.SIGTERM), started.stderr
    assert "Traceback" not in started.stderr


@pytest.mark.timeout(FIRST_BUILD)
@pytest.mark.usefixtures("containers")
def test_its_python_is_a_virtual_environment_with_all_of_upon(image: Unpacked, tmp_path: Path) -> None:
    program = "import sys, upon, json; print(json.dumps([sys.prefix, sys.executable, upon.__version__, upon.__file__]))"
    config = {**image.config, "Entrypoint": ["/opt/venv/bin/python", "-c", program]}
    with container(Unpacked(image.root, config), log=tmp_path / "log") as started:
        assert 0 == started.process.wait(60), started.stderr
    package = "/opt/venv/lib/python3.11/site-packages/upon/__init__.py"
    assert ["/opt/venv", "/opt/venv/bin/python", __version__, package] == json.loads(started.stderr)


@pytest.mark.timeout(FIRST_BUILD)
def test_the_packages_are_installed_in_the_eyes_of_python(image: Unpacked, subject: Subject) -> None:
    site = image.root / "opt/venv/lib/python3.11/site-packages"
    installed = {found.name.split("-")[0].lower() for found in site.glob("*.dist-info")}
    assert {"upon", "numpy", "onnxruntime", "flask", "granian"} <= installed
    shebang = (image.root / "opt/venv/bin/func").read_bytes().splitlines()[0]
    assert b"#!/opt/venv/bin/python" == shebang
    assert (image.root / "app/func.yaml").is_file()
    assert not list((image.root / "app").rglob("__pycache__"))
    assert not (image.root / "app/tests").exists()


@pytest.mark.timeout(FIRST_BUILD)
@pytest.mark.parametrize(("name", "transport"), [("layout", "oci"), ("image.tar", "oci-archive")])
def test_on_disk_it_is_the_same_image(
    subject: Subject, builder: Builder, skopeo: Skopeo, tmp_path: Path, name: str, transport: str
) -> None:
    flags = ("--image", subject.reference, "--base", builder.base.reference, "--output", str(tmp_path / name))
    done = builder.run("build", *flags, cwd=subject.folder)
    assert 0 == done.returncode, done.stderr
    skopeo.copy(f"{transport}:{tmp_path / name}", f"oci:{tmp_path / 'copy'}:copied")
    index = json.loads((tmp_path / "copy/index.json").read_bytes())
    assert [subject.built.digest] == [one["digest"] for one in index["manifests"]]
