"""The objects of whole projects, as they were looked at once: tests/build/golden. UPON_GOLDEN=1 writes them anew."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from ruamel.yaml import YAML

import upon
from support.deployments import PROJECTS, SCORE, handler, made, wanted
from upon_build.cluster.checks import check_deploy
from upon_build.cluster.objects.features import features_needed
from upon_build.cluster.objects.render import objects_of
from upon_build.cluster.objects.scaling import container_concurrency
from upon_build.cluster.objects.text import as_yaml

GOLDEN = Path(__file__).parent / "golden"
KAFKA = "kafka: {bootstrap: ['kafka:9093'], sasl: {username: me, password: '{{ secret:kafka:password }}'}}\n"
GPU = """\
run: {startTimeout: 900, envs: [{name: TOKEN, value: "{{ secret:hub:token }}"}], volumes: [{path: /ca, secret: ca}]}
deploy:
  visibility: public
  timeoutSeconds: 300
  gpu: {count: 1, resource: nvidia.com/mig-1g.5gb, type: NVIDIA-A100}
  scale: {min: 1, max: 4, target: 32, metric: rps, window: PT30S, downDelay: PT5M, keepLast: PT1M, initial: 2}
  resources: {requests: {cpu: 500m, memory: 2Gi}, limits: {memory: 4Gi}}
  serviceAccountName: reader
  imagePullSecrets: [registry]
  nodeSelector: {disk: ssd}
  tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
  runtimeClassName: nvidia
  labels: {team: search}
  annotations: {example.com/owner: search}
"""
CASES: dict[str, tuple[str, tuple[Any, ...]]] = {
    "http": ("", (SCORE,)),
    "gpu": (GPU, (SCORE,)),
    "triggers": (
        KAFKA,
        (
            SCORE,
            upon.kafka("orders", reply_to="orders.scored")(handler("orders")),
            upon.cron("0 3 * * *")(handler("nightly")),
            upon.cloudevent(type="com.example.paid")(handler("paid")),
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_golden(tmp_path: Path, case: str) -> None:
    yaml, functions = CASES[case]
    text = as_yaml(objects_of(wanted(tmp_path, yaml, *functions)))
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("UPON_GOLDEN"):
        path.write_text(text)
    assert path.read_text() == text


@given(PROJECTS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_project_gives_the_same_objects_twice_and_yaml_that_reads_as_them(project: Mapping[str, Any]) -> None:
    with TemporaryDirectory() as one, TemporaryDirectory() as two:
        objects = objects_of(made(Path(one), project))
        assert objects == objects_of(made(Path(two), project))
        assert objects == list(YAML(typ="safe", pure=True).load_all(as_yaml(objects)))


def test_the_traffic_is_the_callers(tmp_path: Path) -> None:
    split = [{"revisionName": "demo-00001", "percent": 90}, {"latestRevision": True, "percent": 10, "tag": "next"}]
    (service,) = objects_of(wanted(tmp_path), traffic=split)
    assert split == service["spec"]["traffic"]


def test_the_revision_is_never_named(tmp_path: Path) -> None:
    (service,) = objects_of(wanted(tmp_path))
    assert "name" not in service["spec"]["template"]["metadata"]


def test_features_of_a_service_that_needs_none(tmp_path: Path) -> None:
    assert [] == features_needed(objects_of(wanted(tmp_path)))


def test_features_that_knative_has_off(tmp_path: Path) -> None:
    claims = "run: {volumes: [{path: /d, persistentVolumeClaim: {claimName: data, readOnly: false}}]}\n"
    found = dict(features_needed(objects_of(wanted(tmp_path, GPU.replace(GPU.splitlines()[0] + "\n", claims)))))
    expected = [
        "kubernetes.podspec-nodeselector",
        "kubernetes.podspec-persistent-volume-claim",
        "kubernetes.podspec-persistent-volume-write",
        "kubernetes.podspec-runtimeclassname",
        "kubernetes.podspec-tolerations",
    ]
    assert expected == sorted(found)
    assert "the claim 'data' is written to" == found["kubernetes.podspec-persistent-volume-write"]


LIMITED = upon.options(concurrency=3)(handler("limited"))


def batched(size: int, limit: int | None = None) -> Any:
    def rows(events: list[upon.Event]) -> None: ...

    function = upon.batched(max_size=size)(rows)
    return upon.options(concurrency=limit)(function) if limit else function


@pytest.mark.parametrize(
    ("expected", "yaml", "functions"),
    [
        (128, "", (SCORE,)),
        (7, "deploy: {containerConcurrency: 7}\n", (SCORE,)),
        (3, "", (LIMITED,)),
        (128, "", (LIMITED, SCORE)),
        (20, "", (batched(10, 1),)),
        (600, "", (batched(300),)),
        (1000, "", (batched(900),)),
    ],
)
def test_requests_at_once(tmp_path: Path, expected: int, yaml: str, functions: tuple[Any, ...]) -> None:
    assert expected == container_concurrency(wanted(tmp_path, yaml, *functions))


PROBLEMS = {
    "run: {envs: [{name: PORT, value: '1'}]}\n": "func.yaml:3: run.envs sets PORT, which Knative sets itself",
    "run: {envs: [{name: FUNC_DELIVERY_RETRY, value: '1'}]}\n": "func.yaml:3: run.envs sets FUNC_DELIVERY_RETRY",
    "run: {envs: [{name: A, value: '{{ secret:k:service }}'}]}\n": "func.yaml:3: k:service would be the variable",
    "run: {envs: [{name: A, value: '{{ secret:Hub:x }}'}]}\n": "func.yaml:3: 'Hub' is no name of a Secret",
    "run: {volumes: [{path: /dev, emptyDir: {}}]}\n": "func.yaml:3: a volume can't be mounted at '/dev'",
    "run: {volumes: [{path: /a, secret: x, configMap: y}]}\n": "func.yaml:3: the volume '/a' has secret and configMap",
    "run: {volumes: [{path: /a}]}\n": "func.yaml:3: the volume '/a' has no source",
    "run: {volumes: [{path: /a/b, secret: x}, {path: /a-b, secret: y}]}\n": "func.yaml:3: the volumes '/a/b' and",
    "deploy:\n  scale:\n    min: 3\n    max: 2\n": "func.yaml:5: deploy.scale.min is 3, and max 2",
    "deploy: {scale: {window: 2}}\n": "func.yaml:3: deploy.scale.window is 2 s",
    "deploy: {scale: {downDelay: 1.5}}\n": "func.yaml:3: deploy.scale.downDelay is 1.5 s",
    "deploy: {gpu: {type: nvidia-l4}}\n": "func.yaml:3: deploy.gpu.type is set, and deploy.gpu.count is 0",
    "deploy: {gpu: {count: 1}, resources: {limits: {nvidia.com/gpu: 1}}}\n": "func.yaml:3: deploy.resources.limits",
    "deploy: {resources: {limits: {memroy: 1Gi}}}\n": "func.yaml:3: deploy.resources.limits: 'memroy' is no resource",
    "deploy: {resources: {requests: {cpu: 2}, limits: {cpu: 1500m}}}\n": "func.yaml:3: deploy.resources requests cpu 2",
    "deploy: {serviceAccountName: Me}\n": "func.yaml:3: deploy.serviceAccountName: 'Me' is no name",
    "deploy: {labels: {a: 'x y'}}\n": "func.yaml:3: deploy.labels.a: 'x y' can't be the value of a label",
    "deploy: {labels: {app.kubernetes.io/name: x}}\n": "func.yaml:3: deploy.labels sets 'app.kubernetes.io/name'",
    "deploy: {annotations: {autoscaling.knative.dev/min-scale: '1'}}\n": "func.yaml:3: deploy.annotations sets 'autosc",
    "deploy: {nodeSelector: {'a/b/c': x}}\n": "func.yaml:3: deploy.nodeSelector: 'a/b/c' is no key",
    "deploy: {tolerations: [{key: a, operator: Exists, value: b}]}\n": "func.yaml:3: deploy.tolerations: operator",
    "deploy: {tolerations: [{effect: NoSchedule}]}\n": "func.yaml:3: deploy.tolerations: a taint without a key",
    "run: {drainDelay: 60}\n": "func.yaml:3: run.drainDelay is 60 s",
    "idempotency: {url: 'redis://:pw@x'}\n": "func.yaml:3: idempotency.url is plain text",
}


@pytest.mark.parametrize("yaml", PROBLEMS)
def test_what_would_be_refused_is_told_with_its_line(tmp_path: Path, yaml: str) -> None:
    problems = check_deploy(wanted(tmp_path, yaml))
    assert ["error"] == [problem.severity for problem in problems]
    assert str(problems[0]).startswith(PROBLEMS[yaml])
    assert problems[0].remedy


def test_a_good_project_has_no_problem(tmp_path: Path) -> None:
    assert [] == check_deploy(wanted(tmp_path, GPU))


def test_batches_that_never_fill_are_worth_a_warning(tmp_path: Path) -> None:
    (problem,) = check_deploy(wanted(tmp_path, "deploy: {containerConcurrency: 5}\n", batched(10)))
    assert ("warning", "set it to at least 20, or leave it out") == (problem.severity, problem.remedy)
