"""`--data`, `--file`, `--content-type`."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from upon_build.cli.data import read_data
from upon_build.cli.exits import Fault


@pytest.mark.parametrize(
    ("data", "content_type", "expected"),
    [
        ('{"a": 1}', None, (b'{"a": 1}', "application/json")),
        ("hello", "text/plain", (b"hello", "text/plain")),
        ("[1]", "application/x+json", (b"[1]", "application/x+json")),
        (None, None, (None, None)),
    ],
)
def test_data(data: str | None, content_type: str | None, expected: tuple[bytes | None, str | None]) -> None:
    assert read_data(data, None, content_type) == expected


@pytest.mark.parametrize(
    ("name", "content_type", "media"),
    [
        ("a.json", None, "application/json"),
        ("a.png", None, "image/png"),
        ("a.unknown", None, "application/octet-stream"),
        ("a.json", "text/plain", "text/plain"),
    ],
)
def test_a_file_is_sent_as_it_is(tmp_path: Path, name: str, content_type: str | None, media: str) -> None:
    (tmp_path / name).write_bytes(b"\x00not json")

    assert read_data(None, str(tmp_path / name), content_type) == (b"\x00not json", media)


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"[1]")))

    assert read_data(None, "-", None) == (b"[1]", "application/json")


@pytest.mark.parametrize(
    ("data", "file", "said"),
    [
        ("{}", "a.json", "--data and --file are both given"),
        ("{text: good}", None, "--data '{text: good}' is not JSON"),
        (None, "/no/such/file", "--file '/no/such/file' can't be read: No such file"),
    ],
)
def test_what_cannot_be_sent(data: str | None, file: str | None, said: str) -> None:
    with pytest.raises(Fault, match=said) as caught:
        read_data(data, file, None)

    assert caught.value.exit_code == 2
