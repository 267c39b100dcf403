"""A deployed trigger host: a record wakes the service from zero, and of two hosts one fires each tick."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from support.builds import Builder, write_small
from support.kafka import RealKafka
from support.knative import Cluster
from upon_build.cluster.checks import check_deploy
from upon_build.cluster.objects.labels import selector_of
from upon_build.cluster.objects.render import objects_of
from upon_build.cluster.objects.wanted import Wanted, wanted_of
from upon_build.project.making import make_manifest

TIMEOUT = 480  # seconds: it may be the first build, and the ticks of a few minutes are waited for
PORTS = {"triggers": 8081, "function": 8080}
APP = """
import upon

@upon.kafka("{topic}", reply_to="{topic}.scored")
def score(event: upon.Event) -> dict:
    return {{"scored": event.data["n"]}}

@upon.cron("* * * * *", reply_to="{topic}.ticks")
def tick(event: upon.Event) -> dict:
    return {{"at": event.time.isoformat(), "id": event.id}}
"""
YAML = """
deploy: {{namespace: {namespace}, {more}}}
run: {{drainDelay: 0.1, startTimeout: 30}}
kafka: {{bootstrap: ["{bootstrap}"]}}
"""


@dataclass
class Deployment:
    """What was applied, and where."""

    cluster: Cluster
    kafka: RealKafka
    topic: str
    wanted: Wanted

    @property
    def namespace(self) -> str:
        return self.wanted.namespace

    def pods(self, component: str) -> list[dict[str, Any]]:
        label = "app.kubernetes.io/component"
        return [one for one in self.cluster.pods(self.namespace) if one["metadata"]["labels"].get(label) == component]

    def hosts_are_ready(self) -> bool:
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/small-triggers"
        return bool(self.cluster.rest.get(path)["status"].get("readyReplicas") == 2)

    def is_ready(self) -> bool:
        service = self.cluster.service(self.namespace, "small") or {}
        conditions = service.get("status", {}).get("conditions", [])
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def leaders(self, component: str) -> list[str]:
        """The pods that say that they fire; one that does not answer fires nothing."""
        found = []
        for pod in self.pods(component):
            with suppress(OSError):
                sources = self._health(pod["status"].get("podIP", ""), PORTS[component])["sources"].values()
                if any(source.get("leader") for source in sources):
                    found.append(str(pod["metadata"]["name"]))
        return found

    def _health(self, address: str, port: int) -> Any:
        connection = http.client.HTTPConnection(address, port, timeout=5)
        try:
            connection.request("GET", "/health/readiness")
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def is_held(self) -> bool:
        """Whether the one schedule's Lease names a holder."""
        query = urlencode({"labelSelector": selector_of("small")})
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases?{query}"
        (lease,) = self.cluster.rest.get(path)["items"]
        return bool(lease.get("spec", {}).get("holderIdentity"))

    def send(self, value: Any) -> None:
        from kafka import KafkaProducer

        producer = KafkaProducer(bootstrap_servers=self.kafka.bootstrap)
        producer.send(self.topic, json.dumps(value).encode()).get(30)
        producer.close()

    @contextmanager
    def replies(self, name: str) -> Iterator[Replies]:
        from kafka import KafkaConsumer

        consumer = KafkaConsumer(
            f"{self.topic}.{name}", bootstrap_servers=self.kafka.bootstrap, auto_offset_reset="earliest"
        )
        try:
            yield Replies(consumer)
        finally:
            consumer.close()


class Replies:
    """What was written to a topic so far."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self.found: list[Any] = []

    def look(self) -> list[Any]:
        for records in self._consumer.poll(timeout_ms=200).values():
            self.found += [json.loads(record.value) for record in records]
        return self.found

    def until(self, count: int, timeout: float) -> list[Any]:
        deadline = time.monotonic() + timeout
        while len(self.look()) < count:
            assert time.monotonic() < deadline, f"{self.found!r} within {timeout:g} s"
        return self.found


@dataclass
class Deployer:
    """Applies a project's objects, in a namespace of its own."""

    cluster: Cluster
    builder: Builder
    kafka: RealKafka
    folder: Path

    @contextmanager
    def deployed(self, deploy: str) -> Iterator[Deployment]:
        """deploy: more settings of that name."""
        topic = f"orders-{uuid.uuid4().hex[:8]}"
        self.kafka.create_topics(topic, f"{topic}.scored", f"{topic}.ticks")
        with self.cluster.namespace("triggers") as namespace:
            more = YAML.format(namespace=namespace, bootstrap=self.kafka.bootstrap, more=deploy)
            folder = write_small(self.folder / topic, app=APP.format(topic=topic), more=more)
            self.builder.lock(folder)
            built = self.builder.build(folder, "deploy/triggers")
            image = f"{self.builder.registry.repository('deploy/triggers')}@{built.digest}"
            made = wanted_of(make_manifest(folder, "prod").manifest, image, folder, profile=None, env={})
            assert [] == check_deploy(made)
            for thing in objects_of(made):
                self.cluster.rest.apply(thing, manager="upon")
            found = Deployment(self.cluster, self.kafka, topic, made)
            self.cluster.until(found.is_ready, "the service is ready", 120)
            yield found


@pytest.fixture
def deployer(cluster: Cluster, builder: Builder, kafka: RealKafka, tmp_path: Path) -> Deployer:
    assert kafka.port is not None
    cluster.lend(kafka.port)
    return Deployer(cluster, builder, kafka, tmp_path)


@pytest.mark.timeout(TIMEOUT)
def test_records_wake_it_from_zero_and_two_hosts_fire_each_tick_once(deployer: Deployer) -> None:
    with deployer.deployed("timeoutSeconds: 30, triggerHost: {replicas: 2}") as found:
        found.cluster.until(found.hosts_are_ready, "both hosts are ready", 60)
        with found.replies("scored") as scored, found.replies("ticks") as ticks:
            found.cluster.until(lambda: not found.pods("function"), "scaled to zero", 90)
            found.send({"n": 7})
            assert [{"scored": 7}] == scored.until(1, 60)
            assert found.pods("function")
            fires_once_though_its_host_goes(found, ticks)
            assert [{"scored": 7}] == scored.look()


def fires_once_though_its_host_goes(found: Deployment, ticks: Replies) -> None:
    ticks.until(1, 90)
    (leader,) = found.leaders("triggers")
    assert found.is_held()
    found.cluster.rest.delete(f"/api/v1/namespaces/{found.namespace}/pods/{leader}")
    found.cluster.until(lambda: set(found.leaders("triggers")) - {leader}, "another host fires", 60)
    ticks.until(len(ticks.look()) + 2, 150)
    times = [tick["at"] for tick in ticks.found]
    assert sorted(set(times)) == times
    assert len(times) == len({tick["id"] for tick in ticks.found})


@pytest.mark.timeout(TIMEOUT)
def test_direct_pods_read_kafka_and_share_their_schedules(deployer: Deployer) -> None:
    with deployer.deployed("timeoutSeconds: 60, triggers: direct, scale: {min: 2, initial: 2}") as found:
        assert (2, []) == (len(found.pods("function")), found.pods("triggers"))
        with found.replies("scored") as scored:
            found.send({"n": 8})
            assert [{"scored": 8}] == scored.until(1, 60)
        found.cluster.until(lambda: found.leaders("function"), "one of the pods fires", 30)
        assert found.is_held()
        assert 1 == len(found.leaders("function"))
