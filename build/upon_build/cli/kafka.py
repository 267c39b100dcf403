"""Which Kafka `func events` talks to."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from upon_build.cli.exits import Exit, Fault
from upon_build.cli.running import find_running
from upon_build.project import ProjectError, read_project
from upon_build.project.file import NAME
from upon_triggers.settings import KafkaConnection


def connection_for(bootstrap: str | None, profile: str | None, folder: Path = Path()) -> KafkaConnection:
    """--bootstrap, else this project's running `func run`, else func.yaml's; with the project's TLS and SASL.

    Raises Fault where there is none of them, and ProjectError for a func.yaml that can't be read.
    """
    running = find_running(folder)
    if running is not None and running.embedded and running.kafka and bootstrap in (None, running.kafka):
        return KafkaConnection((running.kafka,), embedded=True)
    if bootstrap is None and running is not None:
        bootstrap = running.kafka
    configured = _configured(bootstrap, profile, folder)
    if configured is not None:
        return configured
    raise Fault(
        "there is no Kafka to talk to: no `func run` of this project is running with one, and func.yaml has no"
        " kafka.bootstrap; start `func run`, or name a --bootstrap",
        Exit.UNAVAILABLE,
    )


def _configured(bootstrap: str | None, profile: str | None, folder: Path) -> KafkaConnection | None:
    named = KafkaConnection(tuple(part.strip() for part in bootstrap.split(","))) if bootstrap else None
    if not (folder / NAME).is_file():
        return named
    try:
        found = read_project(folder, profile=profile, env=os.environ).kafka_connection()
    except ProjectError:
        if named is None:
            raise
        return named
    return replace(found, bootstrap=named.bootstrap) if named and found else named or found
