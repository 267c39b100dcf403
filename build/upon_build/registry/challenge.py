"""What a registry wants to see before it lets anybody in: the header WWW-Authenticate (RFC 9110, RFC 6750)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PIECE = re.compile(
    rf'\s*,?\s*(?:(?P<name>{_TOKEN})\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>{_TOKEN}))|(?P<scheme>{_TOKEN})(?=\s|$|,))'
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """scheme: `bearer` or `basic` in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Every challenge of every header; what can't be read ends its header."""
    found: list[Challenge] = []
    for header in headers:
        position = 0
        current: dict[str, str] | None = None
        while (piece := _PIECE.match(header, position)) is not None and piece.end() > position:
            position = piece.end()
            if piece["scheme"]:
                current = {}
                found.append(Challenge(piece["scheme"].lower(), current))
            elif current is not None:
                quoted = piece["quoted"]
                value = piece["bare"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                current[piece["name"].lower()] = value
    return found


def merge_scopes(*groups: Iterable[str]) -> tuple[str, ...]:
    """`repository:app:pull` and `repository:app:push` as `repository:app:pull,push`; sorted."""
    actions: dict[str, set[str]] = {}
    for scope in (scope for group in groups for scope in group):
        name, _, more = scope.rpartition(":")
        actions.setdefault(name, set()).update(more.split(","))
    return tuple(f"{name}:{','.join(sorted(more))}" for name, more in sorted(actions.items()))
