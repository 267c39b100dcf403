from __future__ import annotations

import sys

import pytest

from support.projects import APP, HEAD, lines, write_project
from upon_build.project import load_project

TWO = "name: demo\nfunctions: [app.py, lib/more.py]\n"

#  app.py, problem
IMPORTS = [
    (
        "import upon\n\ndef broken(:\n    pass\n",
        "app.py:3: SyntaxError: invalid syntax: correct the line `def broken(:`",
    ),
    (
        "def broken():\n  a\n    b\n",
        "app.py:3: IndentationError: unexpected indent: correct the line `b`",
    ),
    (
        "import upon\nimport torchh_missing\n",
        "app.py:2: app.py can't be imported: ModuleNotFoundError: No module named 'torchh_missing' in `import"
        " torchh_missing`: install it, for instance with `pip install torchh_missing`, or correct the name",
    ),
    (
        "import helpres\n",
        "app.py:1: app.py can't be imported: ModuleNotFoundError: No module named 'helpres' in `import helpres`: did"
        " you mean 'helpers'?",
    ),
    (
        "def inner():\n    return 1 / 0\n\ninner()\n",
        "app.py:2: app.py can't be imported: ZeroDivisionError: division by zero in `return 1 / 0`",
    ),
    (
        "import json\njson.loads('x')\n",
        "app.py:2: app.py can't be imported: json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)"
        " in `json.loads('x')`",
    ),
    (
        "from helpers import nothing\n",
        "app.py:1: app.py can't be imported: ImportError: cannot import name 'nothing' from 'helpers'"
        " (FOLDER/helpers.py) in `from helpers import nothing`",
    ),
    (
        "import fails\n",
        "fails.py:1: app.py can't be imported: RuntimeError: no in `raise RuntimeError('no')`",
    ),
    ("import odd\n", "odd.py:2: SyntaxError: invalid syntax: correct the line `x = = 1`"),
    (
        "import upon\n\n@upon.kafka\ndef score(event): ...\n",
        "app.py:3: app.py can't be imported: UsageError: @upon.kafka needs its arguments: write @upon.kafka(\"topic\")"
        " in `@upon.kafka`",
    ),
    (
        "import sys\nsys.exit(3)\n",
        "app.py:2: app.py ends the process in `sys.exit(3)`: put it under `if __name__ == '__main__':`",
    ),
    (
        "raise BaseException('odd')\n",
        "app.py:1: app.py can't be imported: BaseException: odd in `raise BaseException('odd')`",
    ),
    ("x = 1\n", "func.yaml:2: there is no function in app.py: decorate a module-level function, for instance with"
     " @upon.http, or list its file under `functions:`"),
]  # fmt: skip


def test_a_package_of_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    [problem] = load_project(write_project(tmp_path, app="import onnxruntime\n")).problems
    assert problem.remedy == "install it with `pip install 'upon[cpu]'`"


@pytest.mark.parametrize(("app", "message"), IMPORTS, ids=[row[1][:50] for row in IMPORTS])
def test_a_file_that_gives_no_function(tmp_path, app, message):
    write_project(tmp_path, app=app, helpers="x = 1\n", fails="raise RuntimeError('no')\n", odd="y = 1\nx = = 1\n")
    before = set(sys.modules), list(sys.path)
    assert [f"error {message}"] == lines(tmp_path)
    assert before[1] == sys.path
    assert {"app", "helpers", "fails", "odd"} & (set(sys.modules) - before[0]) == set()


#  entry of `functions`, problem
NAMES = [
    ("ap.py", "func.yaml:2: there is no file 'ap.py' in FOLDER: did you mean 'app.py'?"),
    ("lib/mor.py", "func.yaml:2: there is no file 'lib/mor.py' in FOLDER: did you mean 'lib/more.py'?"),
    ("../other.py", "func.yaml:2: '../other.py' is outside FOLDER: move it into the project's folder"),
    ("json.py", "func.yaml:2: 'json.py' hides Python's own module 'json': rename the file"),
    ("a.b.py", "func.yaml:2: 'a.b.py' can't be imported with a dot in its name: rename the file"),
    ("pytest.py", "pytest.py: the name 'pytest' is taken by PYTEST: rename the file"),
]


@pytest.mark.parametrize(("name", "message"), NAMES)
def test_a_file_that_has_no_good_name(tmp_path, name, message):
    write_project(tmp_path, f"name: demo\nfunctions: [{name}]\n", lib__more=APP)
    for other in ("json.py", "a.b.py", "pytest.py"):
        (tmp_path / other).write_text(APP)
    assert [f"error {message.replace('PYTEST', str(pytest.__file__))}"] == lines(tmp_path)


def test_problems_of_all_files_are_told(tmp_path):
    write_project(
        tmp_path, "name: demo\nfunctions:\n- app.py\n- lib/more.py\n- gone.py\n", "1 / 0\n", lib__more="x = = 1\n"
    )
    assert [line.split(": ")[0] for line in lines(tmp_path)] == [
        "error app.py:1",
        "error lib/more.py:1",
        "error func.yaml:5",
    ]


def test_objects_are_found_once_imported_ones_included(tmp_path):
    shared = (
        "import upon\nfrom flask import Blueprint\n"
        "model = upon.Model('m', 'func.yaml')\ntopic = upon.Topic('t')\npages = Blueprint('pages', __name__)\n"
        "@upon.resource\ndef store(): return {}\n@upon.kafka('a')\ndef first(event): ...\n"
    )
    more = (
        "import upon\nfrom shared import first, model, store\nagain = first\n@upon.kafka('b')\ndef second(event): ...\n"
    )
    write_project(tmp_path, TWO, "from shared import *\n", lib__more=more, shared=shared)
    with load_project(tmp_path, env={}) as project:
        assert project.problems == ()
        spec = project.service_spec()
    assert ["first", "second"] == [function.name for function in spec.functions]
    assert ["m"] == [model.name for model in spec.models]
    assert ["t"] == [topic.name for topic in spec.topics]
    assert ["store"] == [resource.name for resource in spec.resources]
    assert ["pages"] == [blueprint.name for blueprint in spec.blueprints]


TWINS = [
    ("@upon.kafka('{}')\ndef score(event): ...\n", "two functions of the name 'score'", "rename one", (3, 4)),
    (
        "\nmine_{} = upon.Model('m', 'func.yaml')\n",
        "two models of the name 'm'",
        "rename one, or import the first",
        (4, 5),
    ),
    (
        "\nmine_{}: upon.Topic = upon.Topic('t')\n",
        "two topics of the name 't'",
        "rename one, or import the first",
        (4, 5),
    ),
    ("@upon.resource\ndef tokens(): ...\n", "two resources of the name 'tokens'", "rename one", (3, 4)),
]


@pytest.mark.parametrize(("code", "what", "remedy", "places"), TWINS, ids=[row[1] for row in TWINS])
def test_two_objects_of_one_name_name_both_places(tmp_path, code, what, remedy, places):
    other = "@upon.http('GET /x')\ndef other(event): ...\n"
    write_project(
        tmp_path, TWO, "import upon\n\n" + code.format("a") + other, lib__more="import upon\n\n\n" + code.format("b")
    )
    assert [f"error lib/more.py:{places[1]}: there are {what}; the first is in app.py:{places[0]}: {remedy}"] == lines(
        tmp_path
    )


def test_two_projects_with_files_of_one_name(tmp_path):
    projects = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        write_project(folder, app="import upon, helper\n@upon.kafka('x')\ndef score(event): return helper.NAME\n",
                      helper=f"NAME = {name!r}\n")  # fmt: skip
        projects.append(load_project(folder, env={}))
    assert ["one", "two"] == [project.service_spec().functions[0].function({}) for project in projects]
    assert sys.modules["helper"].NAME == "two"
    for project in projects:
        project.close()
        project.close()
    assert "helper" not in sys.modules
    assert "app" not in sys.modules
    assert [] == [path for path in sys.path if str(tmp_path) in path]


def test_a_project_is_read_anew_after_it_was_closed(tmp_path):
    for number in (1, 22):
        write_project(tmp_path, app=f"import upon\n@upon.kafka('x')\ndef score(event): return {number}\n")
        with load_project(tmp_path, env={}) as project:
            assert number == project.service_spec().functions[0].function({})


def test_a_module_that_was_imported_before_is_the_same_and_stays(tmp_path, monkeypatch):
    write_project(tmp_path, app="import upon\nmodel = upon.Model('m', 'func.yaml')\n" + APP)
    monkeypatch.syspath_prepend(tmp_path)
    import app  # type: ignore[import-not-found]

    try:
        with load_project(tmp_path, env={}) as project:
            assert app.model is project.service_spec().models[0]
        assert sys.modules["app"] is app
    finally:
        del sys.modules["app"]


def test_the_folder_is_the_first_on_the_path_while_it_is_loaded(tmp_path):
    app = "import upon\n@upon.kafka('x')\ndef score(event):\n    import late\n    return late.X\n"
    write_project(tmp_path, app=app, late="X = 7\n")
    with load_project(tmp_path, env={}) as project:
        assert sys.path[0] == str(tmp_path)
        assert project.service_spec().functions[0].function({}) == 7
    assert "late" not in sys.modules


def test_envs_are_set_while_modules_are_imported_and_gone_after(tmp_path, monkeypatch):
    monkeypatch.delenv("UPON_TEST_LEVEL", raising=False)
    write_project(
        tmp_path,
        HEAD + "run: {envs: [{name: UPON_TEST_LEVEL, value: info}]}\n",
        "import os, upon\nLEVEL = os.environ['UPON_TEST_LEVEL']\n@upon.kafka('x')\ndef score(event): return LEVEL\n",
    )
    import os

    with load_project(tmp_path) as project:
        assert project.service_spec().functions[0].function({}) == "info"
    assert "UPON_TEST_LEVEL" not in os.environ


def test_one_project_twice_at_once(tmp_path):
    write_project(tmp_path, app="import upon, helper\nm = upon.Model('m', 'func.yaml')\n" + APP, helper="X = 1\n")
    first, second = load_project(tmp_path, env={}), load_project(tmp_path, env={})
    assert first.service_spec().models[0] is not second.service_spec().models[0]
    helper = sys.modules["helper"]
    first.close()
    assert sys.modules["helper"] is helper
    assert str(tmp_path) in sys.path
    second.close()
    assert "helper" not in sys.modules
    assert str(tmp_path) not in sys.path


def test_a_package_in_the_folder_with_a_path_of_its_own_stays(tmp_path, monkeypatch):
    write_project(tmp_path, vendor__upon_test_vendored="X = 1\n")
    monkeypatch.syspath_prepend(tmp_path / "vendor")
    with load_project(tmp_path, env={}):
        import upon_test_vendored  # type: ignore[import-not-found]
    try:
        assert sys.modules["upon_test_vendored"] is upon_test_vendored
    finally:
        del sys.modules["upon_test_vendored"]


def test_a_virtual_environment_in_the_folder_is_not_the_project(tmp_path):
    folder = tmp_path / "venv/lib/site-packages"
    folder.mkdir(parents=True)
    (folder / "upon_test_installed.py").write_text("def fail():\n    raise ValueError('no')\n")
    app = f"import sys\nsys.path.append({str(folder)!r})\nimport upon_test_installed\nupon_test_installed.fail()\n"
    write_project(tmp_path, app=app)
    try:
        assert lines(tmp_path) == [
            "error app.py:4: app.py can't be imported: ValueError: no in `upon_test_installed.fail()`"
        ]
    finally:
        sys.path.remove(str(folder))
        del sys.modules["upon_test_installed"]


def test_an_interrupted_load_leaves_nothing_behind(tmp_path):
    write_project(tmp_path, app="import helper\nraise KeyboardInterrupt\n", helper="X = 1\n")
    before = list(sys.path)
    with pytest.raises(KeyboardInterrupt):
        load_project(tmp_path, env={})
    assert before == sys.path
    assert "helper" not in sys.modules
