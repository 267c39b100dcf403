"""Knative Eventing's objects against its own resource definitions: no field that they do not declare, no other type.

No controller of Eventing runs in these tests, and KafkaSource's definition is in a repository that can't be fetched:
of a KafkaSource the parts are checked that it shares with the others, delivery and sink.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import upon
from support.cluster.binaries import eventing_module
from support.deployments import handler, wanted
from support.servers import Unavailable
from upon_build.cluster.objects.triggers import trigger_objects

YAML_TEXT = (
    "kafka: {bootstrap: ['kafka:9092']}\n"
    "deploy: {triggers: eventing, broker: events, deadLetterSink: 'http://failed.ml', labels: {team: search}}\n"
    "delivery: {retry: 3, backoffPolicy: linear, backoffDelay: PT1.5S}\n"
)
TYPES: dict[str, type] = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    """The schema of `spec` by kind, of the version that is in use."""
    try:
        folder = eventing_module() / "config/core/resources"
    except Unavailable as error:
        pytest.skip(str(error))
    found = {}
    for name in ("trigger", "pingsource", "broker"):
        definition = YAML(typ="safe").load(folder / f"{name}.yaml")
        (version,) = [one for one in definition["spec"]["versions"] if one["name"] == "v1"]
        assert version["served"]
        kind = definition["spec"]["names"]["kind"]
        found[kind] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        found[f"{kind} group"] = definition["spec"]["group"]
    return found


@pytest.fixture
def objects(tmp_path: Path) -> dict[str, dict[str, Any]]:
    functions = (
        upon.kafka("orders")(handler("orders")),
        upon.cron("0 3 * * *", timezone="Europe/Berlin", overlap="allow")(handler("tick")),
        upon.cloudevent(type="com.example.paid", source="/shop")(handler("paid")),
    )
    return {str(one["kind"]): one for one in trigger_objects(wanted(tmp_path, YAML_TEXT, *functions))}


def faults(schema: dict[str, Any], value: Any, path: str = "spec") -> Iterator[str]:
    """Unknown fields too, which the API server would drop in silence."""
    wanted_type = TYPES[schema["type"]]
    if not isinstance(value, wanted_type) or (wanted_type is int and isinstance(value, bool)):
        yield f"{path} is {value!r}, not {schema['type']}"
    elif isinstance(value, dict):
        known, free = schema.get("properties"), schema.get("additionalProperties")
        for key, part in value.items():
            if known is not None and key in known:
                yield from faults(known[key], part, f"{path}.{key}")
            elif isinstance(free, dict):
                yield from faults(free, part, f"{path}.{key}")
            elif known is not None or not schema.get("x-kubernetes-preserve-unknown-fields"):
                yield f"{path}.{key} is not known"
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from faults(schema["items"], part, f"{path}[{index}]")


@pytest.mark.parametrize("kind", ["Trigger", "PingSource"])
def test_each_object_is_one_of_its_definition(schemas: Any, objects: dict[str, dict[str, Any]], kind: str) -> None:
    assert [] == list(faults(schemas[kind], objects[kind]["spec"]))
    assert f"{schemas[f'{kind} group']}/v1" == objects[kind]["apiVersion"]


def test_of_a_kafka_source_what_others_have_too(schemas: Any, objects: dict[str, dict[str, Any]]) -> None:
    spec = objects["KafkaSource"]["spec"]
    assert [] == list(faults(schemas["PingSource"]["properties"]["sink"], spec["sink"]))
    assert [] == list(faults(schemas["Broker"]["properties"]["delivery"], spec["delivery"]))


def test_the_check_finds_what_is_wrong(schemas: Any, objects: dict[str, dict[str, Any]]) -> None:
    spec = {**objects["Trigger"]["spec"], "brokr": "x", "broker": 1}
    assert {"spec.brokr is not known", "spec.broker is 1, not string"} == set(faults(schemas["Trigger"], spec))
