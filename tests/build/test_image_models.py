"""Each model is a layer with everything it needs, by its content alone."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from upon_build.image.files.models import hash_model, model_layers, model_names, read_models
from upon_build.image.layers.hashes import Hashes
from upon_build.image.oci import Layer
from upon_build.image.store import Store
from upon_build.project import ProjectError

GI = 2**30
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69\nsize 12345\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "project/models").mkdir(parents=True)
    return tmp_path / "project"


def write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        (folder / "models" / f"{name}.onnx").write_text(content)


def write_split(folder: Path, name: str = "big", location: str = "big.data") -> None:
    """A model with its weights in a file beside it."""
    weights = numpy_helper.from_array(np.arange(2000, dtype=np.float32), "w")
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2000])
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [output], [weights])
    path = folder / "models" / f"{name}.onnx"
    onnx.save(helper.make_model(graph), path, save_as_external_data=True, location=location, size_threshold=0)


def content(store: Store, layer: Layer) -> dict[str, bytes]:
    blob = store.find(layer.descriptor.digest)
    assert blob is not None
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob.read_bytes()))) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]


def names(store: Store, folder: Path, *paths: str) -> list[set[str]]:
    return [set(content(store, layer)) for layer in model_layers(store, folder, paths, max_size=GI)]


def refused(folder: Path, *paths: str, max_size: int | None = None) -> list[str]:
    with pytest.raises(ProjectError) as error:
        read_models(folder, paths, max_size=max_size)
    return str(error.value).replace(str(folder), "FOLDER").splitlines()


def test_one_layer_for_each(store: Store, folder: Path) -> None:
    write(folder, a="one", b="two")
    layers = model_layers(store, folder, ["models/b.onnx", "models/a.onnx", "models/a.onnx"], max_size=GI)
    assert ["models/a.onnx", "models/b.onnx"] == [layer.title for layer in layers]
    assert [{"app/models/a.onnx": b"one"}, {"app/models/b.onnx": b"two"}] == [content(store, one) for one in layers]
    assert ["model", "model"] == [layer.descriptor.annotations["dev.upon.layer"] for layer in layers]


def test_a_folder(store: Store, folder: Path) -> None:
    for name in ("bert/config.json", "bert/onnx/model.onnx", "bert/.git/lfs/objects/x", "bert/__pycache__/x.pyc"):
        (folder / "models" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "models" / name).write_text(name)
    expected = {"app/models/bert/config.json", "app/models/bert/onnx/model.onnx"}
    assert [expected] == names(store, folder, "models/bert")
    assert {f"models/bert/{name}" for name in ("config.json", "onnx/model.onnx")} == model_names(
        folder, ["models/bert"]
    ).files


def test_weights_beside_the_model(store: Store, folder: Path) -> None:
    write_split(folder)
    assert [{"app/models/big.onnx", "app/models/big.data"}] == names(store, folder, "models/big.onnx")
    assert {"models/big.onnx", "models/big.data"} == model_names(folder, ["models/big.onnx"]).files


def test_weights_of_two_models_are_there_once(store: Store, folder: Path) -> None:
    write_split(folder, "a", "shared.data")
    shutil.copy(folder / "models/a.onnx", folder / "models/b.onnx")
    expected = [{"app/models/a.onnx", "app/models/shared.data"}, {"app/models/b.onnx"}]
    assert expected == names(store, folder, "models/a.onnx", "models/b.onnx")


def test_a_model_in_the_folder_of_another(store: Store, folder: Path) -> None:
    write(folder, a="one", b="two")
    assert [{"app/models/a.onnx", "app/models/b.onnx"}] == names(store, folder, "models", "models/a.onnx")


def test_a_link_becomes_what_it_leads_to(store: Store, folder: Path) -> None:
    (folder / "store").mkdir()
    (folder / "store/4d7a").write_text("one")
    (folder / "models/a.onnx").symlink_to("../store/4d7a")
    (layer,) = model_layers(store, folder, ["models/a.onnx"], max_size=GI)
    assert {"app/models/a.onnx": b"one"} == content(store, layer)
    assert ({"models/a.onnx"}, {"store/4d7a"}) == model_names(folder, ["models/a.onnx"])


def test_below_a_folder_that_is_a_link(store: Store, folder: Path) -> None:
    """The link itself stays one, in the code layer: the model lies where it leads to."""
    write(folder, a="one")
    (folder / "current").symlink_to("models")
    assert [{"app/models/a.onnx"}] == names(store, folder, "current/a.onnx")


def test_hashes_are_those_of_sha256sum(folder: Path) -> None:
    write_split(folder)
    write(folder, a="one")
    alone = hashlib.sha256(b"one").hexdigest()
    assert (alone, 3) == hash_model(folder / "models/a.onnx")
    lines = subprocess.run(
        ["sha256sum", "big.data", "big.onnx"], cwd=folder / "models", capture_output=True, check=True, timeout=60
    ).stdout
    size = sum((folder / "models" / name).stat().st_size for name in ("big.data", "big.onnx"))
    assert (hashlib.sha256(lines).hexdigest(), size) == hash_model(folder / "models/big.onnx")
    (model,) = read_models(folder, ["models/big.onnx"])
    assert hash_model(folder / "models/big.onnx") == (model.sha256, model.size)


def test_the_weights_are_the_model(folder: Path) -> None:
    write_split(folder)
    before = hash_model(folder / "models/big.onnx")
    with (folder / "models/big.data").open("r+b") as file:
        file.write(b"\xff")
    assert before != hash_model(folder / "models/big.onnx")


def test_a_model_is_read_once(store: Store, folder: Path) -> None:
    """What is remembered is told: a wrong hash in the memory comes back, so the file was not read."""
    write(folder, a="one")
    path = folder / "models/a.onnx"
    hashes = Hashes(store, f"model {path}", clock=lambda: time.time() + 10)
    seen = hashes.see("a.onnx", str(path), lambda file: ("recalled", {"pointer": False, "external": []}), 1)
    hashes.save()
    assert ("recalled", 3) == (seen.sha256, seen.size) == hash_model(path, store)
    path.write_text("four")
    assert (hashlib.sha256(b"four").hexdigest(), 4) == hash_model(path, store)


def test_the_same_layer_from_another_folder(store: Store, folder: Path, tmp_path: Path) -> None:
    write(folder, a="one")
    write_split(folder)
    shutil.copytree(folder, tmp_path / "elsewhere/copy")
    os.utime(tmp_path / "elsewhere/copy/models/a.onnx", (1, 1))
    (tmp_path / "elsewhere/copy/models/a.onnx").chmod(0o755)
    paths = ["models/a.onnx", "models/big.onnx"]
    first = model_layers(store, folder, paths, max_size=GI)
    assert first == model_layers(Store(tmp_path / "fresh"), tmp_path / "elsewhere/copy", paths, max_size=GI)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            "models/none.onnx",
            "there is no model 'models/none.onnx' in FOLDER: correct the path in upon.Model, or fetch the model first",
        ),
        (
            "/models/a.onnx",
            "the model's path is absolute, and in the image it would name another place: write it relative to"
            " func.yaml's folder",
        ),
        ("../a.onnx", "the model is outside the project's folder: move it there, below func.yaml"),
        ("models/../a.onnx", "the model's path goes up and down again: write it as 'a.onnx'"),
        (".", "the model is the project's folder itself: put it into a folder of its own"),
        ("models", "the model's folder is empty: put the model's files there"),
    ],
)
def test_a_path_that_can_not_be(folder: Path, path: str, said: str) -> None:
    assert [f"{path}: {said}"] == refused(folder, path)


def test_a_pointer_of_lfs(folder: Path) -> None:
    write(folder, a=POINTER)
    said = "'a.onnx' is a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`"
    assert [f"models/a.onnx: {said}"] == refused(folder, "models/a.onnx")


def test_weights_that_are_pointers(folder: Path) -> None:
    write_split(folder)
    (folder / "models/big.data").write_text(POINTER)
    said = "'big.data' is a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`"
    assert [f"models/big.onnx: {said}"] == refused(folder, "models/big.onnx")


def test_missing_weights(folder: Path) -> None:
    write_split(folder)
    (folder / "models/big.data").unlink()
    said = (
        "models/big.onnx: its weights are in 'big.data', and there is no such file beside the model: put it there,"
        " or save the model again with its weights inside"
    )
    assert [said] == refused(folder, "models/big.onnx")


@pytest.mark.parametrize("location", ["../w.data", "/tmp/w.data"])
def test_weights_elsewhere(folder: Path, location: str) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    graph = helper.make_graph([], "g", [], [], [tensor])
    (folder / "models/a.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    (said,) = refused(folder, "models/a.onnx")
    assert f"its weights are at {location!r}, outside the model's folder" in said


@pytest.mark.parametrize("target", ["/etc/hostname", "../../outside.onnx"])
def test_a_link_out_of_the_project(folder: Path, target: str) -> None:
    (folder.parent / "outside.onnx").write_text("x")
    (folder / "models/a.onnx").symlink_to(target)
    (said,) = refused(folder, "models/a.onnx")
    assert said.startswith("models/a.onnx: 'models/a.onnx' is a link that leads out of the project, to /")


def test_a_link_in_a_circle(folder: Path) -> None:
    (folder / "models/a.onnx").symlink_to("b.onnx")
    (folder / "models/b.onnx").symlink_to("a.onnx")
    assert ["models/a.onnx: there is no model 'models/a.onnx' in FOLDER: correct the path in upon.Model, or fetch the"
            " model first"] == refused(folder, "models/a.onnx")  # fmt: skip


def test_a_folder_with_a_link_to_a_folder(folder: Path) -> None:
    (folder / "models/a").mkdir()
    (folder / "models/b").symlink_to("a")
    said = "models: 'b' in the model's folder is a link to a folder: put the files there"
    assert [said] == refused(folder, "models")


def test_larger_than_a_layer_may_be(folder: Path) -> None:
    write(folder, a="x" * 2048)
    said = "models/a.onnx: the model has 2Ki, and build.maxLayerSize is 1Ki: raise build.maxLayerSize"
    assert [f"{said}, if the registry takes such a layer"] == refused(folder, "models/a.onnx", max_size=1024)
    assert 1 == len(read_models(folder, ["models/a.onnx"], max_size=2048))


def test_larger_with_its_weights(folder: Path) -> None:
    write_split(folder)
    (said,) = refused(folder, "models/big.onnx", max_size=4096)
    assert "build.maxLayerSize is 4Ki" in said


def test_every_fault_at_once(folder: Path) -> None:
    write(folder, a=POINTER)
    assert 3 == len(refused(folder, "models/a.onnx", "../b.onnx", "none.onnx"))


READ = """
import sys
from pathlib import Path
from upon_build.image.files.models import read_models
read_models(Path(sys.argv[1]), ["models/a.onnx"])
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_model(folder: Path) -> None:
    """500 MB, all of it a hole, read in less than 100 MB."""
    with (folder / "models/a.onnx").open("wb") as file:
        file.truncate(5 * 10**8)
    command = [sys.executable, "-c", READ, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=110)
    assert int(done.stdout) * 1024 < 100_000_000
