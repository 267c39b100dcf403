"""Kafka's TLS and SASL as KafkaSource wants them: every value in a Secret, which it reads itself."""

from __future__ import annotations

from posixpath import dirname, join, normpath
from typing import Any

from upon_build.cluster.objects.references import referred
from upon_build.cluster.objects.wanted import Wanted
from upon_build.image.assembly.config import APP
from upon_build.project.settings import Value

MECHANISM = "sasl.mechanism"  # the key in the password's Secret; func.yaml has the mechanism's name itself
TLS_FIELDS = {"kafka.tls.ca": "caCert", "kafka.tls.certificate": "cert", "kafka.tls.key": "key"}
SASL_FIELDS = {"kafka.sasl.username": "user", "kafka.sasl.password": "password"}


def net_of(wanted: Wanted) -> dict[str, Any]:
    """KafkaSource's `net`; empty for a Kafka without either. What has no Secret is left out: it is no deployment."""
    settings = wanted.settings
    net: dict[str, Any] = {}
    if settings.has("kafka.tls"):
        files = {field: file_key(wanted, settings[path]) for path, field in TLS_FIELDS.items() if settings[path]}
        net["tls"] = {"enable": True, **_references(files)}
    if settings.has("kafka.sasl"):
        keys = {field: secret_key(settings.get(path)) for path, field in SASL_FIELDS.items()}
        password = keys["password"]
        if password is not None:
            keys["type"] = (password[0], MECHANISM)
        net["sasl"] = {"enable": True, **_references(keys)}
    return net


def secret_key(value: Value) -> tuple[str, str] | None:
    """(Secret, key) where a value is one reference to a Secret and nothing around it."""
    found = list(referred(value.value, value.where))
    whole = len(found) == 1 and str(value.value).startswith("{{") and str(value.value).endswith("}}")
    return (found[0].name, found[0].key) if whole and found[0].sort == "secret" else None


def file_key(wanted: Wanted, path: str) -> tuple[str, str] | None:
    """(Secret, key) of a file that lies in a volume from a Secret; None for any other file."""
    file = normpath(join(APP, path))
    for volume in wanted.settings["run.volumes"]:
        if "secret" in volume and normpath(volume["path"]) == dirname(file):
            return volume["secret"], file.rpartition("/")[2]
    return None


def _references(keys: dict[str, tuple[str, str] | None]) -> dict[str, Any]:
    return {field: {"secretKeyRef": {"name": key[0], "key": key[1]}} for field, key in keys.items() if key}
