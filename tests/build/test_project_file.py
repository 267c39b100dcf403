from __future__ import annotations

import pytest

from support.projects import HEAD, write_project
from upon_build.project import ProjectError, read_project, set_value
from upon_build.project.file import MAX_SIZE, read_file

FAULTS = [
    ("", "func.yaml: the file is empty: begin with `name: NAME` and `functions: [FILE.py]`"),
    ("# only a comment\n", "func.yaml: the file is empty: begin with `name: NAME` and `functions: [FILE.py]`"),
    ("- a\n", "func.yaml:1: the file must be a mapping: begin with `name: NAME` and `functions: [FILE.py]`"),
    ("name: a\nrun: {}\nname: b\n", "func.yaml:3: the key 'name' stands twice in one mapping: keep one"),
    ("run:\n  envs: []\n  envs: []\n", "func.yaml:3: the key 'envs' stands twice in one mapping: keep one"),
    (
        "name: a: b\n",
        "func.yaml:1: not YAML: mapping values are not allowed here in column 8: put a value that holds ': ' in"
        " quotes, and check the indentation",
    ),
    (
        "run:\n\tdrainDelay: 1\n",
        "func.yaml:2: not YAML: found character '\\t' that cannot start any token in column 1: indent with spaces,"
        " not tabs",
    ),
    (
        "functions: [a.py\nname: b\n",
        "func.yaml:2: not YAML: expected ',' or ']', but got ':' in column 5: check brackets, quotes and indentation",
    ),
    (
        "name: a\n---\nname: b\n",
        "func.yaml:2: not YAML: expected a single document in the stream, but found another document in column 1:"
        " remove `---` and what follows",
    ),
    (
        'name: "a\n',
        "func.yaml:2: not YAML: found unexpected end of stream in column 1: check brackets, quotes and indentation",
    ),
    (
        "name: *missing\n",
        "func.yaml:1: not YAML: found undefined alias 'missing' in column 7: check brackets, quotes and indentation",
    ),
    ("name: a\ntext: \udcff\n", "func.yaml:2: the file is not UTF-8: save it as UTF-8"),
    ("x-a: [" + "[" * 800, "func.yaml: the file is nested too deep"),
    ("#" * (MAX_SIZE + 1), f"func.yaml: the file is larger than {MAX_SIZE} bytes: move data out of it"),
]


@pytest.mark.parametrize(("text", "message"), FAULTS, ids=[row[1][:50] for row in FAULTS])
def test_what_is_no_mapping_is_one_error(tmp_path, text, message):
    (tmp_path / "func.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ProjectError) as caught:
        read_file(tmp_path / "func.yaml")
    assert message == str(caught.value)
    assert len(caught.value.problems) == 1


def test_a_missing_file_names_the_folder_and_the_command(tmp_path):
    with pytest.raises(ProjectError) as caught:
        read_project(tmp_path)
    assert str(caught.value) == (
        f"func.yaml: there is no func.yaml in {tmp_path}: go to a project's folder, or make one with `func create NAME`"
    )


def test_a_missing_file_of_another_name(tmp_path):
    with pytest.raises(ProjectError) as caught:
        read_project(tmp_path / "other.yaml")
    assert str(caught.value) == (
        f"{tmp_path}/other.yaml: there is no such file: name a folder with a func.yaml, or the file itself"
    )


def test_a_function_file_is_no_project(tmp_path):
    write_project(tmp_path)
    with pytest.raises(ProjectError) as caught:
        read_project(tmp_path / "app.py")
    assert str(caught.value) == (
        f"{tmp_path}/app.py: this is not a project: name the folder with the func.yaml that lists it"
    )


def test_a_folder_and_a_file_name_the_same_project(tmp_path):
    write_project(tmp_path)
    assert read_project(tmp_path).folder == read_project(tmp_path / "func.yaml").folder == tmp_path


def test_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(write_project(tmp_path))
    assert read_project().folder == read_project("func.yaml").folder == tmp_path


LINES = [
    (("name",), 2),
    (("run", "envs", 0, "value"), 5),
    (("run", "envs", 1), 6),
    (("run", "absent", "deeper"), 3),
    (("absent",), 1),
    (("options", "score", "timeout"), 9),
    (("deploy", "gpu"), 11),
]


@pytest.mark.parametrize(("keys", "line"), LINES)
def test_lines(tmp_path, keys, line):
    text = """\
# a comment
name: a
run:
  envs:
  - {name: A, value: b}
  - name: B
    value: c
x-base: &base
  timeout: 3
options: {score: *base}
deploy: {gpu: {count: 1}}
"""
    (tmp_path / "func.yaml").write_text(text)
    assert line == read_file(tmp_path / "func.yaml").line(keys)


ORIGINAL = """\
# Our project
name: 'demo'   # the name
functions:
    - app.py     # the file

unknown: {keep: me}
delivery: {retry: 5, maxDelay: PT5M} # flow
run:
  # inside
  drainDelay: 5
deploy:
options:
  score: &score {timeout: 3}
  other: *score
"""

EDITS = [
    (("name",), "new", "name: 'demo'", "name: new"),
    (("name",), "yes: no", "name: 'demo'", "name: 'yes: no'"),
    (("name",), "5", "name: 'demo'", "name: '5'"),
    (("functions", 0), "lib/app.py", "- app.py", "- lib/app.py"),
    (("delivery", "retry"), 7, "retry: 5", "retry: 7"),
    (("delivery", "maxDelay"), "a, b", "maxDelay: PT5M", "maxDelay: a, b"),
    (("unknown", "keep"), True, "keep: me", "keep: true"),
    (("run", "drainDelay"), 2.5, "drainDelay: 5", "drainDelay: 2.5"),
    (("run", "startTimeout"), 60, "  drainDelay: 5\n", "  drainDelay: 5\n  startTimeout: 60\n"),
    (("delivery", "maxInFlight"), 9, "PT5M}", "PT5M, maxInFlight: 9}"),
    (("registry",), "ghcr.io/acme", "  other: *score\n", "  other: *score\nregistry: ghcr.io/acme\n"),
    (("deploy", "namespace"), "ml", "deploy:\n", "deploy:\n  namespace: ml\n"),
    (("options", "score", "timeout"), 4, "timeout: 3", "timeout: 4"),
]


@pytest.mark.parametrize(("keys", "value", "before", "after"), EDITS)
def test_an_edit_changes_nothing_else(tmp_path, keys, value, before, after):
    path = tmp_path / "func.yaml"
    path.write_text(ORIGINAL)
    path.chmod(0o600)
    set_value(path, keys, value)
    if after == "maxDelay: a, b":  # a comma ends a value in a flow mapping
        after = "maxDelay: 'a, b'"
    assert path.read_text() == ORIGINAL.replace(before, after)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [path] == list(tmp_path.iterdir())
    node = read_file(path).data
    for key in keys:
        node = node[key]
    assert value == node


def test_an_edit_of_a_list_keeps_comments_and_unknown_keys(tmp_path):
    path = tmp_path / "func.yaml"
    path.write_text(ORIGINAL)
    set_value(path, ("functions",), ["a.py", "b.py"])
    kept = ["# Our project", "name: 'demo'   # the name", "unknown: {keep: me}", "# flow", "  # inside", ": *score"]
    assert [line for line in kept if line not in path.read_text()] == []
    assert read_file(path).data["functions"] == ["a.py", "b.py"]


def test_a_broken_file_is_not_edited(tmp_path):
    path = tmp_path / "func.yaml"
    path.write_text("name: a\nname: b\n")
    with pytest.raises(ProjectError, match=r"^func.yaml:2: the key 'name' stands twice"):
        set_value(path, ("name",), "c")
    assert path.read_text() == "name: a\nname: b\n"


def test_windows_line_ends_stay(tmp_path):
    path = tmp_path / "func.yaml"
    path.write_bytes(b"name: a\r\nrun: {drainDelay: 5}\r\n")
    set_value(path, ("run", "drainDelay"), 6)
    assert path.read_bytes() == b"name: a\r\nrun: {drainDelay: 6}\r\n"
    set_value(path, ("registry",), "r")
    assert path.read_bytes() == b"name: a\r\nrun: {drainDelay: 6}\r\nregistry: r\r\n"


@pytest.mark.parametrize(
    ("keys", "way"),
    [(("name", "part"), "name.part"), (("functions", 3), "functions.3"), (("name", "a", "b"), "name.a")],
)
def test_an_edit_that_has_no_place(tmp_path, keys, way):
    path = write_project(tmp_path, HEAD) / "func.yaml"
    with pytest.raises(ProjectError) as caught:
        set_value(path, keys, "x")
    assert str(caught.value) == (
        f"func.yaml: {way} can't be set: what is around it is no mapping or list that holds it"
    )
    assert path.read_text() == HEAD
