"""The image's configuration says who runs what and where it comes from, and nothing about this machine or moment."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from upon import UsageError
from upon_build.image.assembly.base import Base
from upon_build.image.assembly.config import Facts, make_config, read_epoch
from upon_build.image.files.revision import Revision, public_address, read_revision
from upon_build.image.oci import LAYER, Descriptor, Layer

BASE_CONFIG: dict[str, Any] = {
    "architecture": "arm64",
    "os": "linux",
    "variant": "v8",
    "created": "2026-01-01T00:00:00Z",
    "author": "somebody",
    "config": {
        "Env": ["PATH=/usr/local/bin:/bin", "LANG=C.UTF-8", "PYTHONPATH=/elsewhere", "HOME=/root"],
        "Cmd": ["python3"],
        "Entrypoint": ["/init"],
        "User": "root",
        "Volumes": {"/data": {}},
        "Labels": {"org.opencontainers.image.title": "python", "vendor": "acme"},
    },
    "history": [{"created_by": "ADD file"}, {"created_by": "CMD", "empty_layer": True}],
}


def layer(title: str, number: int) -> Layer:
    digest = f"sha256:{number:064x}"
    return Layer(Descriptor(LAYER, digest, 10), digest.replace("0", "f"), 100, title)


def base(config: dict[str, Any] = BASE_CONFIG) -> Base:
    return Base("registry.example/python:3.11", f"sha256:{7:064x}", "linux/arm64", config, (layer("base", 1),))


def made(config: dict[str, Any] = BASE_CONFIG, **facts: Any) -> dict[str, Any]:
    known = Facts(**{"service": "reviews", "manifest_digest": f"sha256:{9:064x}", **facts})
    value: dict[str, Any] = json.loads(make_config(base(config), [layer("function code", 2)], known))
    return value


def test_it_runs_the_server_as_nobody_in_the_projects_folder() -> None:
    config = made()["config"]

    assert ["/opt/venv/bin/func", "serve"] == config["Entrypoint"]
    assert ("65532:65532", "/app", "SIGTERM") == (config["User"], config["WorkingDir"], config["StopSignal"])
    assert {"8080/tcp": {}} == config["ExposedPorts"]
    assert "Cmd" not in config
    assert {"/data": {}} == config["Volumes"]


def test_the_environment_is_ours_over_the_bases() -> None:
    env = dict(pair.split("=", 1) for pair in made()["config"]["Env"])

    assert "/opt/venv/bin:/usr/local/bin:/bin" == env["PATH"]
    assert ("C.UTF-8", "/tmp", "/tmp/.upon") == (env["LANG"], env["HOME"], env["UPON_STATE_DIR"])
    assert ("1", "1", "0.0.0.0") == (env["PYTHONDONTWRITEBYTECODE"], env["ORT_DISABLE_TELEMETRY"], env["HOST"])
    assert "PYTHONPATH" not in env
    assert "NVIDIA_VISIBLE_DEVICES" not in env
    assert "NVIDIA_VISIBLE_DEVICES=all" in made(gpu=True)["config"]["Env"]


def test_a_base_without_a_path_gets_the_usual_one() -> None:
    bare = {"architecture": "arm64", "os": "linux"}

    assert any(pair.startswith("PATH=/opt/venv/bin:/usr/local/sbin:") for pair in made(bare)["config"]["Env"])


def test_labels_say_what_is_known_and_keep_the_bases_own() -> None:
    model = {"name": "m", "path": "m.onnx", "sha256": "0" * 64, "size": 3}
    found = made(functions=["b", "a"], models=[model], revision=Revision("abc", "https://x.example/y"), licenses="MIT")
    labels = found["config"]["Labels"]

    assert "acme" == labels["vendor"]
    assert ("reviews", "MIT") == tuple(labels[f"org.opencontainers.image.{name}"] for name in ("title", "licenses"))
    assert "abc" == labels["org.opencontainers.image.revision"]
    assert "registry.example/python:3.11" == labels["org.opencontainers.image.base.name"]
    assert f"sha256:{7:064x}" == labels["org.opencontainers.image.base.digest"]
    assert "org.opencontainers.image.version" not in labels
    assert ["a", "b"] == json.loads(labels["dev.upon.functions"])
    assert [model] == json.loads(labels["dev.upon.models"])


def test_every_layer_has_its_history_and_its_diff_id() -> None:
    found = made()

    assert ["ADD file", "CMD", "func build: function code"] == [step["created_by"] for step in found["history"]]
    assert 2 == len(found["rootfs"]["diff_ids"])
    assert ("arm64", "linux", "v8") == (found["architecture"], found["os"], found["variant"])


def test_a_history_that_does_not_fit_the_layers_is_replaced() -> None:
    found = made({**BASE_CONFIG, "history": []})

    assert [f"registry.example/python:3.11@sha256:{7:064x}", "func build: function code"] == [
        step["created_by"] for step in found["history"]
    ]


def test_the_time_is_an_input() -> None:
    assert "1970-01-01T00:00:00Z" == made()["created"]
    assert "2026-11-22T00:00:00Z" == made(epoch=1795305600)["created"]
    assert (0, 1795305600) == (read_epoch({}), read_epoch({"SOURCE_DATE_EPOCH": "1795305600"}))


@pytest.mark.parametrize("text", ["yesterday", "-1", "1.5", "\uff19", "99999999999"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH is"):
        read_epoch({"SOURCE_DATE_EPOCH": text})


# Where the code comes from


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "app.py").write_text("a = 1\n")
    git(folder, "init", "-q")
    commit(folder)
    git(folder, "remote", "add", "origin", "https://user:hunter2@git.example/acme/reviews.git")
    return folder


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "a")


def test_a_clean_tree_has_a_revision_and_a_source_without_credentials(checkout: Path) -> None:
    assert Revision(git(checkout, "rev-parse", "HEAD"), "https://git.example/acme/reviews") == read_revision(checkout)


@pytest.mark.parametrize("name", ["app.py", "new.py"])
def test_a_tree_with_changes_has_none(name: str, checkout: Path) -> None:
    (checkout / name).write_text("a = 2\n")

    assert Revision() == read_revision(checkout)


def test_changes_beside_the_project_do_not_count(checkout: Path) -> None:
    inner = checkout / "inner"
    inner.mkdir()
    (inner / "func.yaml").write_text("name: x\n")
    commit(checkout)
    (checkout / "app.py").write_text("a = 2\n")

    assert Revision() != read_revision(inner)


def test_without_git_or_a_repository_there_is_none(checkout: Path, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)

    assert Revision() == read_revision(checkout, git="no-such-git")
    assert Revision() == read_revision(checkout, git=str(slow), deadline=0.2)
    assert Revision() == read_revision(Path("/"))


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("https://token@github.com/acme/x.git\n", "https://github.com/acme/x"),
        ("https://a:b@git.example:8443/acme/x?token=1", "https://git.example:8443/acme/x"),
        ("git@github.com:acme/x.git", "https://github.com/acme/x"),
        ("ssh://git@git.example:2222/acme/x.git/", "https://git.example/acme/x"),
        ("/srv/git/x.git", ""),
        ("file:///srv/git/x.git", ""),
        ("../x", ""),
        ("", ""),
    ],
)
def test_a_remote_is_told_as_everybody_reaches_it(remote: str, expected: str) -> None:
    assert expected == public_address(remote)
