"""The trigger host's Deployment: what it runs, with which rights, how much at once, and that it loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import upon
from support.deployments import IMAGE, handler, wanted
from upon import Function
from upon_build.cli import triggers as cli
from upon_build.cluster.objects.host import attempt_timeout, host_objects, posts_at_once
from upon_build.cluster.objects.wanted import Wanted
from upon_triggers.firing_lease import LOOK, lease_name

KAFKA = "kafka: {bootstrap: ['kafka:9092']}\n"
ORDERS: Function[..., Any] = upon.kafka("orders")(handler("orders"))
NIGHTLY: Function[..., Any] = upon.cron("0 3 * * *")(handler("nightly"))
HOURLY: Function[..., Any] = upon.cron("0 * * * *")(handler("hourly"))


def one_of(kind: str, one: Wanted) -> dict[str, Any]:
    (found,) = [found for found in host_objects(one) if found["kind"] == kind]
    return found


def pod_of(one: Wanted) -> dict[str, Any]:
    return dict(one_of("Deployment", one)["spec"]["template"]["spec"])


def container_of(one: Wanted) -> dict[str, Any]:
    (found,) = pod_of(one)["containers"]
    return dict(found)


def test_it_runs_the_image_from_its_manifest(tmp_path: Path) -> None:
    container = container_of(wanted(tmp_path, KAFKA + "deploy: {namespace: ml, timeoutSeconds: 100}\n", ORDERS))
    assert IMAGE == container["image"]
    assert ["/opt/venv/bin/func", "triggers", "run", "/app"] == container["command"]
    said = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
    assert {
        "--manifest": "/opt/upon/manifest.json",
        "--sink": "http://demo.ml.svc.cluster.local",
        "--host": "0.0.0.0",
        "--port": "8081",
        "--concurrency": "512",
        "--timeout": "220",
        "--output": "json",
    } == said


def test_its_command_line_is_one_that_func_takes(tmp_path: Path) -> None:
    container = container_of(wanted(tmp_path, KAFKA, ORDERS))
    arguments = [*container["command"][2:], *container["args"]]
    arguments[arguments.index("/app")] = str(tmp_path)  # those of the image are not there
    arguments[arguments.index("--manifest") + 1] = __file__
    context = cli.run.make_context("run", arguments[1:])
    assert ("http://demo.default.svc.cluster.local", 180.0) == (context.params["sink"], context.params["timeout"])
    assert 0 == CliRunner().invoke(cli.triggers, ["run", "--help"]).exit_code


def test_its_rights_are_its_own_leases_and_nothing_more(tmp_path: Path) -> None:
    one = wanted(tmp_path, "", NIGHTLY, HOURLY)
    leases = {found["metadata"]["name"] for found in host_objects(one) if found["kind"] == "Lease"}
    assert {lease_name("demo/nightly/cron 0 3 * * *"), lease_name("demo/hourly/cron 0 * * * *")} == leases
    (rule,) = one_of("Role", one)["rules"]
    assert (["coordination.k8s.io"], ["leases"], ["get", "patch"]) == (
        rule["apiGroups"],
        rule["resources"],
        rule["verbs"],
    )
    assert sorted({*leases, lease_name(LOOK)}) == rule["resourceNames"]
    (subject,) = one_of("RoleBinding", one)["subjects"]
    account = one_of("ServiceAccount", one)["metadata"]
    assert (account["name"], account["namespace"]) == (subject["name"], subject["namespace"])
    assert account["name"] == pod_of(one)["serviceAccountName"]
    assert {"name": "UPON_CRON_STORE", "value": "lease"} in container_of(one)["env"]


def test_without_schedules_it_has_no_rights_and_no_token(tmp_path: Path) -> None:
    one = wanted(tmp_path, KAFKA, ORDERS)
    assert ["ServiceAccount", "Deployment"] == [found["kind"] for found in host_objects(one)]
    assert pod_of(one)["automountServiceAccountToken"] is False
    assert ["UPON_CONFIG"] == [env["name"] for env in container_of(one)["env"]]


def test_a_lease_is_made_without_what_pods_write(tmp_path: Path) -> None:
    lease = one_of("Lease", wanted(tmp_path, "", NIGHTLY))
    assert "spec" not in lease
    assert {"dev.upon/schedule": "demo/nightly/cron 0 3 * * *"} == lease["metadata"]["annotations"]


def test_of_the_secrets_it_gets_kafkas(tmp_path: Path) -> None:
    yaml = (
        "kafka: {bootstrap: ['kafka:9092'], sasl: {username: me, password: '{{ secret:kafka:pw }}'}}\n"
        "run: {envs: [{name: TOKEN, value: '{{ secret:hub:token }}'}, {name: URL, value: 'x-{{ secret:hub:key }}'}]}\n"
        "idempotency: {store: redis, url: '{{ secret:redis:url }}'}\n"
    )
    env = {one["name"]: one for one in container_of(wanted(tmp_path, yaml, ORDERS))["env"]}
    assert {"KAFKA_PW", "UPON_CONFIG"} == set(env)
    assert {"name": "kafka", "key": "pw"} == env["KAFKA_PW"]["valueFrom"]["secretKeyRef"]


def test_of_the_volumes_it_gets_those_with_kafkas_certificates(tmp_path: Path) -> None:
    yaml = (
        "kafka: {bootstrap: ['kafka:9093'], tls: {ca: ../etc/kafka/ca.crt}}\n"
        "run: {volumes: [{path: /etc/kafka, secret: ca}, {path: /etc/kafka-more, secret: other},"
        " {path: /data, persistentVolumeClaim: {claimName: data}}]}\n"
    )
    pod = pod_of(wanted(tmp_path, yaml, ORDERS))
    assert ["/etc/kafka", "/tmp"] == [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
    assert [{"secretName": "ca"}, None] == [volume.get("secret") for volume in pod["volumes"]]


def test_no_gpu_no_node_selector_small_requests(tmp_path: Path) -> None:
    yaml = "deploy: {gpu: {count: 1, type: x}, nodeSelector: {a: b}, resources: {limits: {memory: 64Gi}}}\n"
    pod = pod_of(wanted(tmp_path, KAFKA + yaml, ORDERS))
    assert "nodeSelector" not in pod
    resources = {"limits": {"memory": "512Mi"}, "requests": {"cpu": "50m", "memory": "128Mi"}}
    assert resources == pod["containers"][0]["resources"]


def test_it_is_as_confined_as_the_service(tmp_path: Path) -> None:
    security = container_of(wanted(tmp_path, KAFKA, ORDERS))["securityContext"]
    assert (True, True, False) == tuple(
        security[key] for key in ("runAsNonRoot", "readOnlyRootFilesystem", "allowPrivilegeEscalation")
    )
    assert {"drop": ["ALL"]} == security["capabilities"]


def test_it_may_be_pulled_with_the_services_secrets(tmp_path: Path) -> None:
    pod = pod_of(wanted(tmp_path, KAFKA + "deploy: {imagePullSecrets: [registry, registry]}\n", ORDERS))
    assert [{"name": "registry"}] == pod["imagePullSecrets"]  # one twice would be refused


def test_it_has_the_time_to_finish(tmp_path: Path) -> None:
    one = wanted(tmp_path, KAFKA + "deploy: {timeoutSeconds: 90}\nrun: {startTimeout: 30}\n", ORDERS)
    assert 105 == pod_of(one)["terminationGracePeriodSeconds"]
    assert 120.0 == attempt_timeout(one)


def test_the_next_one_is_there_before_the_last_one_goes(tmp_path: Path) -> None:
    strategy = one_of("Deployment", wanted(tmp_path, KAFKA, ORDERS))["spec"]["strategy"]
    assert {"maxSurge": 1, "maxUnavailable": 0} == strategy["rollingUpdate"]


def test_two_members_of_one_static_name_are_never_there_together(tmp_path: Path) -> None:
    yaml = "kafka: {bootstrap: ['kafka:9092'], groupInstanceId: only}\n"
    assert {"type": "Recreate"} == one_of("Deployment", wanted(tmp_path, yaml, ORDERS))["spec"]["strategy"]


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("{scale: {max: 3, target: 16}}", 48),
        ("{scale: {max: 3, target: 16}, triggerHost: {replicas: 5}}", 10),
        ("{scale: {max: 2}, containerConcurrency: 7}", 14),
        ("{scale: {max: 2, target: 1000, metric: rps}, containerConcurrency: 7}", 14),
        ("{scale: {max: 0, target: 5}}", 50),
        ("{scale: {max: 0, min: 20, target: 5}}", 100),
        ("{scale: {max: 1000, target: 500}}", 512),
        ("{scale: {max: 1, target: 1}, triggerHost: {replicas: 9}}", 1),
    ],
)
def test_posts_at_once_are_what_the_pods_carry_in_bounds(tmp_path: Path, yaml: str, expected: int) -> None:
    assert expected == posts_at_once(wanted(tmp_path, f"{KAFKA}deploy: {yaml}\n", ORDERS))


def test_replicas_and_resources_are_settings(tmp_path: Path) -> None:
    yaml = "deploy: {triggerHost: {replicas: 2, requests: {cpu: 100m}, limits: {memory: 1Gi}}}\n"
    one = wanted(tmp_path, KAFKA + yaml, ORDERS)
    assert 2 == one_of("Deployment", one)["spec"]["replicas"]
    expected = {"limits": {"memory": "1Gi"}, "requests": {"cpu": "100m"}}
    assert expected == container_of(one)["resources"]
