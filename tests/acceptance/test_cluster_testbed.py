"""The cluster that other tests rely on: what runs in it behaves, and fails, as it would elsewhere."""

from __future__ import annotations

import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cluster.network import ip
from support.cluster.rest import ApiFault
from support.knative import TESTS, Cluster
from support.registry import RealRegistry
from support.servers import Unavailable
from support.small_service import container, knative_service, pod_spec, push_small_service

OTHERS = "/apis/serving.knative.dev/v1/namespaces"


@pytest.fixture(scope="module")
def image(registry: RealRegistry) -> str:
    try:
        return push_small_service(registry)
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    with cluster.namespace("bed") as name:
        yield name


def make_service(cluster: Cluster, namespace: str, service: dict[str, Any]) -> None:
    cluster.rest.post(f"{OTHERS}/{namespace}/services", service)


def make_pod(cluster: Cluster, namespace: str, name: str, spec: dict[str, Any]) -> None:
    thing = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    cluster.rest.post(f"/api/v1/namespaces/{namespace}/pods", thing)


def status_of(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    """Of the pod's first container."""
    pod = cluster.rest.get(f"/api/v1/namespaces/{namespace}/pods/{name}")
    found: list[dict[str, Any]] = pod.get("status", {}).get("containerStatuses") or [{}]
    return found[0]


def until_running(cluster: Cluster, namespace: str, name: str) -> None:
    """The server within as well: before, it takes no signal."""
    cluster.until(lambda: status_of(cluster, namespace, name).get("ready"), f"{name} is ready")
    cluster.until(lambda: "three" in logs(cluster, namespace, name), f"{name} serves")


def until_waiting(cluster: Cluster, namespace: str, name: str, *reasons: str) -> dict[str, Any]:
    def waiting() -> dict[str, Any] | None:
        found: dict[str, Any] = status_of(cluster, namespace, name).get("state", {}).get("waiting", {})
        return found if found.get("reason") in reasons else None

    found: dict[str, Any] = cluster.until(waiting, f"{name} waits because of {reasons}")
    return found


def logs(cluster: Cluster, namespace: str, name: str, query: str = "") -> str:
    return str(cluster.rest.get(f"/api/v1/namespaces/{namespace}/pods/{name}/log?container=main{query}"))


def until_ready(cluster: Cluster, namespace: str, name: str) -> None:
    def ready() -> bool:
        status = (cluster.service(namespace, name) or {}).get("status", {})
        return any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", []))

    cluster.until(ready, f"{name} is ready", 90)


def asked(cluster: Cluster, host: str, *, fetch: str = "") -> dict[str, Any]:
    """Waits while the ingress has not heard of the host. fetch: a URL that the server is to get."""

    def answer() -> dict[str, Any] | None:
        status, _, body = cluster.post(host, b"{}", fetch=fetch)
        assert status in (200, 404), (status, body)
        return json.loads(body) if status == 200 else None

    found: dict[str, Any] = cluster.until(answer, f"an answer of {host}")
    return found


def test_an_image_out_of_a_registry_runs_as_a_container(cluster: Cluster, namespace: str, image: str) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hub"}, "stringData": {"token": "s3cret"}}
    cluster.rest.post(f"/api/v1/namespaces/{namespace}/secrets", secret)
    token = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
    make_service(cluster, namespace, knative_service("small", {**container(image), "env": [token]}))
    until_ready(cluster, namespace, "small")

    seen = asked(cluster, f"small.{namespace}.{cluster.domain}")

    assert (65532, False, True) == (seen["user"], seen["root"], seen["tmp"])
    assert ("/srv", ["by", "default"], "s3cret") == (seen["folder"], seen["arguments"], seen["env"]["TOKEN"])
    assert "small-00001" == seen["env"]["K_REVISION"]
    assert asked(cluster, f"small.{namespace}.svc.cluster.local") == seen  # and from within


def test_a_service_goes_to_zero_and_the_next_request_wakes_it(cluster: Cluster, namespace: str, image: str) -> None:
    make_service(cluster, namespace, knative_service("small", container(image)))
    until_ready(cluster, namespace, "small")
    host = f"small.{namespace}.{cluster.domain}"
    first = asked(cluster, host)
    cluster.until(lambda: not cluster.pods(namespace), "no pod", 90)  # one that is leaving would still answer

    again = asked(cluster, host)

    assert first["env"]["HOSTNAME"] != again["env"]["HOSTNAME"]
    assert 1 == len(cluster.pods(namespace))


def test_a_second_revision_takes_over(cluster: Cluster, namespace: str, image: str) -> None:
    make_service(cluster, namespace, knative_service("small", container(image, {"VERSION": "1"})))
    until_ready(cluster, namespace, "small")
    host = f"small.{namespace}.{cluster.domain}"
    assert "1" == asked(cluster, host)["env"]["VERSION"]

    spec = knative_service("small", container(image, {"VERSION": "2"}))["spec"]
    cluster.rest.patch(f"{OTHERS}/{namespace}/services/small", {"spec": spec})

    cluster.until(lambda: asked(cluster, host)["env"]["VERSION"] == "2", "the second revision's answer")


def test_an_image_that_is_missing_is_told_of(cluster: Cluster, namespace: str, image: str) -> None:
    missing = re.sub("[0-9a-f]{64}", "0" * 64, image)

    make_pod(cluster, namespace, "missing", pod_spec(container(missing)))

    found = until_waiting(cluster, namespace, "missing", "ErrImagePull", "ImagePullBackOff")
    assert f'failed to pull image "{missing}": sha256:{"0" * 64}: not found' == found["message"]


def test_a_secret_that_is_missing_is_told_of(cluster: Cluster, namespace: str, image: str) -> None:
    token = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "token"}}}

    make_pod(cluster, namespace, "pod", pod_spec({**container(image), "env": [token]}))

    assert (
        'secret "absent" not found' == until_waiting(cluster, namespace, "pod", "CreateContainerConfigError")["message"]
    )


def test_a_crash_at_start_is_told_of_with_its_last_words(cluster: Cluster, namespace: str, image: str) -> None:
    crashing = container(image, {"CRASH": "no model"}, terminationMessagePolicy="FallbackToLogsOnError")

    make_pod(cluster, namespace, "crash", pod_spec(crashing))

    until_waiting(cluster, namespace, "crash", "CrashLoopBackOff")
    status = cluster.until(
        lambda: (one := status_of(cluster, namespace, "crash"))["restartCount"] > 1 and one, "a second restart"
    )
    ended = status["lastState"]["terminated"]
    assert (3, "Error", "one\ntwo\nno model\n") == (ended["exitCode"], ended["reason"], ended["message"])
    assert "one\ntwo\nno model\n" == logs(cluster, namespace, "crash", "&previous=true")


def test_logs_come_through_the_api_server(cluster: Cluster, namespace: str, image: str) -> None:
    make_pod(cluster, namespace, "pod", pod_spec(container(image)))
    until_running(cluster, namespace, "pod")

    assert "one\ntwo\nthree\n" == logs(cluster, namespace, "pod")
    assert "three\n" == logs(cluster, namespace, "pod", "&tailLines=1")
    assert re.fullmatch(r"(?m)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z three\n", _last(cluster, namespace, "pod"))
    assert "one\n" == logs(cluster, namespace, "pod", "&limitBytes=4")


def _last(cluster: Cluster, namespace: str, name: str) -> str:
    return logs(cluster, namespace, name, "&tailLines=1&timestamps=true")


def test_followed_logs_end_with_the_pod(cluster: Cluster, namespace: str, image: str) -> None:
    make_pod(cluster, namespace, "pod", pod_spec(container(image)))
    until_running(cluster, namespace, "pod")
    path = f"/api/v1/namespaces/{namespace}/pods/pod"
    lines = cluster.rest.lines(f"{path}/log?container=main&follow=true")
    assert ["one", "two", "three"] == [next(lines) for _ in range(3)]

    cluster.rest.delete(path)

    assert ["SIGTERM"] == list(lines)
    cluster.until(lambda: cluster.rest.find(path) is None, "the pod is gone")


def test_a_pod_that_does_not_go_is_killed_when_its_grace_is_over(cluster: Cluster, namespace: str, image: str) -> None:
    make_pod(cluster, namespace, "pod", pod_spec(container(image, {"STUBBORN": "1"}), terminationGracePeriodSeconds=3))
    until_running(cluster, namespace, "pod")
    path = f"/api/v1/namespaces/{namespace}/pods/pod"

    began = time.monotonic()
    cluster.rest.delete(path)
    cluster.until(lambda: "SIGTERM" in logs(cluster, namespace, "pod"), "SIGTERM")

    cluster.until(lambda: cluster.rest.find(path) is None, "the pod is gone")
    assert time.monotonic() - began >= 3


def test_a_container_that_is_killed_comes_back(cluster: Cluster, namespace: str, image: str) -> None:
    make_pod(cluster, namespace, "pod", pod_spec(container(image)))
    until_running(cluster, namespace, "pod")

    cluster.kill_pod(namespace, "pod")

    cluster.until(lambda: status_of(cluster, namespace, "pod")["restartCount"] == 1, "a restart")
    until_running(cluster, namespace, "pod")
    assert 137 == status_of(cluster, namespace, "pod")["lastState"]["terminated"]["exitCode"]


@pytest.mark.parametrize(
    ("probe", "ready"), [(["/usr/bin/python3", "-c", "open('/tmp/probe', 'x')"], True), (["/bin/absent"], False)]
)
def test_a_command_that_probes_runs_inside_of_the_container(
    cluster: Cluster, namespace: str, image: str, probe: list[str], ready: bool
) -> None:
    started = {"exec": {"command": probe}, "periodSeconds": 1, "failureThreshold": 3, "timeoutSeconds": 5}

    make_pod(cluster, namespace, "pod", pod_spec(container(image, startupProbe=started)))

    def over() -> dict[str, Any] | None:
        found = status_of(cluster, namespace, "pod")
        return found if found.get("ready") or found.get("restartCount") else None

    assert ready is cluster.until(over, "an end")["ready"]  # else it was killed, to begin again


def test_a_lent_port_of_this_machine_is_there_for_pods_as_well(
    cluster: Cluster, namespace: str, image: str, tmp_path: Path
) -> None:
    (tmp_path / "hello").write_text("from outside")
    handler = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *arguments: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: handler(*given, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    make_service(cluster, namespace, knative_service("small", container(image)))
    until_ready(cluster, namespace, "small")

    cluster.lend(server.server_port)

    url = f"http://127.0.0.1:{server.server_port}/hello"
    assert "from outside" == asked(cluster, f"small.{namespace}.{cluster.domain}", fetch=url)["fetched"]
    server.shutdown()
    server.server_close()


def test_services_are_served_while_the_api_server_is_away(cluster: Cluster, namespace: str, image: str) -> None:
    make_service(cluster, namespace, knative_service("small", container(image), min_scale="1"))
    until_ready(cluster, namespace, "small")
    host = f"small.{namespace}.{cluster.domain}"
    before = asked(cluster, host)

    cluster.stop_api_server()
    try:
        with pytest.raises(ConnectionRefusedError):
            cluster.service(namespace, "small")
        assert before == asked(cluster, host)
    finally:
        cluster.start_api_server()

    make_pod(cluster, namespace, "later", pod_spec(container(image)))
    until_running(cluster, namespace, "later")
    assert before == asked(cluster, host)


def test_the_node_has_as_many_gpus_as_it_is_told(cluster: Cluster, namespace: str, image: str) -> None:
    make_pod(cluster, namespace, "pod", pod_spec(container(image, resources={"limits": {"nvidia.com/gpu": "1"}})))

    def unscheduled() -> bool:
        pod = cluster.rest.get(f"/api/v1/namespaces/{namespace}/pods/pod")
        return any(one.get("reason") == "Unschedulable" for one in pod["status"].get("conditions", []))

    cluster.until(unscheduled, "no place for the pod")
    cluster.set_capacity("nvidia.com/gpu", 1)
    try:
        until_running(cluster, namespace, "pod")
    finally:
        cluster.set_capacity("nvidia.com/gpu", 0)


def test_an_account_has_its_rights_and_no_others(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    path = cluster.account(namespace, "reader", rules, tmp_path)
    reader = cluster.rest.with_token(json.loads(path.read_text())["users"][0]["user"]["token"])

    assert [] == reader.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    with pytest.raises(ApiFault, match="cannot list resource"):
        reader.get(f"/api/v1/namespaces/{namespace}/secrets")


def test_nothing_is_left_of_a_cluster_whose_owner_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "bed"
    command = [sys.executable, "-m", "support.knative", str(folder)]
    owner = subprocess.Popen(command, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdin is not None
    assert owner.stdout is not None
    assert b"UPON_TEST_CLUSTER" in owner.stdout.readline()
    host = json.loads((folder / "ready.json").read_text())["host"]
    assert host in ip("-4", "addr")

    owner.send_signal(signal.SIGKILL)
    owner.wait()

    cluster.until(lambda: not _mentioning(str(folder)), "all processes have ended")
    assert host not in ip("-4", "addr")
    assert not (folder / "images").exists()
    owner.stdin.close()
    owner.stdout.close()


def _mentioning(text: str) -> list[str]:
    """The processes with this in their command."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                command = (process / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            found += [command] if text in command else []
    return found
