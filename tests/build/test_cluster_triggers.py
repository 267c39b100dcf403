"""Which objects feed a service, by what its functions ask for and by deploy.triggers; and that they follow edits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

import upon
from support.deployments import SCORE, handler, wanted
from upon import Function
from upon_build.cluster.objects.eventing import iso
from upon_build.cluster.objects.metadata import object_name
from upon_build.cluster.objects.render import in_order, objects_of
from upon_build.cluster.objects.triggers import mode_of, trigger_objects
from upon_build.cluster.objects.wanted import Wanted

KAFKA = "kafka: {bootstrap: ['kafka:9092']}\n"
ORDERS: Function[..., Any] = upon.kafka("orders")(handler("orders"))
NIGHTLY: Function[..., Any] = upon.cron("0 3 * * *", overlap="allow")(handler("nightly"))
PAID: Function[..., Any] = upon.cloudevent(type="com.example.paid", source="/shop")(handler("paid"))
EVENTING = "deploy: {triggers: eventing}\ndelivery: {deadLetter: none}\n"
DIRECT = "deploy: {triggers: direct, scale: {min: 1}}\n"


def kinds(objects: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted(str(one["kind"]) for one in objects)


def made(folder: Path, yaml: str, *functions: Function[..., Any]) -> list[dict[str, Any]]:
    return trigger_objects(wanted(folder, KAFKA + yaml, *functions))


def named(folder: Path, yaml: str, *functions: Function[..., Any]) -> dict[str, dict[str, Any]]:
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in made(folder, yaml, *functions)}


HOST = ["Deployment", "Lease", "Role", "RoleBinding", "ServiceAccount", "Trigger"]


@pytest.mark.parametrize(
    ("yaml", "mode", "expected"),
    [
        ("", "host", HOST),
        ("deploy: {triggers: host}\n", "host", HOST[:-1]),
        (EVENTING, "eventing", ["KafkaSource", "PingSource", "Trigger"]),
        (DIRECT, "direct", ["Lease", "Role", "RoleBinding", "ServiceAccount"]),
    ],
)
def test_each_way_has_its_objects(tmp_path: Path, yaml: str, mode: str, expected: list[str]) -> None:
    one = wanted(tmp_path, KAFKA + yaml, SCORE, ORDERS, NIGHTLY, PAID)
    assert (mode, expected) == (mode_of(one), kinds(trigger_objects(one)))


@pytest.mark.parametrize(
    ("functions", "mode", "expected"),
    [
        ((SCORE,), "none", []),
        ((PAID,), "none", ["Trigger"]),
        ((ORDERS,), "host", ["Deployment", "ServiceAccount"]),
        ((NIGHTLY,), "host", HOST[:-1]),
    ],
)
def test_without_a_trigger_nothing_is_made_for_it(
    tmp_path: Path, functions: tuple[Any, ...], mode: str, expected: list[str]
) -> None:
    one = wanted(tmp_path, KAFKA, *functions)
    assert (mode, expected) == (mode_of(one), kinds(trigger_objects(one)))


def test_direct_without_schedules_needs_nothing(tmp_path: Path) -> None:
    assert [] == made(tmp_path, DIRECT, ORDERS)


def test_a_trigger_that_is_removed_loses_its_object_and_the_others_keep_theirs(tmp_path: Path) -> None:
    both = named(tmp_path, EVENTING, ORDERS, NIGHTLY)
    one = named(tmp_path, EVENTING, ORDERS)
    assert {key: both[key] for key in one} == one
    assert ["PingSource"] == [key.partition("/")[0] for key in both.keys() - one.keys()]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ORDERS, upon.kafka("other")(handler("orders"))),
        (ORDERS, upon.kafka("orders", group="mine")(handler("orders"))),
        (NIGHTLY, upon.cron("0 4 * * *", overlap="allow")(handler("nightly"))),
        (NIGHTLY, upon.cron("0 3 * * *", timezone="Europe/Berlin", overlap="allow")(handler("nightly"))),
        (PAID, upon.cloudevent(type="com.example.paid")(handler("paid"))),
        (ORDERS, upon.kafka("orders")(handler("renamed"))),
    ],
)
def test_another_trigger_is_another_object(tmp_path: Path, before: Any, after: Any) -> None:
    (was,), (now,) = named(tmp_path, EVENTING, before), named(tmp_path, EVENTING, after)
    assert was != now


@pytest.mark.parametrize(
    ("yaml", "path", "value"),
    [
        ("options: {orders: {kafka: {orders: {ordering: unordered}}}}\n", ("spec", "ordering"), "unordered"),
        ("options: {orders: {kafka: {orders: {start: latest}}}}\n", ("spec", "initialOffset"), "latest"),
        ("options: {orders: {retry: 9}}\n", ("spec", "delivery", "retry"), 9),
    ],
)
def test_an_edited_trigger_changes_the_same_object(tmp_path: Path, yaml: str, path: Any, value: Any) -> None:
    ((name, was),) = named(tmp_path, EVENTING, ORDERS).items()
    now = named(tmp_path, EVENTING + yaml, ORDERS)[name]
    assert was != now
    for key in path:
        now = now[key]
    assert value == now


def test_a_schedule_that_is_edited_has_another_lease(tmp_path: Path) -> None:
    def lease(function: Function[..., Any]) -> tuple[str, str]:
        (found,) = [one for one in made(tmp_path, "", function) if one["kind"] == "Lease"]
        return found["metadata"]["name"], found["metadata"]["annotations"]["dev.upon/schedule"]

    was, now = lease(NIGHTLY), lease(upon.cron("0 4 * * *")(handler("nightly")))
    assert ("demo/nightly/cron 0 3 * * *", "demo/nightly/cron 0 4 * * *") == (was[1], now[1])
    assert was[0] != now[0]


def test_names_do_not_depend_on_other_functions_and_fit(tmp_path: Path) -> None:
    one = wanted(tmp_path, KAFKA, ORDERS)
    name = object_name(one, "A_Function", upon.kafka("orders")(handler("f")).triggers[0])
    assert "demo-a-function-" == name[:-8]
    long = object_name(one, "f" * 200, ORDERS.triggers[0])
    assert 63 == len(long)


def test_a_trigger_filters_and_sends_by_name(tmp_path: Path) -> None:
    (found,) = made(tmp_path, "delivery: {retry: 2, backoffPolicy: linear, backoffDelay: PT1M}\n", PAID)
    assert ("eventing.knative.dev/v1", "default") == (found["apiVersion"], found["metadata"]["namespace"])
    expected = {
        "broker": "default",
        "filter": {"attributes": {"source": "/shop", "type": "com.example.paid"}},
        "subscriber": {
            "ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "demo"},
            "uri": "/functions/paid",
        },
        "delivery": {"retry": 2, "backoffPolicy": "linear", "backoffDelay": "PT60S"},
    }
    assert expected == found["spec"]


def test_broker_and_dead_letters_are_settings(tmp_path: Path) -> None:
    any_event = upon.cloudevent()(handler("every"))
    (found,) = made(tmp_path, "deploy: {broker: events, deadLetterSink: 'http://dead.ml'}\n", any_event)
    assert ("events", {"uri": "http://dead.ml"}) == (
        found["spec"]["broker"],
        found["spec"]["delivery"]["deadLetterSink"],
    )
    assert "filter" not in found["spec"]


def test_a_kafka_source_reads_as_the_host_would(tmp_path: Path) -> None:
    (found,) = made(tmp_path, EVENTING, upon.kafka("orders", start="latest")(handler("orders")))
    spec = found["spec"]
    assert (["kafka:9092"], ["orders"], "demo.orders") == (
        spec["bootstrapServers"],
        spec["topics"],
        spec["consumerGroup"],
    )
    assert ("latest", "ordered", "/functions/orders") == (spec["initialOffset"], spec["ordering"], spec["sink"]["uri"])
    assert "net" not in spec


def test_a_ping_source_has_the_schedule(tmp_path: Path) -> None:
    (found,) = made(tmp_path, EVENTING, upon.cron("0 3 * * *", timezone="Europe/Berlin")(handler("nightly")))
    assert ("0 3 * * *", "Europe/Berlin") == (found["spec"]["schedule"], found["spec"]["timezone"])


def test_tls_and_sasl_come_from_secrets(tmp_path: Path) -> None:
    yaml = (
        "kafka: {bootstrap: ['kafka:9093'], tls: {ca: /etc/kafka/ca.crt, certificate: /app/other.pem}, sasl: {username:"
        " '{{ secret:kafka:user }}', password: '{{ secret:kafka:pw }}'}}\nrun: {volumes: [{path: /etc/kafka, secret:"
        " kafka-ca}]}\n"
    )
    (found,) = trigger_objects(wanted(tmp_path, yaml + EVENTING, ORDERS))

    def ref(name: str, key: str) -> dict[str, Any]:
        return {"secretKeyRef": {"name": name, "key": key}}

    assert {"enable": True, "caCert": ref("kafka-ca", "ca.crt")} == found["spec"]["net"]["tls"]
    sasl = {"user": ref("kafka", "user"), "password": ref("kafka", "pw"), "type": ref("kafka", "sasl.mechanism")}
    assert {"enable": True, **sasl} == found["spec"]["net"]["sasl"]


def test_direct_pods_share_their_schedules(tmp_path: Path) -> None:
    one = wanted(tmp_path, DIRECT, NIGHTLY)
    service = service_of(one)
    assert "demo-triggers" == service["serviceAccountName"]
    assert "automountServiceAccountToken" not in service
    assert {"name": "UPON_CRON_STORE", "value": "lease"} in service["containers"][0]["env"]


def test_direct_pods_keep_the_account_that_func_yaml_names(tmp_path: Path) -> None:
    one = wanted(tmp_path, "deploy: {triggers: direct, scale: {min: 1}, serviceAccountName: mine}\n", NIGHTLY)
    objects = trigger_objects(one)
    assert ["Lease", "Role", "RoleBinding"] == kinds(objects)
    (binding,) = [found for found in objects if found["kind"] == "RoleBinding"]
    assert "mine" == binding["subjects"][0]["name"] == service_of(one)["serviceAccountName"]


def test_only_direct_pods_do(tmp_path: Path) -> None:
    service = service_of(wanted(tmp_path, "", NIGHTLY))
    assert "serviceAccountName" not in service
    assert [] == [env for env in service["containers"][0]["env"] if env["name"] == "UPON_CRON_STORE"]


def service_of(one: Wanted) -> dict[str, Any]:
    (found,) = [found for found in objects_of(one) if str(found["apiVersion"]).startswith("serving")]
    return dict(found["spec"]["template"]["spec"])


def test_what_is_needed_comes_before_who_needs_it(tmp_path: Path) -> None:
    found = in_order(made(tmp_path, "", ORDERS, NIGHTLY, PAID))
    assert ["ServiceAccount", "Role", "RoleBinding", "Lease", "Deployment", "Trigger"] == [one["kind"] for one in found]


def test_every_object_is_known_as_the_projects(tmp_path: Path) -> None:
    for one in made(tmp_path, "deploy: {labels: {team: search}}\n", ORDERS, NIGHTLY, PAID):
        labels = one["metadata"]["labels"]
        assert ("upon", "demo", "search") == (
            labels["app.kubernetes.io/managed-by"],
            labels["app.kubernetes.io/name"],
            labels["team"],
        )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "PT0.2S"), (0, "PT0S"), (3600, "PT3600S"), (0.01, "PT0.1S"), (1.25, "PT1.3S")]
)
def test_durations_as_knative_reads_them(seconds: float, text: str) -> None:
    assert text == iso(seconds)
