"""Which Kafka `func run` uses: the flag's, the project's, or a development broker of its own."""

from __future__ import annotations

import getpass
import ipaddress
from contextlib import ExitStack
from dataclasses import replace

from upon import Function
from upon._triggers import KafkaTrigger
from upon_build.project import Project
from upon_runtime.spec import ServiceSpec
from upon_triggers.settings import KafkaConnection


def connection_of(project: Project, embedded: str | None, stack: ExitStack) -> KafkaConnection | None:
    """The configured Kafka, the parent's broker, or a new development broker that lives as long as the stack.

    None where the project has nothing to do with Kafka. Raises MissingExtra, and ProjectError for a secret that is
    not there.
    """
    configured = project.kafka_connection()
    if configured is not None:
        return configured
    if embedded is not None:
        return KafkaConnection((embedded,), embedded=True)
    if not needs_kafka(project):
        return None
    return KafkaConnection((start_broker(stack),), embedded=True)


def start_broker(stack: ExitStack) -> str:
    """Start a development broker; its bootstrap address. Raises MissingExtra."""
    from upon_triggers.kafka.embedded import EmbeddedBroker

    return stack.enter_context(EmbeddedBroker()).bootstrap


def needs_kafka(project: Project) -> bool:
    """Whether anything reads from or writes to a topic."""
    triggers = [trigger for one in project.functions for trigger in one.function.triggers]
    return bool(project.objects.topics) or any(
        isinstance(trigger, KafkaTrigger) or trigger.reply_to is not None for trigger in triggers
    )


def suffix_of(connection: KafkaConnection | None, group: str | None) -> str:
    """`.local.USER` for a Kafka that others may use too, unless the group is named."""
    if connection is None or group is not None or all(map(is_loopback, connection.bootstrap)):
        return ""
    return f".local.{getpass.getuser()}"


def is_loopback(bootstrap: str) -> bool:
    """Whether `host:port` is on this machine for sure; nothing is looked up."""
    host = bootstrap.rpartition(":")[0] or bootstrap
    host = host.strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def with_group(spec: ServiceSpec, group: str | None) -> ServiceSpec:
    """Every Kafka trigger in the named group; several triggers get NAME.FUNCTION, or they would share records."""
    if group is None:
        return spec
    count = sum(isinstance(t, KafkaTrigger) for f in spec.functions for t in f.function.triggers)
    return replace(
        spec,
        functions=tuple(
            replace(one, function=_regrouped(one.function, group if count == 1 else f"{group}.{one.name}"))
            for one in spec.functions
        ),
    )


def _regrouped(function: Function[..., object], group: str) -> Function[..., object]:
    triggers = tuple(
        replace(trigger, group=group) if isinstance(trigger, KafkaTrigger) else trigger for trigger in function.triggers
    )
    return Function(function.plain, triggers, function.options, function.batched)
