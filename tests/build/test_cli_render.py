"""`func render` as a process."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from support.func import func
from support.projects import write_project

YAML_FILE = "name: demo\nregistry: ghcr.io/acme\nfunctions: [app.py]\nprofiles: {prod: {deploy: {namespace: ml}}}\n"
APP = "import upon\n@upon.http('POST /score')\ndef score(event): ...\nprint('noise')\n"


def test_yaml_documents_alone_go_to_stdout(tmp_path: Path) -> None:
    done = func("render", cwd=write_project(tmp_path, YAML_FILE, APP))
    (service,) = YAML(typ="safe").load_all(done.stdout)
    container = service["spec"]["template"]["spec"]["containers"][0]
    assert (0, "ghcr.io/acme/demo:latest") == (done.returncode, container["image"])
    assert "ml" == service["metadata"]["namespace"]
    assert "name it by --image" in done.stderr


def test_a_chart_needs_a_folder(tmp_path: Path) -> None:
    project = write_project(tmp_path, YAML_FILE, APP)
    refused = func("render", "-o", "helm", cwd=project)
    assert (2, "") == (refused.returncode, refused.stdout)
    assert "--output DIR" in refused.stderr
    done = func("render", "-o", "helm", "--output", "chart", "-n", "other", cwd=project)
    assert 0 == done.returncode, done.stderr
    assert ["chart/Chart.yaml", "chart/values.yaml", "chart/templates/service-demo.yaml"] == done.stdout.split()
    assert all((project / name).is_file() for name in done.stdout.split())


def test_what_the_cluster_would_refuse_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    bad = YAML_FILE + "run:\n  envs: [{name: PORT, value: '1'}]\n"
    done = func("render", "-o", "kustomize", "--output", "base", cwd=write_project(tmp_path, bad, APP))
    assert (2, "") == (done.returncode, done.stdout)
    assert "func.yaml:6: run.envs sets PORT" in done.stderr
    assert not (tmp_path / "base").exists()
