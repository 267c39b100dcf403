"""What `func build` refuses: with the reason, the remedy and the exit code, and nothing under the tag."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.builds import Builder, copied, damaged, make_wheel, settings, write_small
from support.rootfs import Base
from support.servers import free_port

pytestmark = pytest.mark.timeout(300)  # the first test may be the one that fetches packages


@pytest.fixture
def project(small_project: Path, tmp_path: Path) -> Path:
    return copied(small_project, tmp_path / "project")


def refused(builder: Builder, folder: Path, code: int, *said: str, flags: tuple[str, ...] = (), **env: str) -> str:
    """The build fails with this code, saying all of this in a few lines; the tag does not come to be."""
    repository = f"refused/{folder.parent.name}".lower()
    done = builder.run(*builder.arguments(repository, *flags), cwd=folder, **env)
    assert code == done.returncode, f"exit code {done.returncode}:\n{done.stderr}\n{done.stdout}"
    assert "Traceback" not in done.stderr
    missing = [pattern for pattern in said if not re.search(pattern, done.stderr)]
    assert [] == missing, done.stderr
    assert len(done.stderr.splitlines()) < 30, done.stderr
    assert [] == builder.registry.tags(repository)
    return done.stderr


def test_a_dependency_without_a_wheel_for_the_platform(builder: Builder, project: Path, tmp_path: Path) -> None:
    make_wheel(tmp_path / "wheels", "upontestonly", "1.0", tag="cp311-cp311-manylinux_2_28_x86_64")
    (project / "requirements.txt").write_text("upon[cpu,serve]\nupontestonly\n")
    (project / "func.lock").unlink()
    flags = ("--platform", "linux/arm64")
    links = {"UV_FIND_LINKS": str(tmp_path / "wheels")}
    refused(builder, project, 2, "upontestonly", "linux/arm64|aarch64", flags=flags, **links)


def test_a_lock_that_is_stale(builder: Builder, project: Path) -> None:
    (project / "requirements.txt").write_text("upon[cpu,serve]\ntzdata\n")
    refused(builder, project, 2, "func.lock", "func lock")


def test_a_model_that_is_not_the_locked_one(builder: Builder, project: Path) -> None:
    app = (project / "app.py").read_text()
    (project / "app.py").write_text(f"{app}\nmodel = upon.Model('late', 'late.onnx')\n")
    (project / "late.onnx").write_bytes(b"\0" * 10)
    refused(builder, project, 2, "late", "func lock")


def test_a_lock_for_another_python(builder: Builder, project: Path) -> None:
    refused(builder, project, 2, "3.12", "3.11", "func lock", flags=("--python", "3.12"))


def test_a_base_with_another_python(builder: Builder, project: Path) -> None:
    (project / "func.lock").unlink()
    settings(project, 'build: {python: "3.12"}\n')
    builder.lock(project)
    refused(builder, project, 2, "base/python", "3.11", "3.12")


def test_a_base_without_python(builder: Builder, base_without_python: Base, project: Path) -> None:
    other = Builder(builder.registry, base_without_python, builder.cache)
    refused(other, project, 2, "base/empty", "no Python", "docker.io/library/python")


def test_a_base_that_is_not_there(builder: Builder, project: Path) -> None:
    other = Builder(builder.registry, Base(f"{builder.registry.host}/no/such:thing", ""), builder.cache)
    refused(other, project, 1, "no/such", "thing")


def test_a_model_over_the_largest_layer(builder: Builder, project: Path) -> None:
    app = (project / "app.py").read_text()
    (project / "app.py").write_text(f"{app}\nmodel = upon.Model('heavy', 'heavy.onnx')\n")
    (project / "heavy.onnx").write_bytes(bytes(2**20))
    settings(project, "build: {maxLayerSize: 512Ki}\n")
    builder.lock(project)
    refused(builder, project, 2, "heavy.onnx", "maxLayerSize")


def test_a_link_out_of_the_project(builder: Builder, project: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("mine")
    (project / "inside.txt").symlink_to(tmp_path / "outside.txt")
    refused(builder, project, 2, "inside.txt", "outside|leaves")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("server.pem", "-----BEGIN PRIVATE KEY-----\nMIIEvgIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"),
        ("id_rsa", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n"),
        ("settings.py", "AWS = 'AKIA" + "IOSFODNN7EXAMPLQ'\n"),
    ],
    ids=["server.pem", "id_rsa", "settings.py"],
)
def test_what_looks_like_a_secret(builder: Builder, project: Path, name: str, content: str) -> None:
    (project / name).write_text(content)
    said = refused(builder, project, 2, re.escape(name), "funcignore")
    assert content.splitlines()[-1][:24] not in said


def test_what_is_never_in_an_image_is_left_out_in_silence(builder: Builder, project: Path) -> None:
    before = builder.build(project, "builds/small").digest
    (project / ".env").write_text("TOKEN=mine")
    (project / ".git").mkdir()
    (project / ".git/config").write_text("[core]")
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/python").write_text("")
    (project / ".venv/pyvenv.cfg").write_text("")
    (project / "__pycache__").mkdir()
    (project / "__pycache__/app.cpython-311.pyc").write_bytes(b"x")
    assert before == builder.build(project, "builds/small").digest


def test_nobody_answers_at_the_registry(builder: Builder, project: Path) -> None:
    arguments = builder.arguments("refused/nobody")
    arguments[arguments.index("--image") + 1] = f"127.0.0.1:{free_port()}/refused/nobody:latest"
    done = builder.run(*arguments, cwd=project)
    assert 4 == done.returncode, done.stderr
    assert re.search("127.0.0.1:[0-9]+", done.stderr)
    assert "Traceback" not in done.stderr


def test_nobody_answers_at_the_index(builder: Builder, tmp_path: Path) -> None:
    project = write_small(tmp_path / "project")
    host = f"127.0.0.1:{free_port()}"
    env = {"UV_DEFAULT_INDEX": f"http://{host}/simple", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    refused(builder, project, 4, re.escape(host), **env, UPON_CACHE=str(tmp_path / "cache"))


def test_a_built_image_needs_no_network_but_the_registry(builder: Builder, project: Path, tmp_path: Path) -> None:
    index = f"http://127.0.0.1:{free_port()}/simple"
    (project / "app.py").write_text((project / "app.py").read_text() + "# a remark\n")
    builder.build(project, "builds/small", UV_DEFAULT_INDEX=index, PIP_INDEX_URL=index)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 2 MiB."""
    if os.geteuid() != 0:
        pytest.skip("a small disk needs root: sudo make test")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if mounted.returncode:
        pytest.skip(f"no small disk here ({mounted.stderr.strip()}): docker run --privileged")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True, timeout=30)


def test_no_room_on_the_disk_until_there_is_some(builder: Builder, project: Path, full_disk: Path) -> None:
    """What a full disk cut off does no harm to the next build in the same cache."""
    said = refused(builder, project, 1, "No space left on device", UPON_CACHE=str(full_disk))
    assert str(full_disk) in said
    subprocess.run(["mount", "-o", "remount,size=1g", str(full_disk)], check=True, capture_output=True, timeout=30)
    builder.build(project, "builds/small", UPON_CACHE=str(full_disk))
    assert [] == damaged(full_disk)
    emptied = builder.run("cache", "prune", "--all", cwd=project, UPON_CACHE=str(full_disk))
    assert 0 == emptied.returncode, emptied.stderr
    assert [] == [path for path in full_disk.rglob("*") if path.is_file() and path.stat().st_size]
