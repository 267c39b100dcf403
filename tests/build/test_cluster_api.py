"""The API client where the cluster is in trouble, or says no: what is tried again, and what is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.api_double import ApiDouble, api_double, status
from upon_build.cluster.api.client import Api, Patience
from upon_build.cluster.api.errors import ApiError, ClusterUnavailable, Conflict, Field, Forbidden, NotFound
from upon_build.cluster.api.kinds import KSERVICE, NODE, POD, Kind, kind_of, named

SERVICE = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "demo", "namespace": "ml"}}


class Pauses(list[float]):
    """What was waited."""

    def patience(self) -> Patience:
        return Patience(pause=self.append, random=lambda: 0.5)


@pytest.fixture
def double(tmp_path: Path) -> Iterator[ApiDouble]:
    with api_double(tmp_path) as server:
        yield server


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def api(double: ApiDouble, pauses: Pauses) -> Iterator[Api]:
    found = Api.connect(kubeconfig=str(double.kubeconfig))
    found._patience = pauses.patience()
    yield found
    found.close()


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "expected"),
    [
        (POD, "ml", "a", "/api/v1/namespaces/ml/pods/a"),
        (POD, None, None, "/api/v1/pods"),
        (NODE, "ml", "n", "/api/v1/nodes/n"),
        (KSERVICE, "ml", None, "/apis/serving.knative.dev/v1/namespaces/ml/services"),
    ],
)
def test_places_of_kinds(kind: Kind, namespace: str | None, name: str | None, expected: str) -> None:
    assert expected == kind.path(namespace, name)


def test_the_kind_of_an_object() -> None:
    assert KSERVICE == kind_of(SERVICE)
    assert "Service demo" == named(SERVICE)


def test_the_context_says_the_namespace_and_who_asks(api: Api, double: ApiDouble) -> None:
    double.answers = [(200, SERVICE)]
    assert "ml" == api.namespace
    assert SERVICE == api.get(KSERVICE, "demo")
    ((method, path, headers),) = double.asked
    assert ("GET", "/apis/serving.knative.dev/v1/namespaces/ml/services/demo") == (method, path)
    assert "Bearer hidden-token" == {key.lower(): value for key, value in headers.items()}["authorization"]


def test_what_is_not_there_is_none(api: Api, double: ApiDouble) -> None:
    double.answers = [status(404, "not found", "NotFound")]
    assert api.get(KSERVICE, "demo") is None
    assert api.delete(KSERVICE, "demo") is False
    with pytest.raises(NotFound):
        api.list(KSERVICE)


def test_apply_is_server_side_and_ours(api: Api, double: ApiDouble) -> None:
    double.answers = [(200, SERVICE)]
    api.apply(SERVICE, dry_run=True)
    ((method, path, headers),) = double.asked
    assert "PATCH" == method
    assert path.endswith("/namespaces/ml/services/demo?fieldManager=upon&force=false&dryRun=All")
    assert "application/apply-patch+yaml" == headers["Content-Type"]


@pytest.mark.parametrize("failure", ["cut", status(503, "later"), status(429, "slow down"), status(504, "too slow")])
def test_what_passes_is_tried_again(api: Api, double: ApiDouble, pauses: Pauses, failure: Any) -> None:
    double.answers = [failure, failure, (200, SERVICE)]
    assert SERVICE == api.get(KSERVICE, "demo")
    assert [0.1, 0.2] == pauses


def test_the_server_says_how_long_to_wait(api: Api, double: ApiDouble, pauses: Pauses) -> None:
    double.answers = [(*status(429, "slow down"), {"Retry-After": "3"}), (200, SERVICE)]
    api.get(KSERVICE, "demo")
    assert [3.0] == pauses


def test_patience_ends(api: Api, double: ApiDouble, pauses: Pauses) -> None:
    double.answers = [status(503, "the server is starting")]
    with pytest.raises(ApiError, match="the server is starting"):
        api.get(KSERVICE, "demo")
    assert 5 == len(double.asked)
    assert 4 == len(pauses)


def test_a_cluster_that_is_gone(api: Api, double: ApiDouble) -> None:
    double.answers = ["cut"]
    with pytest.raises(ClusterUnavailable, match=r"the cluster at http://127.0.0.1:\d+ does not answer") as caught:
        api.get(KSERVICE, "demo")
    assert "hidden-token" not in str(caught.value)


def test_a_webhooks_refusal_is_told_at_once(api: Api, double: ApiDouble) -> None:
    double.answers = [status(500, 'admission webhook "x" denied the request: field not declared')]
    with pytest.raises(ApiError, match="field not declared"):
        api.apply(SERVICE)
    assert 1 == len(double.asked)


def test_a_webhook_that_is_starting_is_waited_for(api: Api, double: ApiDouble) -> None:
    double.answers = [status(500, "Internal error: failed calling webhook: no endpoints"), (200, SERVICE)]
    assert SERVICE == api.apply(SERVICE)


def test_a_missing_right_is_named(api: Api, double: ApiDouble) -> None:
    double.answers = [status(403, 'services is forbidden: User "x" cannot patch resource', "Forbidden")]
    expected = "may not patch services.serving.knative.dev in the namespace 'ml': `func doctor --role` prints"
    with pytest.raises(Forbidden, match=expected):
        api.apply(SERVICE)


def test_an_object_that_is_forbidden_is_no_missing_right(api: Api, double: ApiDouble) -> None:
    double.answers = [status(403, "pods is forbidden: exceeded quota: small", "Forbidden")]
    with pytest.raises(ApiError, match="exceeded quota") as caught:
        api.apply(SERVICE)
    assert not isinstance(caught.value, Forbidden)


def test_nobody_knows_us(api: Api, double: ApiDouble) -> None:
    double.answers = [status(401, "Unauthorized", "Unauthorized")]
    with pytest.raises(ClusterUnavailable, match=r"does not know who we are \(Unauthorized\): log in again"):
        api.get(KSERVICE, "demo")


def test_a_conflict_says_whose_fields(api: Api, double: ApiDouble) -> None:
    cause = {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "kubectl-edit" using serving.knative.dev/v1',
        "field": ".spec.template.spec.timeoutSeconds",
    }
    double.answers = [status(409, "Apply failed with 1 conflict", "Conflict", causes=[cause])]
    with pytest.raises(Conflict) as caught:
        api.apply(SERVICE)
    assert (Field(".spec.template.spec.timeoutSeconds", "kubectl-edit"),) == caught.value.fields


def test_rights_are_asked_for(api: Api, double: ApiDouble) -> None:
    double.answers = [(201, {"status": {"allowed": True}})]
    assert api.can("patch", KSERVICE)
    double.answers = [(201, {"status": {"allowed": False}})]
    assert not api.can("get", POD, subresource="log")


def listed(version: str, *items: Any) -> tuple[int, Any]:
    return 200, {"metadata": {"resourceVersion": version}, "items": list(items)}


def test_a_watch_begins_with_what_is_there_and_survives_trouble(api: Api, double: ApiDouble) -> None:
    gone = {"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}
    double.answers = [
        listed("5", {"name": "a"}),
        (200, [{"type": "MODIFIED", "object": {"name": "b"}}, gone]),
        "cut",
        *["cut"] * 5,
        listed("9", {"name": "c"}),
        (200, [{"type": "DELETED", "object": {"name": "c"}}]),
        "cut",
    ]
    found = []
    for event, thing in api.watch(KSERVICE, name="demo", timeout=30):
        found.append((event, thing["name"]))
        if event == "DELETED":
            break
    assert [("ADDED", "a"), ("MODIFIED", "b"), ("ADDED", "c"), ("DELETED", "c")] == found
    first, second = (path for _, path, _ in double.asked[:2])
    assert first.endswith("services?fieldSelector=metadata.name%3Ddemo")
    assert "watch=1&resourceVersion=5&timeoutSeconds=" in second


def test_a_watch_ends_in_time(api: Api, double: ApiDouble) -> None:
    double.answers = [lambda path: (200, []) if "watch=1" in path else listed("1")]
    assert [] == list(api.watch(KSERVICE, timeout=0.2))


def test_without_a_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterUnavailable, match=r"no cluster is configured .*: name a file with --kubeconfig"):
        Api.connect(kubeconfig=str(tmp_path / "none"))


def test_a_context_that_is_not_there(double: ApiDouble) -> None:
    with pytest.raises(ClusterUnavailable, match="check `kubectl config get-contexts`"):
        Api.connect(kubeconfig=str(double.kubeconfig), context="other")


def test_a_kubeconfig_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[1, 2")
    with pytest.raises(ClusterUnavailable, match="the kubeconfig can't be read"):
        Api.connect(kubeconfig=str(tmp_path / "config"))
