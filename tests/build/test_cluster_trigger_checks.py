"""What each way of feeding a service can't do is told before anything is deployed, with its line and a remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import upon
from support.deployments import SCORE, handler, wanted
from upon import Function
from upon_build.cluster.checks import check_deploy
from upon_build.cluster.objects.triggers import check_triggers

KAFKA = "kafka: {bootstrap: ['kafka:9092']}\n"
ORDERS: Function[..., Any] = upon.kafka("orders")(handler("orders"))
TICK: Function[..., Any] = upon.cron("0 3 * * *", overlap="allow")(handler("tick"))
EVENTING = "deploy: {triggers: eventing}\n"
SAFE = "delivery: {deadLetter: none}\n"
SASL = (
    "kafka: {bootstrap: ['kafka:9093'], sasl: {username: '{{ secret:kafka:user }}', password: '{{ secret:kafka:pw }}'}}"
)


def batch() -> Function[..., Any]:
    def orders(events: list[upon.Event]) -> None: ...

    return upon.kafka("orders")(orders)


def told(folder: Path, yaml: str, *functions: Function[..., Any]) -> list[str]:
    return [f"{one.severity} {one}" for one in check_triggers(wanted(folder, yaml, *functions))]


def errors(folder: Path, yaml: str, *functions: Function[..., Any]) -> list[str]:
    return [line for line in told(folder, yaml, *functions) if line.startswith("error")]


@pytest.mark.parametrize("mode", ["auto", "host", "direct", "eventing"])
def test_a_plain_project_has_no_problem(tmp_path: Path, mode: str) -> None:
    yaml = f"deploy: {{triggers: {mode}, scale: {{min: 1}}}}\n"
    assert [] == told(tmp_path, KAFKA + SAFE + yaml, SCORE, ORDERS)


def test_they_are_among_those_of_a_deployment(tmp_path: Path) -> None:
    one = wanted(tmp_path, KAFKA + EVENTING, ORDERS)
    assert set(check_triggers(one)) <= set(check_deploy(one))
    assert [] != check_triggers(one)


@pytest.mark.parametrize(
    ("function", "loss"),
    [
        (
            upon.kafka("orders", reply_to="done")(handler("orders")),
            "replies to 'done': KafkaSource throws replies away",
        ),
        (
            upon.kafka("orders", ordering="key")(handler("orders")),
            "is ordered by key: KafkaSource knows partitions only",
        ),
        (upon.kafka("orders", value="text")(handler("orders")), "reads values as text: KafkaSource does not pass that"),
        (batch(), "takes batches: KafkaSource sends one event at a time"),
        (upon.batched(max_size=9)(batch()), "takes batches: KafkaSource sends one event at a time"),
    ],
)
def test_what_kafka_source_would_lose(tmp_path: Path, function: Function[..., Any], loss: str) -> None:
    (line,) = errors(tmp_path, KAFKA + SAFE + EVENTING, function)
    assert line.startswith(f"error func.yaml:5: deploy.triggers is eventing, and orders (kafka orders) {loss}")
    assert line.endswith(": use deploy.triggers: host")


@pytest.mark.parametrize(
    ("more", "loss"),
    [
        ({"overlap": "forbid"}, "has overlap 'forbid'"),
        ({"overlap": "replace"}, "has overlap 'replace'"),
        ({"catch_up": 2}, "has catch_up 2: PingSource forgets what it missed"),
        ({"reply_to": "done"}, "replies to 'done': PingSource throws replies away"),
        ({"jitter": 3.0}, "has jitter 3: PingSource has one of its own"),
    ],
)
def test_what_ping_source_would_lose(tmp_path: Path, more: dict[str, Any], loss: str) -> None:
    function = upon.cron("0 3 * * *", **{"overlap": "allow", **more})(handler("tick"))
    (line,) = errors(tmp_path, KAFKA + EVENTING, function)
    assert f"tick (cron 0 3 * * *) {loss}" in line


@pytest.mark.parametrize(
    ("schedule", "understood"),
    [
        ("*/5 * * * *", True),
        ("0 3 1 jan *", True),
        ("0 0 * * SUN-SAT", True),
        ("1,2,10-20/5 * * * MON,WED", True),
        ("@daily", True),
        ("@DAILY", False),
        ("0 0 * * 7", False),
        ("0 0 * * 5-7", False),
        ("0 0 L * *", False),
        ("0 0 * * MON#1", False),
        ("0 0 */2 * MON", False),
    ],
)
def test_schedules_that_ping_source_understands_otherwise(tmp_path: Path, schedule: str, understood: bool) -> None:
    found = errors(tmp_path, EVENTING, upon.cron(schedule, overlap="allow")(handler("tick")))
    assert ([] if understood else [True]) == ["does not understand it, or otherwise" in line for line in found]


def test_what_ping_source_may_drop_is_said(tmp_path: Path) -> None:
    first, second = told(
        tmp_path, EVENTING, upon.cron("0 3 * * *", timezone="Asia/Tokyo", overlap="allow")(handler("t"))
    )
    assert first.startswith("warning func.yaml:3: ")
    assert "PingSource tries a tick of t for two seconds and drops it then" in first
    assert "drops a tick of t at a time that the clock jumps over" in second


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("", "error func.yaml: deploy.triggers is eventing: KafkaSource has no dead-letter topic and drops what fails"),
        (
            "delivery: {deadLetter: {topic: dead}}\n",
            "error func.yaml:5: deploy.triggers is eventing: KafkaSource has no",
        ),
        (
            SAFE + "delivery.guarantee",
            "error func.yaml:5: deploy.triggers is eventing, and delivery.guarantee is exactly",
        ),
    ],
)
def test_guarantees_that_kafka_source_can_not_keep(tmp_path: Path, yaml: str, message: str) -> None:
    if yaml.endswith("guarantee"):
        yaml = "delivery: {deadLetter: none, guarantee: exactly-once}\n"
    (line,) = errors(tmp_path, KAFKA + EVENTING + yaml, ORDERS)
    assert line.startswith(message)


def test_a_sink_for_dead_letters_takes_the_place_of_the_topic_that_nobody_named(tmp_path: Path) -> None:
    deploy = "deploy: {triggers: eventing, deadLetterSink: 'http://failed.ml'}\n"
    assert [] == errors(tmp_path, KAFKA + deploy, ORDERS)
    assert [] != errors(tmp_path, KAFKA + deploy + "delivery: {deadLetter: {topic: dead}}\n", ORDERS)


def test_kafka_source_reads_access_from_secrets(tmp_path: Path) -> None:
    assert [] == errors(tmp_path, f"{SASL}\n{EVENTING}{SAFE}", ORDERS)
    plain = SASL.replace("{{ secret:kafka:user }}", "me").replace("{{ secret:kafka:pw }}", "{{ configMap:kafka:pw }}")
    found = errors(tmp_path, f"{plain}\n{EVENTING}{SAFE}", ORDERS)
    names = [line.partition(", and ")[2].partition(" is no reference to a Secret")[0] for line in found]
    assert ["kafka.sasl.username", "kafka.sasl.password"] == names


def test_the_key_that_the_mechanism_must_have_is_named(tmp_path: Path) -> None:
    (line,) = told(tmp_path, f"{SASL}\n{EVENTING}{SAFE}", ORDERS)
    assert line.startswith("warning ")
    assert "from the key 'sasl.mechanism' of 'kafka': see that it is there, with the value SCRAM-SHA-512" in line


@pytest.mark.parametrize(
    ("tls", "message"),
    [
        ("{ca: certs/ca.crt}", "kafka.tls.ca is the file 'certs/ca.crt': KafkaSource reads it from a Secret"),
        ("{verify: false}", "kafka.tls.verify is false, which KafkaSource does not know"),
    ],
)
def test_tls_that_kafka_source_can_not_have(tmp_path: Path, tls: str, message: str) -> None:
    yaml = f"kafka: {{bootstrap: ['kafka:9093'], tls: {tls}}}\n"
    (line,) = errors(tmp_path, yaml + EVENTING + SAFE, ORDERS)
    assert message in line


def test_direct_needs_a_pod_and_the_time_to_hand_over(tmp_path: Path) -> None:
    yaml = KAFKA + "deploy: {triggers: direct, timeoutSeconds: 39}\n"
    pod, time = errors(tmp_path, yaml, ORDERS)
    assert "deploy.scale.min is 0" in pod
    assert time.startswith("error func.yaml:4: deploy.triggers is direct and deploy.timeoutSeconds is 39")
    assert "set it to 40 at least" in time
    assert [] == errors(tmp_path, KAFKA + "deploy: {triggers: direct, timeoutSeconds: 40, scale: {min: 1}}\n", ORDERS)


def test_the_rules_of_direct_are_for_triggers(tmp_path: Path) -> None:
    assert [] == told(tmp_path, "deploy: {triggers: direct}\n", SCORE)


@pytest.mark.parametrize("mode", ["auto", "host"])
def test_exactly_once_is_nothing_for_the_host(tmp_path: Path, mode: str) -> None:
    yaml = f"{KAFKA}deploy: {{triggers: {mode}}}\ndelivery: {{guarantee: exactly-once}}\n"
    (line,) = told(tmp_path, yaml, ORDERS)
    assert line.startswith("error func.yaml:5: delivery.guarantee is exactly-once, which a trigger host can't keep for")
    assert [] == told(tmp_path, yaml, TICK)


@pytest.mark.parametrize(
    ("deploy", "fine"),
    [
        ("{triggerHost: {replicas: 1}}", True),
        ("{triggerHost: {replicas: 2}}", False),
        ("{triggers: direct, scale: {min: 1, max: 1}}", True),
        ("{triggers: direct, scale: {min: 1, max: 2}}", False),
        ("{triggers: direct, scale: {min: 1}}", False),
    ],
)
def test_one_static_name_is_for_one_replica(tmp_path: Path, deploy: str, fine: bool) -> None:
    yaml = f"kafka: {{bootstrap: ['kafka:9092'], groupInstanceId: only}}\ndeploy: {deploy}\n"
    found = errors(tmp_path, yaml, ORDERS)
    expected = "error func.yaml:3: kafka.groupInstanceId is 'only' in every replica"
    assert ([] if fine else [True]) == [line.startswith(expected) for line in found]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (ORDERS, "orders reads the topic 'orders', and no kafka.bootstrap says where Kafka is"),
        (upon.cron("0 3 * * *", reply_to="done")(handler("tick")), "tick (cron 0 3 * * *) replies to the topic 'done'"),
    ],
)
def test_kafka_has_to_be_somewhere(tmp_path: Path, function: Function[..., Any], message: str) -> None:
    (line,) = told(tmp_path, "", function)
    assert message in line
    assert line.endswith("set it in the profile 'prod'")


def test_a_subscription_to_everything_gets_its_own_replies(tmp_path: Path) -> None:
    every = upon.cloudevent()(handler("every"))
    (line,) = told(tmp_path, "deploy: {broker: events}\n", every)
    assert line.startswith("warning ")
    assert "every takes every event of the broker 'events': its own replies come back to it" in line
    assert [] == told(tmp_path, "deploy: {triggers: host}\n", every)
