"""The group: lazy imports, did-you-mean, errors as messages with exit codes."""

from __future__ import annotations

import errno
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from upon import DeadlineExceeded, MissingExtra, ModelError, UponError, UsageError
from upon_build.cli.app import COMMANDS, main
from upon_build.cli.exits import MEANINGS, Exit, Fault, exit_of, fault_from

HEAVY = {"numpy", "onnxruntime", "flask", "kafka", "pydantic", "prometheus_client", "rich", "confluent_kafka", "upon"}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from upon_build.cli import main; main(['--help'], standalone_mode=False);"
        f"print('heavy:', sorted({HEAVY!r} & set(sys.modules)))"
    )

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout

    assert "heavy: []" in out


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])

    assert result.exit_code == 0
    assert "Example:" in result.output
    assert f"func {name}" in result.output


def test_the_help_in_the_table_begins_as_the_commands_own() -> None:
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        assert command is not None
        assert command.name == name


def test_every_exit_code_is_in_the_help() -> None:
    output = CliRunner().invoke(main, ["--help"]).output

    assert set(Exit) == set(MEANINGS)
    for code in Exit:
        assert f"\n  {int(code)} " in output


@pytest.mark.parametrize(
    ("typed", "answer"), [("chek", "Did you mean 'check'?"), ("zzz", "There are: create, check, run")]
)
def test_unknown_command(typed: str, answer: str) -> None:
    result = CliRunner().invoke(main, [typed])

    assert result.exit_code == 2
    assert f"No such command {typed!r}. {answer}" in result.output


def test_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).output.startswith("upon 0.")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no"), Exit.USAGE),
        (ModelError("no"), Exit.USAGE),
        (MissingExtra("x", "dev"), Exit.NOT_INSTALLED),
        (DeadlineExceeded("late"), Exit.TIMEOUT),
        (TimeoutError("late"), Exit.TIMEOUT),
        (UponError("no"), Exit.FAILED),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Exit.UNAVAILABLE),
        (OSError(errno.EADDRINUSE, "in use"), Exit.UNAVAILABLE),
        (PermissionError(errno.EACCES, "denied", "/root/x"), Exit.FAILED),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), None),
        (ZeroDivisionError(), None),
    ],
)
def test_exit_code_of_an_error(error: BaseException, code: Exit | None) -> None:
    assert exit_of(error) == code


def test_an_error_with_a_file_names_it() -> None:
    fault = fault_from(PermissionError(errno.EACCES, "Permission denied", "func.yaml"))

    assert isinstance(fault, Fault)
    assert fault.format_message() == "func.yaml: Permission denied"


@pytest.mark.parametrize("before", [True, False])
def test_debug_shows_the_traceback_and_keeps_the_exit_code(before: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upon_build.cli.create.check_name", _refuse)
    plain = CliRunner().invoke(main, ["create", "x"])
    loud = CliRunner().invoke(main, ["--debug", "create", "x"] if before else ["create", "--debug", "x"])

    assert (plain.exit_code, loud.exit_code) == (2, 2)
    assert "Error: not this one" in plain.output
    assert "Traceback" not in plain.output
    assert "Traceback" in loud.output


def _refuse(name: str) -> str:
    raise UsageError("not this one")
