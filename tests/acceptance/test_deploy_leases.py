"""Schedules in Leases of a real API server, with exactly the rights that a deployment's objects give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import upon
from support.deployments import handler, wanted
from support.knative import Cluster
from upon_build.cluster.objects.triggers import trigger_objects
from upon_triggers.firing import Firing, FiringError, schedule_key
from upon_triggers.firing_lease import LeaseFirings, lease_name

NIGHTLY = upon.cron("0 3 * * *", timezone="Europe/Berlin")(handler("nightly"))
KEY = schedule_key("demo", "nightly", NIGHTLY.triggers[0])
NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)
FIRST = Firing("a", 12.0, NOON)


@dataclass
class Pod:
    """What a pod of the trigger host finds: its account's files, and where the API server is."""

    cluster: Cluster
    namespace: str
    folder: Path
    project: Path

    @property
    def lease(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/{lease_name(KEY)}"

    def deploy(self, more: str = "") -> None:
        yaml = f"deploy: {{namespace: {self.namespace}{more}}}\n"
        for thing in trigger_objects(wanted(self.project, yaml, NIGHTLY)):
            if thing["kind"] != "Deployment":
                self.cluster.rest.apply(thing, manager="upon")

    def rotate(self) -> None:
        """A token of its own, as the kubelet asks for it."""
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
        account = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/demo-triggers"
        token = self.cluster.rest.post(f"{account}/token", asked)["status"]["token"]
        (self.folder / "token").write_text(token)

    def store(self) -> LeaseFirings:
        env = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT_HTTPS": str(self.cluster.port)}
        found = LeaseFirings({"made": "here"}, folder=self.folder, env=env)
        found.open()
        return found


@pytest.fixture
def pod(cluster: Cluster, tmp_path: Path) -> Iterator[Pod]:
    account, project = tmp_path / "account", tmp_path / "project"
    account.mkdir()
    project.mkdir()
    with cluster.namespace("leases") as namespace:
        (account / "namespace").write_text(namespace)
        (account / "ca.crt").write_bytes((cluster.folder / "pki/ca.crt").read_bytes())
        found = Pod(cluster, namespace, account, project)
        found.deploy()
        found.rotate()
        yield found


def test_the_record_is_kept_and_changed_in_its_version_alone(pod: Pod) -> None:
    one, other = pod.store(), pod.store()
    assert one.read(KEY) is None
    first = one.write(KEY, FIRST, None)
    assert first is not None
    assert other.write(KEY, replace(FIRST, holder="b"), None) is None
    assert (FIRST, first) == other.read(KEY)
    taken = replace(FIRST, holder="b", renewals=1)
    second = other.write(KEY, taken, first)
    assert second not in (None, first)
    assert one.write(KEY, FIRST, first) is None
    assert (taken, second) == one.read(KEY)


def test_others_see_who_fires(pod: Pod) -> None:
    pod.store().write(KEY, FIRST, None)
    lease = pod.cluster.rest.get(pod.lease)
    assert ("a", 12) == (lease["spec"]["holderIdentity"], lease["spec"]["leaseDurationSeconds"])
    assert {"upon", "demo"} <= set(lease["metadata"]["labels"].values())
    assert "made" not in lease["metadata"]["labels"]


def test_the_next_deployment_leaves_the_record_alone(pod: Pod) -> None:
    store = pod.store()
    version = store.write(KEY, FIRST, None)
    pod.deploy()
    assert (FIRST, version) == store.read(KEY)
    pod.deploy(", labels: {team: search}")
    found = store.read(KEY)
    assert found is not None
    assert FIRST == found[0]
    assert store.write(KEY, FIRST, version) is None  # it looks again, and goes on
    assert store.write(KEY, FIRST, found[1]) is not None
    assert "search" == pod.cluster.rest.get(pod.lease)["metadata"]["labels"]["team"]


def test_no_lease_but_its_own(pod: Pod) -> None:
    store = pod.store()
    with pytest.raises(FiringError, match=r"refuses to get Leases .*: give the pod's service account get and patch"):
        store.read("demo/nightly/cron 0 4 * * *")
    pod.cluster.rest.delete(pod.lease)
    assert store.read(KEY) is None
    with pytest.raises(FiringError, match="refuses to create Leases"):
        store.write(KEY, FIRST, None)
    assert pod.cluster.rest.find(pod.lease) is None
    pod.deploy()
    assert store.write(KEY, FIRST, None) is not None


def test_a_lease_that_is_deleted_and_deployed_again_begins_anew(pod: Pod) -> None:
    store = pod.store()
    version = store.write(KEY, FIRST, None)
    pod.cluster.rest.delete(pod.lease)
    assert store.write(KEY, FIRST, version) is None
    pod.deploy()
    assert store.read(KEY) is None
    assert store.write(KEY, FIRST, version) is None
    assert store.write(KEY, FIRST, None) is not None


def test_another_token_is_taken_at_once(pod: Pod) -> None:
    store = pod.store()
    version = store.write(KEY, FIRST, None)
    (pod.folder / "token").write_text("none")
    with pytest.raises(FiringError, match="Unauthorized"):
        store.read(KEY)
    pod.rotate()
    assert (FIRST, version) == store.read(KEY)
