from __future__ import annotations

import pytest

from support.projects import HEAD, lines, read, write_project
from upon_build.project import ProjectError, load_project
from upon_build.project.secrets import Secrets, read_env

TOKEN = "{{ secret:hub:api-token }}"


def secrets(folder, text="", **environ):
    (folder / ".env").write_text(text)
    return Secrets(folder, environ)


FOUND = [
    ("hub.api-token=abc", {}, "abc"),
    ("HUB_API_TOKEN=abc", {}, "abc"),
    ("api-token=abc", {}, "abc"),
    ("api-token=wrong\nHUB_API_TOKEN=wrong too\nhub.api-token=abc", {}, "abc"),
    ("hub.api-token=wrong", {"HUB_API_TOKEN": "abc"}, "abc"),
    ("hub.api-token=abc", {"api-token": "wrong"}, "abc"),
    ("", {"HUB_API_TOKEN": ""}, ""),
]


@pytest.mark.parametrize(("text", "environ", "expected"), FOUND)
def test_where_a_value_comes_from(tmp_path, text, environ, expected):
    assert expected == secrets(tmp_path, text, **environ).resolve(TOKEN, "func.yaml:1", "TOKEN")


def test_references_within_text(tmp_path):
    found = secrets(tmp_path, "db.user=u\ndb.pass={{ odd }}\ncfg.host=h")
    text = "postgres://{{secret:db:user}}:{{ secret:db:pass }}@{{  configMap:cfg:host  }}/x"
    assert "postgres://u:{{ odd }}@h/x" == found.resolve(text, "", "URL")


MISSING = (
    "func.yaml:3: TOKEN needs secret 'hub', key 'api-token', which is neither HUB_API_TOKEN in the environment nor in"
    " FOLDER/.env: add the line `hub.api-token=...` to .env, or set HUB_API_TOKEN"
)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (TOKEN, MISSING),
        (TOKEN.replace("secret", "configMap"), MISSING.replace("needs secret", "needs configMap")),
        (
            "{{ secret:hub }}",
            "func.yaml:3: TOKEN holds braces that are no reference: write {{ secret:name:key }} or"
            " {{ configMap:name:key }}",
        ),
        (
            "{{ env:HOME }}",
            "func.yaml:3: TOKEN holds braces that are no reference: write {{ secret:name:key }} or"
            " {{ configMap:name:key }}",
        ),
    ],
)
def test_what_is_missing_stops_the_start_and_warns_at_the_check(tmp_path, value, message):
    write_project(tmp_path, HEAD + f'run: {{envs: [{{name: TOKEN, value: "{value}"}}]}}\n')
    assert [f"warning {message}"] == lines(tmp_path)
    with load_project(tmp_path, env={}) as project, pytest.raises(ProjectError) as caught:
        project.service_spec()
    assert message == str(caught.value).replace(str(tmp_path), "FOLDER")


def test_everything_that_is_missing_is_told_at_once(tmp_path):
    envs = "[{name: A, value: '{{ secret:a:a }}'}, {name: B, value: '{{ secret:b:b }}'}]"
    project = read(write_project(tmp_path, HEAD + f"run: {{envs: {envs}}}\n"))
    with pytest.raises(ProjectError) as caught:
        project.environment()
    assert ["A_A", "B_B"] == [problem.remedy.split()[-1] for problem in caught.value.problems]


def test_the_process_environment_keeps_its_own(tmp_path):
    envs = "[{name: LEVEL, value: info}, {name: TOKEN, value: '{{ secret:a:a }}'}, {name: X, value: x}]"
    project = read(write_project(tmp_path, HEAD + f"run: {{envs: {envs}}}\n"), env={"LEVEL": "debug", "TOKEN": "t"})
    assert {"LEVEL": "debug", "TOKEN": "t", "X": "x"} == project.environment()


def test_values_are_not_shown(tmp_path):
    (tmp_path / ".env").write_text("hub.token=hunter2\n")
    envs = "[{name: TOKEN, value: '{{ secret:hub:token }}'}]"
    project = read(write_project(tmp_path, HEAD + f"run: {{envs: {envs}}}\n"))
    assert {"TOKEN": "hunter2"} == project.environment()
    assert "Environment(TOKEN)" == repr(project.environment())
    assert "hunter2" not in repr((project.summary(), project.secrets, project))


def test_lines_of_an_env_file(tmp_path):
    (tmp_path / ".env").write_text(
        "# comment\n\nA=1\nexport B = two words # comment\nC='# no $comment'  # comment\n"
        'D="line\\nnext \\"q\\" \\x"\nE=\nF=a#b\nG=\'\'\nlower.case-key=v\n'
    )
    assert read_env(tmp_path / ".env") == {
        "A": "1",
        "B": "two words",
        "C": "# no $comment",
        "D": 'line\nnext "q" \\x',
        "E": "",
        "F": "a#b",
        "G": "",
        "lower.case-key": "v",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"A=1\nhunter2\n", ".env:2: the line is not NAME=value: begin comments with #"),
        (b"A=\xff\n", ".env: the file can't be read: UnicodeDecodeError: make it a UTF-8 text file"),
    ],
)
def test_a_broken_env_file_is_an_error_without_its_content(tmp_path, content, message):
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(ProjectError) as caught:
        read_env(tmp_path / ".env")
    assert message == str(caught.value)


def test_no_env_file_is_no_variables(tmp_path):
    assert {} == read_env(tmp_path / ".env")
