from __future__ import annotations

import stat
from pathlib import Path

import pytest

from upon_build.registry.helpers import LARGEST_ANSWER, HelperFailed, ask_helper

SECRET = "hunter2-s3cret"


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """docker-credential-mine on the path, to be written."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "docker-credential-mine"


def write(helper: Path, script: str) -> None:
    helper.write_text(f"#!/bin/sh\n{script}\n")
    helper.chmod(helper.stat().st_mode | stat.S_IEXEC)


def test_a_helper_gets_the_server_on_stdin_and_gives_a_login(helper: Path) -> None:
    write(
        helper,
        """read server; echo "{\\"ServerURL\\":\\"$server\\",\\"Username\\":\\"$1-$server\\",\\"Secret\\":\\"s\\"}" """,
    )
    assert {"Username": "get-ghcr.io", "Secret": "s"} == ask_helper("mine", "ghcr.io")


def test_a_helper_that_reads_nothing_is_no_fault(helper: Path) -> None:
    write(helper, """exec <&-; echo '{"Username":"u","Secret":"s"}'""")
    assert {"Username": "u", "Secret": "s"} == ask_helper("mine", "ghcr.io")


def test_a_helper_that_knows_nothing_is_no_failure(helper: Path) -> None:
    write(helper, "echo credentials not found in native keychain; exit 1")
    assert ask_helper("mine", "ghcr.io") is None


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        (f"echo {SECRET}; echo {SECRET} >&2; exit 3", "failed with exit code 3"),
        (f"echo {SECRET}", "no JSON object"),
        (f"""echo '["{SECRET}"]'""", "no JSON object"),
        (f"""echo '{{"Secret": "{SECRET}", "Username": 3}}'""", "no JSON object"),
        ("yes 0123456789", f"more than {LARGEST_ANSWER} bytes"),
    ],
)
def test_a_helper_that_fails_is_named_and_its_words_are_not(helper: Path, script: str, fault: str) -> None:
    write(helper, script)
    with pytest.raises(HelperFailed, match=fault) as raised:
        ask_helper("mine", "ghcr.io")
    assert "docker-credential-mine" in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("script", ["sleep 60", "exec >&-; sleep 60", "sleep 60 & echo x"])
def test_a_helper_has_a_deadline_and_so_have_its_children(helper: Path, script: str) -> None:
    write(helper, script)
    with pytest.raises(HelperFailed, match=r"did not (end|answer)"):
        ask_helper("mine", "ghcr.io", deadline=0.3)


def test_a_helper_that_is_not_there_is_named() -> None:
    with pytest.raises(HelperFailed, match="no program 'docker-credential-nowhere'"):
        ask_helper("nowhere", "ghcr.io")


def test_a_helper_is_a_name_and_no_path() -> None:
    with pytest.raises(HelperFailed, match="no credential helper's name"):
        ask_helper("../../bin/sh", "ghcr.io")
