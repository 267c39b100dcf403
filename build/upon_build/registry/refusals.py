"""What a registry's refusal means, in one table: the fact with the registry's own words, then the remedy."""

from __future__ import annotations

import json
import re

from upon_build.registry.credentials import HOST, PASSWORD, USERNAME, Login
from upon_build.registry.errors import DigestMismatch, NotFound, RegistryError, RegistryUnavailable
from upon_build.registry.reference import Reference

LONGEST = 300  # characters of the registry's words


def words_of(content: bytes) -> tuple[str, str]:
    """(code, message) of the first error that the registry tells, each cut to what a line takes."""
    try:
        first = json.loads(content)["errors"][0]
        code, message = first.get("code", ""), first.get("message", "")
    except (ValueError, LookupError, TypeError, AttributeError):
        return "", ""
    return _line(code), _line(message)


def _line(text: object) -> str:
    """A terminal shall not be told anything by a registry."""
    plain = re.sub(r"\s+", " ", str(text or "")).strip()
    return "".join(mark for mark in plain if mark.isprintable())[:LONGEST]


def refusal(
    status: int,
    reference: Reference,
    doing: str,
    said: tuple[str, str],
    login: Login | None,
    note: str = "",
    host: str = "",
) -> RegistryError:
    """The error for a response. doing: `push to`, `read`; host: who answered, where that was not the registry."""
    code, message = said
    own = f" ({': '.join(part for part in (code, message) if part)})" if code or message else ""
    where = f"{host or reference.registry}"
    name = reference.name
    match status:
        case 401:
            return RegistryUnavailable(_locked(where, reference, login, own, note), status=status, code=code)
        case 403:
            fact = f"{where} does not let {_who(login)} {doing} {name}{own}"
            remedy = "ask its owner for the right, or log in as somebody else"
            return RegistryUnavailable(f"{fact}: {remedy}", status=status, code=code)
        case 404:
            fact = f"{where} has nothing to {doing} at {name}{own}"
            remedy = "check the name; some registries want a repository to be made before the first push"
            return NotFound(f"{fact}: {remedy}", status=status, code=code)
        case 413:
            fact = f"{where} does not take so large an upload to {name}{own}"
            remedy = "have the limit raised (a proxy before it often has one: client_max_body_size, proxy-body-size)"
            return RegistryError(f"{fact}: {remedy}", status=status, code=code)
        case 429:
            fact = f"{where} allows no more requests to {doing} {name} for now{own}"
            return RegistryError(f"{fact}: wait, or log in for a higher limit", status=status, code=code)
        case 400 if code in ("DIGEST_INVALID", "SIZE_INVALID"):
            fact = f"{where} did not get what the digest says for {name}{own}"
            return DigestMismatch(
                f"{fact}: the cache may be damaged: `func cache prune --all`", status=status, code=code
            )
    fact = f"{where} answered {status} to a request to {doing} {name}{own}"
    remedy = "run the command again later" if status >= 500 else "check the name, and that this is a registry"
    return RegistryError(f"{fact}: {remedy}", status=status, code=code)


def _who(login: Login | None) -> str:
    if login is None:
        return "somebody without a login"
    return f"the login from {login.origin}"


def _locked(where: str, reference: Reference, login: Login | None, own: str, note: str) -> str:
    if login is not None:
        fact = f"{where} does not accept the login from {login.origin} for {reference.name}{own}"
        return f"{fact}: log in again with `docker login {reference.registry}`"
    fact = f"{where} wants a login for {reference.name}{own}"
    if note:
        fact = f"{fact}; {note}"
    variables = f"{USERNAME} and {PASSWORD} (for what is only read also {HOST}={reference.registry})"
    return f"{fact}: log in with `docker login {reference.registry}`, or set {variables}"
