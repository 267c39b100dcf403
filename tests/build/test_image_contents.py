"""The code layer holds the project as it is written, and is the same wherever that lies."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.projects import write_project
from upon_build.image.files import contents
from upon_build.image.files.contents import Code, code_entries, code_layer, read_code
from upon_build.image.store import Store
from upon_build.project import Problem, ProjectError
from upon_build.project.file import read_file

GI = 2**30
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return write_project(tmp_path / "project")


def code(folder: Path, *models: str, **more: Any) -> Code:
    return read_code(folder, read_file(folder / "func.yaml"), models, **more)


def paths(folder: Path, *models: str, **more: Any) -> list[str]:
    return [item.path for item in code(folder, *models, **more).items]


def refused(folder: Path, *models: str) -> list[str]:
    with pytest.raises(ProjectError) as error:
        code(folder, *models)
    return str(error.value).replace(str(folder), "FOLDER").splitlines()


def warned(folder: Path) -> list[str]:
    return [str(problem) for problem in code(folder).warnings]


def layer_of(folder: Path, store: Store, **more: Any) -> Any:
    return code_layer(store, folder, read_file(folder / "func.yaml"), (), max_size=GI, **more)


def members(folder: Path, store: Store) -> dict[str, tarfile.TarInfo]:
    blob = store.find(layer_of(folder, store).descriptor.digest)
    assert blob is not None
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob.read_bytes()))) as tar:
        return {member.name: member for member in tar}


# What is in it


def test_the_layer(folder: Path, tmp_path: Path) -> None:
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o700)
    (folder / "app.py").chmod(0o666)
    (folder / "lib").mkdir(mode=0o700)
    (folder / "lib/x.txt").write_text("x")
    (folder / "lib/link").symlink_to("../run.sh")
    found = members(folder, Store(tmp_path / "store"))
    expected = {
        "app": (0o755, ""),
        "app/app.py": (0o644, ""),
        "app/func.yaml": (0o644, ""),
        "app/lib": (0o755, ""),
        "app/lib/link": (0o777, "../run.sh"),
        "app/lib/x.txt": (0o644, ""),
        "app/run.sh": (0o755, ""),
    }
    assert expected == {name: (member.mode, member.linkname) for name, member in found.items()}
    assert {(0, 0, 0)} == {(member.uid, member.gid, member.mtime) for member in found.values()}


def test_models_have_layers_of_their_own(folder: Path) -> None:
    (folder / "models").mkdir()
    for name in ("a.onnx", "b.onnx", "labels.json"):
        (folder / "models" / name).write_text(name)
    assert ["app.py", "func.yaml", "models/b.onnx", "models/labels.json"] == paths(folder, "models/a.onnx")


def test_a_model_by_a_link_is_not_there_twice(folder: Path) -> None:
    (folder / "blobs").mkdir()
    (folder / "blobs/4d7a").write_text("x")
    (folder / "a.onnx").symlink_to("blobs/4d7a")
    assert ["app.py", "func.yaml"] == paths(folder, "a.onnx")


def test_empty_folders_are_left_out_as_git_does(folder: Path) -> None:
    (folder / "empty/deeper").mkdir(parents=True)
    assert ["app.py", "func.yaml"] == paths(folder)


def test_the_folder_for_state_stays_out(folder: Path) -> None:
    more = "run: {stateDir: ./state}\nprofiles: {dev: {run: {stateDir: data/dev}}}\n"
    write_project(folder, f"name: demo\nfunctions: [app.py]\n{more}", state__x="", data__dev__x="", data__x="")
    assert ["app.py", "data/x.py", "func.yaml"] == paths(folder)


def test_what_is_written_to_stays_out(folder: Path) -> None:
    (folder / "image.tar").write_text("the image of last time")
    expected = ["app.py", "func.yaml"]
    assert expected == paths(folder, without=[folder / "image.tar", folder / "none", folder, Path("/etc")])


def test_the_cache_stays_out(folder: Path) -> None:
    store = Store(folder / "cache")
    store.add(b"a blob")
    assert ["app.py", "func.yaml"] == paths(folder, store=store)


def test_a_file_of_another_name_takes_its_place(folder: Path) -> None:
    other = "name: other\nfunctions: [app.py]\nprofiles: {dev: {}}\n"
    (folder / "other.yaml").write_text(other)
    found = read_code(folder, read_file(folder / "other.yaml"))
    assert ["app.py", "func.yaml"] == [item.path for item in found.items]
    (func,) = (item for item in found.items if item.path == "func.yaml")
    assert func.open is not None
    assert b"name: other\nfunctions: [app.py]\n" == func.open().read()


def test_profiles_change_nothing(folder: Path) -> None:
    before = code(folder)
    with (folder / "func.yaml").open("a") as file:
        file.write("profiles:\n  prod: {kafka: {bootstrap: ['kafka:9092'], sasl: {password: hunter2}}}\n")
    assert before.key == code(folder).key


def test_another_lock_changes_nothing(folder: Path) -> None:
    before = code(folder).key
    (folder / "func.lock").write_text("format = 'upon.lock/v1'")
    assert before == code(folder).key


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "app.py").write_text("# other"),
        lambda folder: (folder / "app.py").chmod(0o755),
        lambda folder: (folder / "app.py").rename(folder / "other.py"),
        lambda folder: (folder / "link").symlink_to("app.py"),
        lambda folder: (folder / "empty.txt").touch(),
    ],
)
def test_what_changes_the_key(folder: Path, change: Any) -> None:
    (folder / "func.yaml").write_text("name: demo\nfunctions: [nothing.py]\n")
    before = code(folder).key
    change(folder)
    assert before != code(folder).key


def test_names_of_every_kind(folder: Path, tmp_path: Path) -> None:
    names = ["a b", "line\nbreak", "ünïcode", "-", "x" * 200, "back\\slash", "per%cent", "q'uo\"te"]
    for name in names:
        (folder / name).write_text("x")
    assert {f"app/{name}" for name in names} < set(members(folder, Store(tmp_path / "store")))


# The same everywhere


def test_from_another_folder_at_another_time(folder: Path, tmp_path: Path) -> None:
    write_project(folder, lib__a="1", lib__b__c="2")
    (folder / "link").symlink_to("lib/a.py")
    other = tmp_path / "else/where"
    shutil.copytree(folder, other, symlinks=True)
    for path in other.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
        if path.is_file() and not path.is_symlink():
            path.chmod(0o600)
    assert layer_of(folder, Store(tmp_path / "a")) == layer_of(other, Store(tmp_path / "b"))


LAYER = """
import os, sys
from pathlib import Path
from upon_build.image.files.contents import code_layer
from upon_build.image.store import Store
from upon_build.project.file import read_file
os.umask(int(sys.argv[3], 8))
folder = Path(sys.argv[1])
print(code_layer(Store(Path(sys.argv[2])), folder, read_file(folder / "func.yaml"), (), max_size=2**30).diff_id)
"""


@pytest.mark.parametrize(
    ("umask", "env"),
    [("0", {"TZ": "Asia/Kolkata", "PYTHONHASHSEED": "1"}), ("77", {"LC_ALL": "C", "PYTHONHASHSEED": "2"})],
)
def test_in_another_process(folder: Path, tmp_path: Path, umask: str, env: dict[str, str]) -> None:
    write_project(folder, lib__a="1", lib__b__c="2")
    command = [sys.executable, "-c", LAYER, str(folder), str(tmp_path / "other"), umask]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=True, timeout=60)
    assert layer_of(folder, Store(tmp_path / "store")).diff_id == done.stdout.strip()


NAMES = st.sampled_from(["a", "b.py", "c.txt", "é", "node_modules", ".env", "tests", "x.pyc"])
TREES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map(tuple), st.binary(max_size=5), max_size=8)


@given(tree=TREES, executable=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_against_a_plain_reference(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[tuple[str, ...], bytes], executable: bool
) -> None:
    folder = write_project(tmp_path_factory.mktemp("project"))
    expected = {"app.py": b"", "func.yaml": b""}
    for parts, content in tree.items():
        path = folder.joinpath(*parts)
        if any(above.is_file() for above in path.parents) or path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o711 if executable else 0o640)
        if not {"node_modules", ".env", "x.pyc"} & set(parts):
            expected["/".join(parts)] = content
    for name in ("app.py", "func.yaml"):
        expected[name] = (folder / name).read_bytes()
    entries = list(code_entries(folder, read_file(folder / "func.yaml"), ()))
    assert sorted(f"app/{name}" for name in expected) == [entry.path for entry in entries]
    assert expected == {entry.path[4:]: entry.open().read() for entry in entries if entry.open is not None}
    own = {entry.mode for entry in entries if entry.path[4:] not in ("app.py", "func.yaml")}
    assert own <= {0o755 if executable else 0o644}


# What is refused


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("/etc/hostname", "is absolute: it leads outside: make it relative, within the project, or list"),
        ("../outside", "leaves the project: put the file itself there, or list"),
        ("../project/app.py", "leaves the project: put the file itself there, or list"),
        ("out/x", "leaves the project: put the file itself there, or list"),
        ("none", "leads to nothing: correct it, or list"),
        ("link", "goes in a circle: correct it, or list"),
        (".env", "leads to what stays out of the image: bring its target back, or list"),
    ],
)
def test_a_link_that_leads_nowhere(folder: Path, target: str, said: str) -> None:
    (folder.parent / "outside").mkdir()
    (folder.parent / "outside/x").write_text("x")
    (folder / ".env").write_text("x")
    (folder / "link").symlink_to(target)
    if target.startswith("out/"):
        (folder / "out").symlink_to("../outside")
    assert f"link: the link to {target!r} {said} it in .funcignore" in refused(folder)


@pytest.mark.parametrize("target", ["app.py", "lib", ".", "lib/../app.py", "other", "models/a.onnx", "lib/deep"])
def test_a_link_that_stays_in_the_project(folder: Path, target: str) -> None:
    write_project(folder, lib__deep__a="")
    (folder / "models").mkdir()
    (folder / "models/a.onnx").write_text("x")
    (folder / "other").symlink_to("lib")
    (folder / "link").symlink_to(target)
    (item,) = (item for item in code(folder, "models/a.onnx").items if item.path == "link")
    assert target == item.target


@pytest.mark.parametrize("pattern", ["link", "link/"])
def test_a_link_that_is_ignored(folder: Path, pattern: str) -> None:
    (folder / "link").symlink_to("/etc")
    (folder / ".funcignore").write_text(pattern)
    assert ["app.py", "func.yaml"] == paths(folder)


def test_a_link_to_a_virtual_environment(folder: Path) -> None:
    (folder.parent / "environment").mkdir()
    (folder.parent / "environment/pyvenv.cfg").write_text("")
    (folder / "env").symlink_to(folder.parent / "environment")
    assert ["app.py", "func.yaml"] == paths(folder)


def test_the_folder_itself_may_be_a_link(folder: Path) -> None:
    (folder.parent / "current").symlink_to("project")
    assert code(folder).key == code(folder.parent / "current").key


def test_a_virtual_environment_around_the_project(folder: Path) -> None:
    (folder / "pyvenv.cfg").write_text("")
    (said,) = refused(folder)
    assert said.startswith(
        "pyvenv.cfg: the project's folder is a virtual environment itself: make it in a folder of its"
    )


def test_a_name_that_is_no_text(folder: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_text("x")
    except OSError:
        pytest.skip("this file system takes no such name: use another one")
    assert [
        r"'caf\udce9.txt': the name b'caf\xe9.txt' is not UTF-8: rename it, or list it in .funcignore with a *"
    ] == (refused(folder))


def test_what_is_no_file_is_skipped_and_told(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        before = Path.cwd()
        os.chdir(folder)  # a socket's path is short
        listening.bind("socket")
        os.chdir(before)
        assert ["app.py", "func.yaml"] == paths(folder)
        assert {
            "pipe: it is a named pipe, and stays out of the image: list it in .funcignore",
            "socket: it is a socket, and stays out of the image: list it in .funcignore",
        } == set(warned(folder))


def test_a_file_that_can_not_be_read(folder: Path) -> None:
    """Root may read everything, unless it gave that right away."""
    (folder / "closed.txt").write_text("x")
    (folder / "closed.txt").chmod(0)
    (folder / "closed").mkdir(mode=0)
    without = (
        ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"] if os.geteuid() == 0 else []
    )
    if without and shutil.which("setpriv") is None:
        pytest.skip("setpriv is missing: apt-get install util-linux")
    command = [*without, sys.executable, "-c", LAYER, str(folder), str(folder.parent / "store"), "22"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    (folder / "closed").chmod(0o755)
    assert "closed.txt: the file can't be read: Permission denied: make it readable, or leave it out" in done.stderr
    assert "closed: the folder can't be read: Permission denied: make it readable, or list it in .fun" in done.stderr


def test_a_file_that_changes_while_the_layer_is_made(folder: Path, tmp_path: Path) -> None:
    """Nothing wrong is kept: the next build has the right layer."""
    store = Store(tmp_path / "store")
    entries = code_entries(folder, read_file(folder / "func.yaml"), (), store=store)
    (folder / "app.py").write_text("# longer than it was before, as one sees\n" * 10)
    with pytest.raises(ProjectError, match=r"app.py: the file changed while it was read: build again"):
        [entry.open().read() for entry in entries if entry.open is not None]


def test_a_function_that_is_ignored(folder: Path) -> None:
    (folder / ".funcignore").write_text("*.py")
    said = (
        "func.yaml:2: 'app.py' is a file of functions, and .funcignore leaves it out of the image: remove the pattern"
    )
    assert [said] == refused(folder)


def test_secrets_are_named_all_at_once(folder: Path) -> None:
    (folder / "keys").mkdir()
    (folder / "keys/id_rsa").write_text("secret")
    (folder / "store.p12").write_text("secret")
    first, second = sorted(refused(folder))
    assert first.startswith(
        "keys/id_rsa: it looks like an SSH key, and would be in the image: list it in .funcignore, and"
    )
    assert second.startswith("store.p12: it looks like a PKCS #12 key store")


def test_secrets_are_named_again(folder: Path, tmp_path: Path) -> None:
    """From the memory of hashes too."""
    store = Store(tmp_path / "store")
    (folder / "store.p12").write_text("secret")
    for _ in range(2):
        with pytest.raises(ProjectError, match=r"store\.p12"):
            code(folder, store=store, clock=lambda: time.time() + 10)


def test_what_is_allowed(folder: Path) -> None:
    (folder / "store.p12").write_text("no secret")
    (folder / "func.yaml").write_text("name: demo\nfunctions: [app.py]\nbuild: {allowSecretLooking: [store.p12]}\n")
    assert ["app.py", "func.yaml", "store.p12"] == paths(folder)


def test_a_secret_that_is_ignored(folder: Path) -> None:
    (folder / "store.p12").write_text("secret")
    (folder / ".funcignore").write_text("*.p12")
    assert ["app.py", "func.yaml"] == paths(folder)


def test_a_password_in_func_yaml(folder: Path) -> None:
    (folder / "func.yaml").write_text("name: demo\nfunctions: [app.py]\nkafka: {sasl: {password: hunter2}}\n")
    (said,) = refused(folder)
    assert said.startswith(
        "func.yaml:3: kafka.sasl.password is a password in plain text, and this file goes into the im"
    )
    assert "hunter2" not in said


def test_every_fault_at_once(folder: Path) -> None:
    (folder / "link").symlink_to("/etc")
    (folder / "store.p12").write_text("secret")
    assert 2 == len(refused(folder))


def test_a_pointer_of_lfs_is_told(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    said = "tokenizer.json: it is a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`"
    assert [said] == warned(folder)


# Sizes


def test_a_large_layer_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(contents, "LARGE", 3000)
    for name, size in (("a.bin", 500), ("b.bin", 2048), ("c.bin", 1024), ("d.bin", 1)):
        (folder / name).write_bytes(bytes(size))
    told: list[Problem] = []
    layer_of(folder, Store(tmp_path / "store"), warn=told.append)
    expected = (
        "app: the code layer has 3.57Ki: b.bin (2Ki), c.bin (1Ki), a.bin (500 bytes): list in .funcignore what the"
        " functions do not need"
    )
    assert [expected] == [str(problem) for problem in told]


def test_a_layer_that_is_too_large(folder: Path, tmp_path: Path) -> None:
    (folder / "a.bin").write_bytes(bytes(5000))
    with pytest.raises(ProjectError) as error:
        code_layer(Store(tmp_path), folder, read_file(folder / "func.yaml"), (), max_size=4096)
    assert (
        "app: the code layer has 4.97Ki, and build.maxLayerSize is 4Ki: list in .funcignore what the functions do not"
        in (str(error.value))
    )


def test_this_house_has_no_secrets() -> None:
    """No false alarm in all of this repository, tests of secrets included."""
    found = read_code(ROOT, read_file(ROOT / "func.yaml"), ["models/magika/model.onnx"])
    assert "examples/filetype.py" in [item.path for item in found.items]
