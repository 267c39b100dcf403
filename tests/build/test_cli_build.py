"""`func build` as a process: what it pushes and writes, what it says of it, and what it refuses."""

from __future__ import annotations

import json
import signal
import tarfile
import tomllib
from pathlib import Path

import pytest

from support.builds import Builder, copied, settings
from support.func import func
from support.http import eventually


@pytest.fixture
def project(small_project: Path, tmp_path: Path) -> Path:
    return copied(small_project, tmp_path / "project")


# What it makes


def test_a_change_of_the_code_moves_the_code_alone(builder: Builder, project: Path) -> None:
    first = builder.build(project, "cli/code")
    with (project / "app.py").open("a") as file:
        file.write("# a comment\n")
    mark = builder.registry.mark()

    second = builder.build(project, "cli/code", "--no-sbom", "--no-provenance")

    assert first.digest != second.digest
    assert ["code"] == [layer["kind"] for layer in second.said["layers"] if layer["pushed"]]
    assert second.pushed_bytes == sum(builder.registry.received(mark).values())
    assert second.digest == builder.registry.tagged("cli/code", "latest")
    assert {"total", "importWait", "push"} <= set(second.said["seconds"])
    assert 0 < second.said["importSeconds"] < 60


def test_nothing_new_moves_nothing(builder: Builder, project: Path) -> None:
    first = builder.build(project, "cli/nothing")
    mark = builder.registry.mark()
    second = builder.build(project, "cli/nothing")

    assert first.digest == second.digest
    assert [] == [layer for layer in second.said["layers"] if layer["pushed"]]
    assert (0, {}) == (second.pushed_bytes, builder.registry.received(mark))


def test_the_image_says_what_it_is(builder: Builder, project: Path) -> None:
    built = builder.build(project, "cli/config")
    manifest = json.loads(builder.registry.blob(built.digest).read_bytes())
    config = json.loads(builder.registry.blob(manifest["config"]["digest"]).read_bytes())

    assert ["/opt/venv/bin/func", "serve"] == config["config"]["Entrypoint"]
    assert ["echo"] == json.loads(config["config"]["Labels"]["dev.upon.functions"])
    assert builder.base.reference.partition("@")[0] in manifest["annotations"]["org.opencontainers.image.base.name"]
    assert ["code", "manifest"] == [layer["annotations"]["dev.upon.layer"] for layer in manifest["layers"][-2:]]
    assert len(manifest["layers"]) == len(config["rootfs"]["diff_ids"])


def test_several_platforms_are_one_index(builder: Builder, project: Path) -> None:
    platforms = ("--platform", "linux/amd64", "--platform", "linux/arm64")
    builder.lock(project, *platforms)
    built = builder.build(project, "cli/platforms", *platforms)
    index = json.loads(builder.registry.blob(built.digest).read_bytes())

    assert ["amd64", "arm64"] == [one["platform"]["architecture"] for one in index["manifests"]]
    assert ["linux/amd64", "linux/arm64"] == built.said["platforms"]
    assert built.digest == builder.registry.tagged("cli/platforms", "latest")


@pytest.mark.parametrize("name", ["layout", "image.tar"])
def test_the_image_as_files_has_the_pushed_images_digest(name: str, builder: Builder, project: Path) -> None:
    pushed = builder.build(project, "cli/files")
    image = f"{builder.registry.repository('cli/files')}:latest"
    arguments = ("build", "--image", image, "--base", builder.base.reference, "--output", name)
    done = builder.run(*arguments, "-o", "json", cwd=project)
    again = builder.run(*arguments, cwd=project)

    assert (0, pushed.digest) == (done.returncode, json.loads(done.stdout)["image"].partition("@")[2])
    assert pushed.digest in again.stdout
    assert pushed.digest == json.loads(read_index(project / name))["manifests"][0]["digest"]
    assert pushed.digest == builder.build(project, "cli/files").digest  # what was written here is not in the image


def read_index(where: Path) -> bytes:
    if where.is_dir():
        return (where / "index.json").read_bytes()
    with tarfile.open(where) as archive:
        found = archive.extractfile("index.json")
        assert found is not None
        return found.read()


def test_what_was_pushed_can_be_verified_and_its_signature_too(builder: Builder, project: Path, tmp_path: Path) -> None:
    key = signing_key(tmp_path / "key.pem")
    built = builder.build(project, "cli/verified", "--sign", str(key))
    image = builder.reference("cli/verified")
    arguments = ("build", "--image", image, "--base", builder.base.reference, "--verify")
    same = builder.run(*arguments, cwd=project)
    with (project / "app.py").open("a") as file:
        file.write("# a comment\n")
    other = builder.run(*arguments, cwd=project)

    assert 0 == same.returncode, same.stderr
    assert f"verified  {image} is what this project makes" in same.stdout
    assert 1 == other.returncode
    assert f"{image} is not what this project makes" in other.stderr
    assert "app.py" in other.stderr
    hexadecimal = built.digest.removeprefix("sha256:")
    assert {f"sha256-{hexadecimal}", f"sha256-{hexadecimal}.sig"} <= set(builder.registry.tags("cli/verified"))


def signing_key(path: Path) -> Path:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(encoding, form, serialization.NoEncryption())
    )
    path.chmod(0o600)
    return path


def test_without_a_place_to_go_it_stays_in_the_cache(builder: Builder, project: Path) -> None:
    done = builder.run("build", "--base", builder.base.reference, cwd=project)

    assert (0, "") == (done.returncode, done.stderr)
    assert "small for linux/amd64" in done.stdout
    assert "It is in the cache alone: get it out with --push, or with --output image.tar" in done.stdout


def test_the_base_is_pinned_in_the_lock_and_then_not_asked_for(builder: Builder, project: Path) -> None:
    settings(
        project, f"registry: {builder.registry.repository('cli')}\nbuild: {{baseImage: {builder.base.reference}}}\n"
    )
    base_name = builder.base.reference.partition("@")[0]
    (project / "func.yaml").write_text((project / "func.yaml").read_text().replace(builder.base.reference, base_name))

    first = builder.run("build", "--push", "-o", "json", cwd=project)
    (pinned,) = tomllib.loads((project / "func.lock").read_text())["base"]
    mark = builder.registry.mark()
    second = builder.run("build", "--push", "--locked", "-o", "json", cwd=project)

    assert (0, 0) == (first.returncode, second.returncode), first.stderr + second.stderr
    assert json.loads(first.stdout)["image"] == json.loads(second.stdout)["image"]
    assert json.loads(first.stdout)["image"].startswith(f"{builder.registry.repository('cli/small')}@sha256:")
    assert (base_name, "linux/amd64") == (pinned["reference"], pinned["platform"])
    base_path = base_name.partition("/")[2].partition(":")[0]
    assert [] == [one for one in builder.registry.requests(mark) if one.path.startswith(f"/v2/{base_path}/")]


# What it refuses


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--push",), 2, "nothing says where to: add `registry: ghcr.io/NAME` to func.yaml, or --image"),
        (("--image", "UPPER/x y"), 2, "names no image"),
        (("--image", "x@sha256:" + "0" * 64), 2, "has a digest"),
        (("--sign", "func.yaml"), 2, "add --push"),
        (("--python", "3"), 2, "'3' is no version of Python"),
        (("--python", "3.13", "--locked"), 2, "run `func lock --python 3.13`"),
        (("--platform", "linux/arm64"), 2, "not for linux/arm64"),
        (("--base", "127.0.0.1:1/nothing:1"), 4, "127.0.0.1:1"),
    ],
)
def test_what_can_not_be_built_is_refused(
    arguments: tuple[str, ...], code: int, said: str, builder: Builder, project: Path
) -> None:
    done = builder.run("build", *arguments, cwd=project)

    assert (code, "") == (done.returncode, done.stdout)
    assert said in done.stderr


def test_a_lock_that_is_missing_is_not_made_where_it_must_not(builder: Builder, project: Path) -> None:
    (project / "func.lock").unlink()
    done = builder.run("build", "--locked", cwd=project)

    assert (2, "") == (done.returncode, done.stdout)
    assert "run `func lock`" in done.stderr
    assert not (project / "func.lock").exists()


def test_code_that_fails_is_the_projects_fault(builder: Builder, project: Path) -> None:
    with (project / "app.py").open("a") as file:
        file.write("1 / 0\n")
    done = builder.run("build", "--base", builder.base.reference, cwd=project)

    assert 2 == done.returncode
    assert "ZeroDivisionError" in done.stderr


def test_an_interrupt_ends_it_with_130_and_leaves_no_image(builder: Builder, project: Path) -> None:
    with (project / "app.py").open("a") as file:
        file.write("import time\nopen('importing', 'w').close()\ntime.sleep(60)\n")
    process = builder.begin(*builder.arguments("cli/interrupted"), cwd=project)
    try:
        assert eventually((project / "importing").exists, timeout=60)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()

    assert 130 == process.returncode
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert not (builder.registry.storage / "docker/registry/v2/repositories/cli/interrupted").exists()


# The cache


def test_the_cache_can_be_looked_at_and_pruned(tmp_path: Path) -> None:
    blob = tmp_path / "cache/blobs/sha256" / ("0" * 64)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(bytes(2048))
    cache = str(tmp_path / "cache")

    shown = func("cache", "ls", "-o", "json", cwd=tmp_path, UPON_CACHE=cache)
    kept = func("cache", "prune", "--limit", "2Ki", "-o", "json", cwd=tmp_path, UPON_CACHE=cache)
    emptied = func("cache", "prune", "--all", cwd=tmp_path, UPON_CACHE=cache)

    assert {"files": 1, "bytes": 2048} == json.loads(shown.stdout)["blobs"]
    assert {"freed": 0, "left": 2048, "removed": 0} == json.loads(kept.stdout)
    assert "freed 2.0 KiB in 1 file; 0 B left\n" == emptied.stdout
    assert not blob.exists()


def test_a_limit_that_is_none_is_refused(tmp_path: Path) -> None:
    done = func("cache", "prune", "--limit", "much", cwd=tmp_path, UPON_CACHE=str(tmp_path / "cache"))

    assert 2 == done.returncode
    assert "'much' is not a size" in done.stderr
