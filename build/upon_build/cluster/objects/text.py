"""Objects as YAML text: the same for the same objects, and read as the same by every YAML, of 1.1 and of 1.2.

Ours and not a library's: those of YAML 1.2 write `on` and `12:30:00` without quotes, which kubectl then takes for a
truth value and a number; and a chart has to have its placeholders left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

PLAIN = re.compile(r"[A-Za-z/][\w./@-]*(:[\w./@-]+)*", re.ASCII)
WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_ESCAPED = re.compile(r"[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


class Verbatim(str):
    """Text that is written as it is: a chart's placeholder."""


def as_yaml(objects: Iterable[Mapping[str, Any]]) -> str:
    """YAML documents, each after `---`. Keys keep their order."""
    return "".join(f"---\n{document(one)}" for one in objects)


def document(value: Mapping[str, Any]) -> str:
    """One of them."""
    return "".join(f"{line}\n" for line in _mapping(value, ""))


def _mapping(value: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, part in value.items():
        yield from _entry(f"{indent}{scalar(key)}:", part, f"{indent}  ")


def _list(value: Sequence[Any], indent: str) -> Iterator[str]:
    for part in value:
        if _is_block(part):
            first, *rest = _block(part, f"{indent}  ")
            yield f"{indent}- {first[len(indent) + 2 :]}"
            yield from rest
        else:
            yield f"{indent}- {scalar(part)}"


def _entry(head: str, part: Any, indent: str) -> Iterator[str]:
    if _is_block(part):
        yield head
        yield from _block(part, indent)
    else:
        yield f"{head} {scalar(part)}"


def _is_block(part: Any) -> bool:
    return isinstance(part, (Mapping, Sequence)) and not isinstance(part, str) and bool(part)


def _block(part: Any, indent: str) -> Iterator[str]:
    return _mapping(part, indent) if isinstance(part, Mapping) else _list(part, indent)


def scalar(value: Any) -> str:
    """`on` -> `"on"`; a name stays as it is."""
    if isinstance(value, Verbatim):
        return str(value)
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) and value.lower() not in WORDS else quoted(value)
    if isinstance(value, (Mapping, Sequence)):
        return "{}" if isinstance(value, Mapping) else "[]"
    return json.dumps(value)


def quoted(value: str) -> str:
    """In double quotes; what can't be seen is escaped."""
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
