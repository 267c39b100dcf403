"""Wheels as installed files: where they go, what is made of their commands, and which wheels are refused."""

from __future__ import annotations

import csv
import importlib.util
import marshal
import os
import random
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from types import CodeType

import pytest

from support.wheels import RUNNING, write_wheel
from upon_build.image.layers.tar import Entry
from upon_build.image.packages.wheel import wheel_entries
from upon_build.image.packages.wheelfile import SMALL
from upon_build.project.problems import ProjectError

PACKAGES = f"opt/venv/lib/python{RUNNING}/site-packages"
INFO = f"{PACKAGES}/demo-1.0.dist-info"
MAIN = b"def main():\n    return 'x'\n"


def entries(path: Path, *, bytecode: bool = False) -> dict[str, Entry]:
    return {entry.path: entry for entry in wheel_entries(path, RUNNING, bytecode=bytecode)}


def content(entry: Entry) -> bytes:
    assert entry.open is not None
    with entry.open() as file:
        found = file.read()
    assert entry.size == len(found)
    return found


def refused(path: Path) -> str:
    """Why the wheel is not installed, and that the error names it and a remedy."""
    with pytest.raises(ProjectError) as caught:
        [content(entry) for entry in entries(path).values()]
    assert str(caught.value).startswith(f"{path.name}: ")
    assert f"lock another version of it, or remove {path} if the file was damaged" in str(caught.value)
    return str(caught.value)


def test_where_files_go(tmp_path: Path) -> None:
    files = {
        "demo/__init__.py": b"",
        "demo-1.0.data/purelib/pure.py": b"1",
        "demo-1.0.data/platlib/plat.so": b"2",
        "demo-1.0.data/scripts/demo-run": b"#!/bin/sh\n",
        "demo-1.0.data/headers/demo.h": b"3",
        "demo-1.0.data/data/share/man/demo.1": b"4",
    }
    found = entries(write_wheel(tmp_path, files=files))
    assert [
        "opt/venv/bin/demo-run",
        f"opt/venv/include/site/python{RUNNING}/demo/demo.h",
        f"{INFO}/INSTALLER",
        f"{INFO}/METADATA",
        f"{INFO}/WHEEL",
        f"{PACKAGES}/demo/__init__.py",
        f"{PACKAGES}/plat.so",
        f"{PACKAGES}/pure.py",
        "opt/venv/share/man/demo.1",
        f"{INFO}/RECORD",
    ] == list(found)
    assert b"upon\n" == content(found[f"{INFO}/INSTALLER"])
    assert {0o644} == {entry.mode for path, entry in found.items() if path != "opt/venv/bin/demo-run"}
    assert 0o755 == found["opt/venv/bin/demo-run"].mode


def test_the_executable_bit_is_kept(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, files={"demo/tool": b"", "demo/data": b""}, executable=("demo/tool",))
    found = entries(path)
    assert (0o755, 0o644) == (found[f"{PACKAGES}/demo/tool"].mode, found[f"{PACKAGES}/demo/data"].mode)


@pytest.mark.parametrize("packed", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [0, 1, SMALL, SMALL + 1, 3 * SMALL])
def test_contents(tmp_path: Path, packed: int, size: int) -> None:
    data = os.urandom(size // 2) + b"a" * (size - size // 2)
    found = entries(write_wheel(tmp_path, files={"data.bin": data}, packed=packed))
    assert data == content(found[f"{PACKAGES}/data.bin"])


@pytest.mark.parametrize("size", [1, 7, 64, 500, 4096])
@pytest.mark.parametrize("chunk", [1, 13, 300, 4096])
def test_a_large_file_in_pieces_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, chunk: int
) -> None:
    """The end of a piece of input and that of a piece of output may meet anywhere."""
    monkeypatch.setattr("upon_build.image.packages.wheelfile.SMALL", 100)
    monkeypatch.setattr("upon_build.image.packages.wheelfile.CHUNK", chunk)
    source = random.Random(size * chunk)
    expected = b"".join(source.randbytes(source.randrange(1, 40)) * source.randrange(1, 6) for _ in range(300))
    entry = entries(write_wheel(tmp_path, files={"demo/data": expected}, packed=zipfile.ZIP_DEFLATED))
    found = entry[f"{PACKAGES}/demo/data"]
    assert found.open is not None
    with found.open() as file:
        pieces = list(iter(lambda: file.read(size), b""))
    assert expected == b"".join(pieces)


def test_commands_are_scripts(tmp_path: Path) -> None:
    points = "[other]\nx = y\n[console_scripts]\n# note\ndemo = demo.cli:App.main [extra]\n[gui_scripts]\nw=demo:main\n"
    found = entries(write_wheel(tmp_path, entry_points=points))
    script = found["opt/venv/bin/demo"]
    assert (
        b"#!/opt/venv/bin/python\nimport sys\n\nfrom demo.cli import App\n\n"
        b'if __name__ == "__main__":\n    sys.exit(App.main())\n'
    ) == content(script)
    assert (0o755, 0o755) == (script.mode, found["opt/venv/bin/w"].mode)
    assert b"from demo import main" in content(found["opt/venv/bin/w"])


@pytest.mark.parametrize(
    "point", ["../x = demo:main", "x = demo", "x = demo:main()", "x = os:system; 1", "= demo:main"]
)
def test_commands_that_are_none(tmp_path: Path, point: str) -> None:
    path = write_wheel(tmp_path, entry_points=f"[console_scripts]\n{point}\n")
    assert "its entry_points.txt has a command that can't be installed" in refused(path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"#!python\nimport demo\n", b"#!/opt/venv/bin/python\nimport demo\n"),
        (b"#!pythonw -E\r\nx", b"#!/opt/venv/bin/python -E\r\nx"),
        (b"#!python", b"#!/opt/venv/bin/python"),
        (b"#!python3\nx", b"#!python3\nx"),
        (b"#!/usr/bin/env python\nx", b"#!/usr/bin/env python\nx"),
        (b"\x7fELF", b"\x7fELF"),
    ],
)
def test_scripts_find_the_environments_python(tmp_path: Path, before: bytes, after: bytes) -> None:
    found = entries(write_wheel(tmp_path, files={"demo-1.0.data/scripts/run": before}))
    assert after == content(found["opt/venv/bin/run"])


def test_the_record_lists_what_is_installed(tmp_path: Path) -> None:
    files = {"demo.py": b"", "demo-1.0.data/scripts/run": b"#!python\n"}
    found = entries(write_wheel(tmp_path, files=files, entry_points="[console_scripts]\ndemo = demo:main\n"))
    rows = {
        path: (hash_, size) for path, hash_, size in csv.reader(content(found[f"{INFO}/RECORD"]).decode().splitlines())
    }
    assert {os.path.relpath(path, PACKAGES) for path in found} == set(rows)
    assert ("", "") == rows["demo-1.0.dist-info/RECORD"]
    assert ("sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU", "0") == rows["demo.py"]
    assert str(len("#!/opt/venv/bin/python\n")) == rows["../../../bin/run"][1]


def test_an_installers_own_files_are_left_out(tmp_path: Path) -> None:
    info = "demo-1.0.dist-info"
    files = {f"{info}/{name}": b"pip" for name in ("INSTALLER", "REQUESTED", "direct_url.json")}
    found = entries(write_wheel(tmp_path, files=files))
    assert {"INSTALLER", "METADATA", "RECORD", "WHEEL"} == {Path(path).name for path in found}
    assert b"upon\n" == content(found[f"{INFO}/INSTALLER"])


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"demo.py": "sha256=AAAA"}, "its file 'demo.py' differs from its RECORD"),
        ({"demo.py": ""}, "its RECORD has no secure hash of 'demo.py'"),
        ({"demo.py": "md5=AAAA"}, "its RECORD has no secure hash of 'demo.py'"),
        ({"demo.py": None}, "its RECORD has no secure hash of 'demo.py'"),
        ({"more.py": "sha256=AAAA"}, "its RECORD lists 'more.py', which is not in it"),
    ],
)
def test_a_wheel_that_differs_from_its_record(tmp_path: Path, record: dict[str, str | None], why: str) -> None:
    assert why in refused(write_wheel(tmp_path, record=record))


def test_a_large_file_that_differs_from_its_record(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, files={"big.so": os.urandom(SMALL * 2)}, record={"big.so": "sha256=AAAA"})
    assert "its file 'big.so' differs from its RECORD" in refused(path)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "a/../../x", "a\\..\\x", "a//b", "./a", "a\nb", "demo-1.0.data/scripts/../../x"]
)
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    assert f"the name {name!r} of a file in it would lead elsewhere" in refused(
        write_wheel(tmp_path, files={name: b""})
    )


def test_a_name_with_a_hidden_end(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, files={"demoXpy": b""}, packed=zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"demoXpy", b"demo\0py"))
    assert r"the name 'demo\x00py' of a file in it would lead elsewhere" in refused(path)


@pytest.mark.parametrize("info", ["Other-1.0.dist-info", "demo.dist-info", "DEMO-1.0.DIST-INFO"])
def test_a_folder_of_another_package(tmp_path: Path, info: str) -> None:
    assert f"its folder {info!r} belongs to another package" in refused(write_wheel(tmp_path, info=info))


def test_names_are_compared_as_packages_are(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, name="my_Demo", info="My.demo-1.0.0.dist-info")
    assert f"{PACKAGES}/My.demo-1.0.0.dist-info/METADATA" in entries(path)


def test_two_folders_of_metadata(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, files={"Demo-1.0.Dist-Info/METADATA": b""})
    assert "a wheel has one .dist-info folder, and it has Demo-1.0.Dist-Info, demo-1.0.dist-info" in refused(path)


def test_two_files_for_one_path(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, files={"demo.py": b"", "demo-1.0.data/purelib/demo.py": b""})
    assert f"it has two files for '{PACKAGES}/demo.py'" in refused(path)


def test_a_name_twice(tmp_path: Path) -> None:
    path = write_wheel(tmp_path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("demo.py", b"other")
    assert "'demo.py' is in it twice" in refused(path)


def test_a_scheme_that_does_not_exist(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, files={"demo-1.0.data/root/etc/passwd": b""})
    assert "there is no scheme 'root'" in refused(path)


def test_a_symlink(tmp_path: Path) -> None:
    path = write_wheel(tmp_path)
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "'link' in it is no regular file" in refused(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Wheel-Version: 2.0\nRoot-Is-Purelib: true\n", "a wheel of version '2.0'"),
        ("Root-Is-Purelib: true\n", "a wheel of version ''"),
        ("Wheel-Version: 1.0\n", "its Root-Is-Purelib is neither true nor false"),
    ],
)
def test_what_the_wheel_says_of_itself(tmp_path: Path, text: str, why: str) -> None:
    assert why in refused(write_wheel(tmp_path, wheel=text))


def test_a_file_that_is_no_wheel(tmp_path: Path) -> None:
    path = tmp_path / "demo-1.0-py3-none-any.whl"
    path.write_bytes(b"<html>not found</html>")
    assert "it can't be read: File is not a zip file" in refused(path)


def test_a_wheel_without_a_record(tmp_path: Path) -> None:
    path = tmp_path / "demo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("demo-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
    assert "it has no demo-1.0.dist-info/RECORD" in refused(path)


def test_packing_that_no_wheel_has(tmp_path: Path) -> None:
    assert "packed as no wheel may be" in refused(write_wheel(tmp_path, packed=zipfile.ZIP_BZIP2))


@pytest.mark.parametrize("size", [1000, 2 * SMALL])
def test_damaged_bytes_are_noticed(tmp_path: Path, size: int) -> None:
    path = write_wheel(tmp_path, files={"a.bin": os.urandom(size)})
    data = bytearray(path.read_bytes())
    data[size // 2] ^= 1
    path.write_bytes(data)
    assert "its file 'a.bin'" in refused(path)


def test_a_file_that_unpacks_to_more_than_it_says(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, files={"bomb": bytes(50 * SMALL)})
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 50 * SMALL), struct.pack("<I", 2 * SMALL)))
    assert "its file 'bomb' differs from its RECORD" in refused(path)


def test_bytecode_is_taken_without_a_look_at_the_source(tmp_path: Path) -> None:
    files = {"demo.py": b"VALUE = 1\n", "demo-1.0.data/scripts/run.py": b"x"}
    found = entries(write_wheel(tmp_path, files=files), bytecode=True)
    (path,) = (path for path in found if path.endswith(".pyc"))
    assert path == f"{PACKAGES}/__pycache__/demo.{sys.implementation.cache_tag}.pyc"
    compiled = content(found[path])
    assert (importlib.util.MAGIC_NUMBER, 1) == (compiled[:4], int.from_bytes(compiled[4:8], "little"))
    assert importlib.util.source_hash(b"VALUE = 1\n") == compiled[8:16]
    code = marshal.loads(compiled[16:])
    assert isinstance(code, CodeType)
    assert f"/{PACKAGES}/demo.py" == code.co_filename
    assert f"__pycache__/demo.{sys.implementation.cache_tag}.pyc,,".encode() in content(found[f"{INFO}/RECORD"])


def test_what_is_no_python_has_no_bytecode(tmp_path: Path) -> None:
    bad = {"old.py": b"print 'x'\n", "nul.py": b"\0", "latin.py": b"x = '\xff'", "template.py": b"{{ x }}("}
    found = entries(write_wheel(tmp_path, files={**bad, "good.py": MAIN}), bytecode=True)
    assert ["good"] == [Path(path).name.partition(".")[0] for path in found if path.endswith(".pyc")]


def test_bytecode_that_a_wheel_brings_is_kept(tmp_path: Path) -> None:
    name = f"__pycache__/demo.{sys.implementation.cache_tag}.pyc"
    found = entries(write_wheel(tmp_path, files={"demo.py": MAIN, name: b"theirs"}), bytecode=True)
    assert b"theirs" == content(found[f"{PACKAGES}/{name}"])


def test_bytecode_does_not_depend_on_the_process(tmp_path: Path) -> None:
    source = b"def f(only_once):\n    'documented'\n    assert only_once in {'b', 'c', 'd', 'another key'}\n"
    path = write_wheel(tmp_path, files={"demo.py": source})
    code = (
        "import sys, hashlib; from pathlib import Path; from upon_build.image.packages.wheel import wheel_entries\n"
        "known = [sys.intern(name) for name in sys.argv[2:]]\n"
        f"for e in wheel_entries(Path(sys.argv[1]), {RUNNING!r}, bytecode=True):\n"
        "    if e.path.endswith('.pyc'): print(hashlib.sha256(e.open().read()).hexdigest())"
    )
    printed = set()
    for seed, names in (("0", []), ("1", ["only_once", "another key"]), ("random", ["f"])):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONOPTIMIZE": "2" if names else ""}
        done = subprocess.run(
            [sys.executable, "-c", code, path, *names], env=env, capture_output=True, text=True, timeout=60
        )
        assert "" == done.stderr
        printed.add(done.stdout)
    assert 1 == len(printed)
    assert 65 == len(printed.pop())


@pytest.mark.parametrize("python", ["3.9", "3.99"])
def test_bytecode_of_another_python(tmp_path: Path, python: str) -> None:
    with pytest.raises(
        ProjectError, match=f"--bytecode: bytecode of Python {python} can't be made by cpython {RUNNING}"
    ):
        list(wheel_entries(write_wheel(tmp_path), python, bytecode=True))
