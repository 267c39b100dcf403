"""What is wrong with idempotent functions: a store that can't do, or nothing that could come twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from upon._triggers import HttpTrigger
from upon_build.project.options import Configured
from upon_build.project.problems import Problem, Severity
from upon_build.project.secrets import is_reference
from upon_build.project.settings import Settings, Value

REFERENCE = "write a reference: {{ secret:name:key }}"


def idempotent_problems(settings: Settings, configured: Sequence[Configured]) -> Iterator[Problem]:
    """Whoever relies on it must not be left alone with it in silence."""
    idempotent = [one for one in configured if one.options["idempotent"].value]
    if not idempotent:
        return
    yield from _store_problems(settings, idempotent[0])
    guarantee = settings.get("delivery.guarantee")
    if guarantee.value == "exactly-once":
        message = f"{idempotent[0].function.name} is idempotent, and delivery.guarantee is 'exactly-once'"
        remedy = "keep one: exactly-once covers replies and sends, idempotent what the function does elsewhere"
        yield Problem("error", guarantee.where, message, remedy)
    for one in idempotent:
        triggers = one.function.triggers
        if triggers and all(isinstance(trigger, HttpTrigger) and trigger.method == "GET" for trigger in triggers):
            message = f"{one.function.name} is idempotent and answers GET alone, which is handled every time"
            yield Problem("warning", one.options["idempotent"].where, message, "remove idempotent")


def _store_problems(settings: Settings, one: Configured) -> Iterator[Problem]:
    store, most = settings.get("idempotency.store"), settings.get("deploy.scale.max")
    where = store.where if store.layer != "default" else one.options["idempotent"].where
    if store.value == "sqlite":
        if most.value != 1:
            yield _many_replicas(settings, one, where, most)
    elif not settings["idempotency.url"]:
        message = f"idempotency.store is {store.value!r}, and there is no idempotency.url"
        yield Problem("error", where, message, f"{REFERENCE} to its URL")


def _many_replicas(settings: Settings, one: Configured, where: str, most: Value) -> Problem:
    """On a laptop there is one, whatever the cluster will have."""
    severity: Severity = "warning" if settings.profile in (None, "dev") else "error"
    limit = "has no limit" if most.value == 0 else f"is {most.value}"
    return Problem(
        severity,
        where,
        f"{one.function.name} is idempotent, idempotency.store is 'sqlite', which replicas can't share, and"
        f" deploy.scale.max {limit}",
        "set deploy.scale.max to 1, or idempotency.store to redis or postgresql",
    )


def plain_password(url: Value) -> Iterator[Problem]:
    """Of idempotency.url, where it stands in the file."""
    if url.value and url.layer in ("profile", "file") and not is_reference(url.value):
        try:
            password = urlsplit(url.value).password
        except ValueError:
            return
        if password:
            yield Problem("warning", url.where, "idempotency.url holds a password as plain text", REFERENCE)
