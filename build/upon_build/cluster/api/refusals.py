"""The API server's answers as errors that say what was asked, why it was refused, and what helps."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from upon_build.cluster.api.errors import ApiError, ClusterUnavailable, Conflict, Field, Forbidden, Gone, NotFound
from upon_build.cluster.api.kinds import Kind

_MANAGER = re.compile(r'conflict with "([^"]*)"')


def refusal(status: int, content: bytes, verb: str, kind: Kind | None, path: str) -> ApiError:
    """verb, kind: what was asked; path: of the request."""
    said = _status(content)
    message = " ".join(str(said.get("message") or f"HTTP {status}").split())[:2000]
    reason = str(said.get("reason") or "")
    match status:
        case 401:
            return ClusterUnavailable(f"the cluster does not know who we are ({message}): log in again", status, reason)
        case 403 if _is_right(message):
            return Forbidden(_forbidden(verb, kind, path), status, reason)
        case 404:
            return NotFound(message, status, reason)
        case 409 if reason == "Conflict" and (fields := _fields(said)):
            return Conflict(message, fields)
        case 410:
            return Gone(message, status, reason)
    return ApiError(message, status, reason)


def _status(content: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {"message": content[:300].decode(errors="replace")}
    return found if isinstance(found, Mapping) else {}


def _is_right(message: str) -> bool:
    """Admission refuses with 403 as well: then it is the object, and not a right."""
    return "cannot " in message or not message or message.startswith("HTTP")


def _forbidden(verb: str, kind: Kind | None, path: str) -> str:
    what = kind.resource if kind else path
    namespace = re.search(r"/namespaces/([^/]+)/", path)
    where = f" in the namespace {namespace[1]!r}" if namespace else ""
    sub = "/log" if path.endswith("/log") else ""
    return f"this account may not {verb} {what}{sub}{where}: `func doctor --role` prints the rights that it needs"


def _fields(said: Mapping[str, Any]) -> list[Field]:
    causes = (said.get("details") or {}).get("causes") or ()
    found = []
    for cause in causes:
        if cause.get("reason") == "FieldManagerConflict":
            match = _MANAGER.search(str(cause.get("message")))
            found.append(Field(str(cause.get("field")), match[1] if match else "somebody"))
    return found
