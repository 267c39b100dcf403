"""Objects into a real cluster: only ours are changed, and what others have set is told before it is taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.knative import Cluster
from upon_build.cluster.api.client import Api
from upon_build.cluster.api.errors import Conflict, Field, Forbidden
from upon_build.cluster.api.kinds import CONFIG_MAP, KSERVICE, SERVICE_ACCOUNT, named
from upon_build.cluster.apply import Foreign, apply_all, ours, prune
from upon_build.cluster.objects.labels import labels_of

EDITED = ".spec.template.spec.timeoutSeconds"


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    with cluster.namespace("apply") as name:
        yield name


@pytest.fixture
def api(cluster: Cluster, namespace: str) -> Iterator[Api]:
    found = Api.connect(kubeconfig=str(cluster.kubeconfig), namespace=namespace)
    yield found
    found.close()


def objects(namespace: str, project: str = "demo", *, timeout: int = 60, account: bool = True) -> list[dict[str, Any]]:
    """A service that never gets ready, which does not matter here, and an account."""
    container = {"image": f"127.0.0.1:1/acme/none@sha256:{'0' * 64}"}
    meta = {"namespace": namespace, "labels": labels_of(project)}
    service = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {**meta, "name": "demo"},
        "spec": {
            "template": {"spec": {"timeoutSeconds": timeout, "containers": [container]}},
            "traffic": [{"latestRevision": True, "percent": 100}],
        },
    }
    also = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**meta, "name": "demo-triggers"}}
    return [also, service] if account else [service]


def actions(api: Api, things: list[dict[str, Any]], **more: Any) -> list[tuple[str, str]]:
    return [(one.action, named(one.thing)) for one in apply_all(api, things, **more)]


def edit(cluster: Cluster, namespace: str, seconds: int) -> None:
    """As `kubectl edit` does."""
    path = f"/apis/serving.knative.dev/v1/namespaces/{namespace}/services/demo?fieldManager=kubectl-edit"
    cluster.rest.patch(path, {"spec": {"template": {"spec": {"timeoutSeconds": seconds}}}})


def test_the_second_time_nothing_changes(api: Api, namespace: str) -> None:
    both = ["ServiceAccount demo-triggers", "Service demo"]
    assert [("created", name) for name in both] == actions(api, objects(namespace))
    assert [("unchanged", name) for name in both] == actions(api, objects(namespace))
    assert [("unchanged", both[0]), ("changed", both[1])] == actions(api, objects(namespace, timeout=61))


def test_a_dry_run_changes_nothing(api: Api, namespace: str) -> None:
    actions(api, objects(namespace), dry_run=True)
    assert api.get(KSERVICE, "demo") is None


def test_what_somebody_else_set_is_told_and_taken_on_demand(cluster: Cluster, api: Api, namespace: str) -> None:
    apply_all(api, objects(namespace))
    edit(cluster, namespace, 33)
    with pytest.raises(Conflict, match=f"{EDITED}: 33 by 'kubectl-edit', 60 here") as caught:
        apply_all(api, objects(namespace))
    assert (Field(EDITED, "kubectl-edit"),) == caught.value.fields
    assert "--force-conflicts" in str(caught.value)
    found = api.get(KSERVICE, "demo")
    assert found is not None
    assert 33 == found["spec"]["template"]["spec"]["timeoutSeconds"]
    assert ("changed", "Service demo") in actions(api, objects(namespace), force=True)


def test_a_foreign_object_is_left_alone(cluster: Cluster, api: Api, namespace: str) -> None:
    foreign = objects(namespace)[1]
    del foreign["metadata"]["labels"]
    cluster.rest.apply(foreign, "somebody")
    with pytest.raises(Foreign, match=f"Service demo in the namespace '{namespace}' was not made by Upon: .*--adopt"):
        apply_all(api, objects(namespace))
    assert api.get(SERVICE_ACCOUNT, "demo-triggers") is None  # nothing was begun
    adopted = actions(api, objects(namespace), adopt=True, force=True)
    assert ("changed", "Service demo") in adopted


def test_another_projects_object_is_left_alone(api: Api, namespace: str) -> None:
    apply_all(api, objects(namespace, "other"))
    with pytest.raises(Foreign, match="belongs to the project 'other'"):
        apply_all(api, objects(namespace))


def test_what_is_not_wanted_any_more_goes_and_nothing_else(cluster: Cluster, api: Api, namespace: str) -> None:
    apply_all(api, objects(namespace))
    foreign = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "other", "namespace": namespace}}
    foreign["metadata"]["labels"] = labels_of("another-project")  # type: ignore[index]
    cluster.rest.apply(foreign, "upon")
    wanted = objects(namespace, account=False)
    assert ["ServiceAccount demo-triggers"] == [named(one) for one in prune(api, wanted, "demo", namespace)]
    assert ["Service demo"] == [named(one) for one in ours(api, "demo", namespace)]
    assert api.get(SERVICE_ACCOUNT, "other") is not None
    prune(api, [], "demo", namespace)
    cluster.until(lambda: not ours(api, "demo", namespace), "everything of the project is gone")


def test_a_watch_sees_what_others_do(cluster: Cluster, api: Api, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    cluster.rest.post(path, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "seen"}, "data": {"a": "1"}})
    found = []
    for event, thing in api.watch(CONFIG_MAP, name="seen", timeout=30):
        found.append((event, (thing.get("data") or {}).get("a")))
        match event:
            case "ADDED":
                cluster.rest.patch(f"{path}/seen", {"data": {"a": "2"}})
            case "MODIFIED":
                cluster.rest.delete(f"{path}/seen")
            case _:
                break
    assert [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")] == found


def test_a_right_that_is_missing_is_named(cluster: Cluster, namespace: str, tmp_path: Any) -> None:
    rules = [{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get", "patch", "create"]}]
    kubeconfig = cluster.account(namespace, "poor", rules, tmp_path)
    api = Api.connect(kubeconfig=str(kubeconfig))
    assert namespace == api.namespace
    assert api.can("patch", SERVICE_ACCOUNT)
    assert not api.can("patch", KSERVICE)
    with pytest.raises(Forbidden, match=f"may not get services.serving.knative.dev in the namespace '{namespace}'"):
        apply_all(api, objects(namespace))
    api.close()
