"""docker's credential helpers: programs that know a login, asked with a deadline and a bound."""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import IO

DEADLINE = 30.0  # seconds: some of them start an interpreter and ask a cloud
LARGEST_ANSWER = 2**16  # bytes
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_UNKNOWN = ("credentials not found", "no credentials server url", "no credentials username")


class HelperFailed(Exception):
    """The helper gave no login, and not because it has none; its output is never in the message."""


def ask_helper(name: str, server: str, *, deadline: float = DEADLINE) -> Mapping[str, str] | None:
    """What docker-credential-NAME knows about the server (`Username`, `Secret`), or None; else HelperFailed."""
    program = f"docker-credential-{name}"
    if _NAME.fullmatch(name) is None:
        raise HelperFailed(f"{name!r} is no credential helper's name")
    try:
        code, output = _run([program, "get"], server.encode(), deadline)
    except FileNotFoundError:
        raise HelperFailed(f"there is no program {program!r}") from None
    except OSError as error:
        raise HelperFailed(f"{program!r} can't be run ({error.strerror})") from None
    if code != 0:
        if any(unknown in output.decode(errors="replace").lower() for unknown in _UNKNOWN):
            return None
        raise HelperFailed(f"{program!r} failed with exit code {code}")
    return _login(output, program)


def _login(output: bytes, program: str) -> Mapping[str, str]:
    try:
        said = json.loads(output)
    except ValueError:
        said = None
    found = {key: said.get(key) for key in ("Username", "Secret")} if isinstance(said, dict) else {}
    if not found or not all(isinstance(value, str) for value in found.values()):
        raise HelperFailed(f"{program!r} gave no JSON object with Username and Secret")
    return {key: str(value) for key, value in found.items()}


def _run(command: list[str], given: bytes, deadline: float) -> tuple[int, bytes]:
    end = time.monotonic() + deadline
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # it may hold a secret
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with suppress(BrokenPipeError):
            process.stdin.write(given)  # shorter than a pipe holds
        with suppress(BrokenPipeError):
            process.stdin.close()
        output = _read(process.stdout, end, command[0])
        return process.wait(max(0.1, end - time.monotonic())), output
    except subprocess.TimeoutExpired:
        raise HelperFailed(f"{command[0]!r} did not end within {deadline:.0f} s") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)  # its children too
        process.stdout.close()
        process.wait()


def _read(stream: IO[bytes], end: float, program: str) -> bytes:
    output = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while selector.select(max(0.0, end - time.monotonic())):
            block = os.read(stream.fileno(), LARGEST_ANSWER)
            output += block
            if not block:
                return output
            if len(output) > LARGEST_ANSWER:
                raise HelperFailed(f"{program!r} gave more than {LARGEST_ANSWER} bytes")
    raise HelperFailed(f"{program!r} did not answer in time")
