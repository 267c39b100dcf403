"""func.yaml as it stands in an image: without its profiles, and with no password in plain text.

One image is promoted through environments; what differs between them arrives when it is deployed. Everything else
keeps its bytes, so that what the image says is what the author wrote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from upon_build.project.file import ProjectFile
from upon_build.project.problems import Problem, fail
from upon_build.project.secrets import is_reference
from upon_build.project.validation import Path as Keys

NAME = "func.yaml"  # in the image, whatever it is called here
LEFT_OUT = "profiles"
_PASSWORD_IN_URL = re.compile(r"//[^/@\s]*:[^/@\s]+@")


def image_file(file: ProjectFile) -> bytes:
    """The content of the image's func.yaml. Raises ProjectError where the file can't be read any more.

    The lines of `profiles` are cut out. Where that would change the rest (an anchor in a profile, say), the values are
    written anew, as JSON, which is YAML too.
    """
    try:
        content = file.path.read_bytes()
    except OSError as error:
        raise fail(file.path.name, f"the file can't be read: {error.strerror}") from None
    if LEFT_OUT not in file.data:
        return content
    kept = {key: value for key, value in file.data.items() if key != LEFT_OUT}
    cut = _without_lines(content, file)
    if cut is not None and _parsed(cut) == kept:
        return cut
    return (json.dumps(_plain(kept), ensure_ascii=False, indent=1) + "\n").encode()


def plain_passwords(file: ProjectFile) -> Iterator[Problem]:
    """Passwords outside of the profiles that are no references: they would be in the image."""
    for keys, value in _texts(file.data, ()):
        if keys[0] != LEFT_OUT and value and not is_reference(value) and _is_password(keys, value):
            message = f"{'.'.join(map(str, keys))} is a password in plain text, and this file goes into the image"
            remedy = "write a reference, {{ secret:name:key }}, or move it into a profile"
            yield Problem("error", file.location(keys), message, remedy)


def _is_password(keys: Keys, value: str) -> bool:
    return keys[-1] == "password" or (keys[-1] == "url" and _PASSWORD_IN_URL.search(value) is not None)


def _without_lines(content: bytes, file: ProjectFile) -> bytes | None:
    """None where the keys are not on lines of their own."""
    begin = file.line((LEFT_OUT,)) - 1
    later = [line for key in file.data if (line := file.line((key,)) - 1) > begin]
    lines = content.splitlines(keepends=True)
    if begin >= len(lines) or not re.match(rb"""["']?profiles["']?\s*:""", lines[begin]):
        return None
    return b"".join(lines[:begin] + (lines[min(later) :] if later else []))


def _parsed(content: bytes) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML().load(content.decode("utf-8-sig"))
    except (YAMLError, UnicodeDecodeError):
        return None


def _texts(value: Any, keys: Keys) -> Iterator[tuple[Keys, str]]:
    if isinstance(value, str):
        yield keys, value
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _texts(one, (*keys, str(name)))
    elif isinstance(value, Sequence):
        for index, one in enumerate(value):
            yield from _texts(one, (*keys, index))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)
