"""`func render --image`: the manifest in a pushed image says what there is; the folder's func.yaml how it stands."""

from __future__ import annotations

import shutil
from pathlib import Path

from ruamel.yaml import YAML

from support.builds import Builder


def test_a_pushed_image_is_rendered_by_its_digest(builder: Builder, small_project: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(small_project, tmp_path / "project")
    built = builder.build(folder, "rendered")
    image = builder.registry.repository("rendered")
    (folder / "app.py").write_text("raise RuntimeError('nobody imports this')\n")
    done = builder.run("render", "--image", f"{image}:latest", "-n", "ml", cwd=folder)
    assert 0 == done.returncode, done.stderr
    (service,) = YAML(typ="safe").load_all(done.stdout)
    container = service["spec"]["template"]["spec"]["containers"][0]
    assert f"{image}@{built.digest}" == container["image"]
    assert "ml" == service["metadata"]["namespace"]
    again = builder.run("render", "--image", f"{image}@{built.digest}", "-n", "ml", cwd=folder)
    assert done.stdout == again.stdout


def test_an_image_of_somebody_else_is_none_of_ours(builder: Builder, small_project: Path) -> None:
    done = builder.run("render", "--image", builder.base.reference, cwd=small_project)
    assert (2, "") == (done.returncode, done.stdout)
    assert "holds no project of Upon" in done.stderr
