"""However large the model, a build and push take little memory."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.builds import TIMEOUT, Builder, copied, settings
from support.registry import RealRegistry
from support.rootfs import base_layer, push_base

SIZE = int(float(os.environ.get("UPON_LARGE_MODEL", 2)) * 2**30)  # bytes
BLOCK = 64 * 2**20  # does not compress, and lies further apart than a compressor looks back
LIMIT = 200_000_000  # bytes
# What a process that this one starts is charged with begins with this one's own size, so a small one lies between.
MEASURE = """
import json, resource, subprocess, sys, time
began = time.monotonic()
done = subprocess.run(sys.argv[2:], stdout=subprocess.PIPE)
said = {"code": done.returncode, "stdout": done.stdout.decode(), "seconds": time.monotonic() - began,
        "rss": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024}
open(sys.argv[1], "w").write(json.dumps(said))
"""


@pytest.fixture
def room() -> Iterator[Path]:
    """A folder that is gone with the test: it holds the model three times over."""
    with tempfile.TemporaryDirectory(prefix="upon-large-") as folder:
        yield Path(folder)


@pytest.fixture
def own_builder(room: Path, builder: Builder) -> Iterator[Builder]:
    """With the session's packages, and a registry and a cache that end with the test."""
    (room / "registry").mkdir()
    server = RealRegistry(room / "registry")
    server.start()
    base = push_base(server.host, "base/python", base_layer().read_bytes())
    yield replace(builder, registry=server, base=base, cache=room / "cache")
    server.stop()


def write_model(folder: Path) -> None:
    """A graph with one tensor, which lies in a file of its own."""
    onnx = pytest.importorskip("onnx")
    tensor = onnx.TensorProto(name="weights", data_type=onnx.TensorProto.UINT8, dims=[SIZE])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="large.onnx.data")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["weights"], ["all"])],
        "large", [], [onnx.helper.make_tensor_value_info("all", onnx.TensorProto.UINT8, [SIZE])], [tensor],
    )  # fmt: skip
    (folder / "large.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    block = random.Random(7).randbytes(BLOCK)
    with open(folder / "large.onnx.data", "wb") as file:
        for begin in range(0, SIZE, BLOCK):
            file.write(block[: SIZE - begin])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_does_not_grow_with_the_model(own_builder: Builder, small_project: Path, room: Path) -> None:
    folder = copied(small_project, room / "project")
    write_model(folder)
    with open(folder / "app.py", "a") as file:
        file.write("\nlarge = upon.Model('large', 'large.onnx')\n")
    settings(folder, "build: {maxLayerSize: 10Gi}\n")
    locked = measured(own_builder, folder, "lock")
    built = measured(own_builder, folder, *own_builder.arguments("large/model"))
    again = measured(own_builder, folder, *own_builder.arguments("large/model"))

    for name, seconds, rss, _ in (locked, built, again):
        print(f"{name}: {SIZE / 2**30:g} GiB in {seconds:.1f} s, {rss / 1e6:.0f} MB of memory at most")
    assert max(rss for _, _, rss, _ in (locked, built, again)) < LIMIT
    manifest = json.loads(own_builder.registry.blob(built[3]).read_bytes())
    assert max(layer["size"] for layer in manifest["layers"]) > SIZE
    assert built[3] == again[3]


def measured(builder: Builder, folder: Path, *arguments: str) -> tuple[str, float, int, str]:
    """Name, seconds, the largest process' memory in bytes, and the image's digest."""
    report = folder.parent / "report.json"
    subprocess.run(
        [sys.executable, "-c", MEASURE, str(report), *builder.command, *arguments],
        cwd=folder, env=builder.variables(), check=True, timeout=TIMEOUT,
    )  # fmt: skip
    found = json.loads(report.read_text())
    assert 0 == found["code"], found
    image = json.loads(found["stdout"])["image"] if arguments[0] == "build" else ""
    return arguments[0], found["seconds"], found["rss"], image.rpartition("@")[2]
