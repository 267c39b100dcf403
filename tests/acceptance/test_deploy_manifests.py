"""What `func render` makes is what a real API server and Knative's own webhook take; nothing is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from support.cluster.rest import ApiFault
from support.deployments import PROJECTS, made, wanted
from support.knative import Cluster
from upon_build.cluster.checks import check_deploy
from upon_build.cluster.objects.features import features_needed
from upon_build.cluster.objects.render import objects_of

PATHS = {
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
    "Service": "/apis/serving.knative.dev/v1/namespaces/{}/services",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
}
EVENTING = ("Trigger", "KafkaSource", "PingSource")  # its controllers and kinds are not in this cluster

DENIED = r'admission webhook "validation\.webhook\.serving\.knative\.dev" denied the request'


def send(cluster: Cluster, thing: Mapping[str, Any]) -> None:
    """A server-side apply that stores nothing. Raises ApiFault."""
    meta = thing["metadata"]
    path = f"{PATHS[thing['kind']].format(meta['namespace'])}/{meta['name']}?fieldManager=upon&dryRun=All"
    cluster.rest.call("PATCH", path, thing, kind="application/apply-patch+yaml")


def make_account(cluster: Cluster, namespace: str, name: str) -> None:
    """Knative tries a pod out when it is asked for a dry run, and a pod needs its account."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    with suppress(ApiFault):  # it is there
        cluster.rest.post(PATHS["ServiceAccount"].format(namespace), account)


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    with cluster.namespace() as name:
        yield name


def test_every_project_that_is_found_good_is_taken(cluster: Cluster, namespace: str) -> None:
    sent = []

    @given(PROJECTS)
    @settings(
        max_examples=100,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def every(project: Mapping[str, Any]) -> None:
        with TemporaryDirectory() as folder:
            one = made(Path(folder), project, deploy__namespace=namespace)
            if any(problem.severity == "error" for problem in check_deploy(one)):
                return
            objects = objects_of(one)
        if one.settings["deploy.serviceAccountName"]:
            make_account(cluster, namespace, one.settings["deploy.serviceAccountName"])
        for thing in objects:
            if thing["kind"] not in EVENTING:
                send(cluster, thing)
        sent.append(len(objects))

    every()
    assert len(sent) >= 80, f"only {len(sent)} projects were found good"


# (func.yaml, the words of the webhook): what is told with func.yaml's line is what Knative refuses.
REFUSED = {
    "run: {envs: [{name: PORT, value: '1'}]}\n": "reserved environment variable",
    "run: {envs: [{name: A, value: 'x{{ secret:k:service }}'}]}\n": "reserved environment variable",
    "run: {volumes: [{path: /dev, emptyDir: {}}]}\n": "reserved path",
    "run: {volumes: [{path: /a/b, secret: x}, {path: /a-b, secret: y}]}\n": "duplicate entries for key",
    "deploy: {scale: {min: 3, max: 2}}\n": "max-scale=2 is less than min-scale=3",
    "deploy: {scale: {window: 2}}\n": "expected 6s <= 2s <= 1h0m0s",
    "deploy: {scale: {window: 6.5}}\n": "at most second precision",
    "deploy: {scale: {downDelay: 4000}}\n": "4000s",
    "deploy: {serviceAccountName: Me}\n": "serviceAccountName",
    "deploy: {labels: {a: 'x y'}}\n": "a valid label must be",
}


@pytest.mark.parametrize("yaml", REFUSED)
def test_what_is_found_wrong_is_refused(tmp_path: Path, cluster: Cluster, namespace: str, yaml: str) -> None:
    one = wanted(tmp_path, yaml, deploy__namespace=namespace)
    (problem,) = check_deploy(one)
    assert problem.location == "func.yaml:3"
    with pytest.raises(ApiFault, match=REFUSED[yaml]):
        send(cluster, objects_of(one)[0])


@pytest.mark.parametrize(
    "yaml",
    [
        "deploy: {nodeSelector: {disk: ssd}}\n",
        "deploy: {tolerations: [{key: gpu, operator: Exists}]}\n",
        "deploy: {runtimeClassName: nvidia}\n",
        "run: {volumes: [{path: /d, persistentVolumeClaim: {claimName: data}}]}\n",
        "run: {volumes: [{path: /d, persistentVolumeClaim: {claimName: data, readOnly: false}}]}\n",
    ],
)
def test_what_needs_a_feature_is_refused_as_long_as_it_is_off(
    tmp_path: Path, cluster: Cluster, namespace: str, yaml: str
) -> None:
    (service,) = objects_of(wanted(tmp_path, yaml, deploy__namespace=namespace))
    assert features_needed([service])
    with pytest.raises(ApiFault, match=DENIED):
        send(cluster, service)


Change = Callable[[dict[str, Any]], None]


def _template(service: dict[str, Any]) -> Any:
    return service["spec"]["template"]


# What we never do, and why: the webhook would not have it.
NEVER: dict[str, Change] = {
    "a pod's security context": lambda s: _template(s)["spec"].update(securityContext={"fsGroup": 1}),
    "a grace period": lambda s: _template(s)["spec"].update(terminationGracePeriodSeconds=9),
    "an initial scale of 0": lambda s: _template(s)["metadata"]["annotations"].update(
        {"autoscaling.knative.dev/initial-scale": "0"}
    ),
    "autoscaling on the service": lambda s: s["metadata"].update(
        annotations={"autoscaling.knative.dev/min-scale": "1"}
    ),
    "a longer request": lambda s: _template(s)["spec"].update(timeoutSeconds=601),
    "more at once": lambda s: _template(s)["spec"].update(containerConcurrency=1001),
    "a readiness probe with a timeout and no period": lambda s: _template(s)["spec"]["containers"][0][
        "readinessProbe"
    ].update(timeoutSeconds=1),
}


@pytest.mark.parametrize("change", NEVER)
def test_what_no_object_of_ours_has(tmp_path: Path, cluster: Cluster, namespace: str, change: str) -> None:
    (service,) = objects_of(wanted(tmp_path, deploy__namespace=namespace))
    send(cluster, service)
    other = deepcopy(service)
    NEVER[change](other)
    with pytest.raises(ApiFault, match=f"{DENIED}|field not declared in schema"):
        send(cluster, other)
