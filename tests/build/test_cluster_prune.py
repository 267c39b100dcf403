"""What is removed as not wanted any more: the project's own objects, and never what Knative made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.api_double import Answer, api_double
from upon_build.cluster.api.client import Api
from upon_build.cluster.api.kinds import named
from upon_build.cluster.apply import prune


def deployment(name: str, **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"{name}-uid", **meta}}


def test_the_deployment_of_a_revision_stays(tmp_path: Path) -> None:
    owned = deployment("demo-00001-deployment", ownerReferences=[{"kind": "Revision", "controller": True}])
    listed = {"items": [owned, deployment("demo-triggers")]}

    def answer(path: str) -> Answer:
        return 200, listed if "/deployments?" in path else {"items": []}

    with api_double(tmp_path) as double:
        double.answers = [answer]
        api = Api.connect(kubeconfig=str(double.kubeconfig))
        assert ["Deployment demo-triggers"] == [named(thing) for thing in prune(api, [], "demo", "ml")]
        api.close()
        deleted = [path for method, path, _ in double.asked if method == "DELETE"]
        assert ["/apis/apps/v1/namespaces/ml/deployments/demo-triggers"] == deleted
