"""`--data`, `--file` and `--content-type`: the bytes a command sends, and what they are."""

from __future__ import annotations

import json
import mimetypes
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from upon._event import is_json
from upon_build.cli.exits import Exit, Fault

F = TypeVar("F", bound=Callable[..., Any])


def data_options(function: F) -> F:
    for option in (
        click.option("--content-type", metavar="TYPE", help="Media type of the data; else JSON, or by file name."),
        click.option("-f", "--file", metavar="FILE", help="The data as a file's bytes; '-' reads standard input."),
        click.option("-d", "--data", metavar="JSON", help="The data, as JSON unless --content-type says otherwise."),
    ):
        function = option(function)
    return function


def read_data(data: str | None, file: str | None, content_type: str | None) -> tuple[bytes | None, str | None]:
    """(bytes, media type); (None, None) for no data. Raises Fault for both at once, no such file, or broken JSON."""
    if data is not None and file is not None:
        raise Fault("--data and --file are both given: keep one", Exit.USAGE)
    if file is not None:
        return _read(file), content_type or _guess(file)
    if data is None:
        return None, content_type
    media = content_type or "application/json"
    if is_json(media):
        try:
            json.loads(data)
        except ValueError as error:
            raise Fault(
                f'--data {data!r} is not JSON ({error}): quote it as \'{{"text": "good"}}\', or add --content-type'
                " text/plain",
                Exit.USAGE,
            ) from None
    return data.encode(), media


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Fault(f"--file {file!r} can't be read: {error.strerror}", Exit.USAGE) from None


def _guess(file: str) -> str:
    if file == "-":
        return "application/json"
    return mimetypes.guess_type(file)[0] or "application/octet-stream"
