"""The bill of materials lists the function code as it lies in the image's layer."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from upon_build.image.documents.supply import code_files
from upon_build.image.layers.layer import make_layer
from upon_build.image.layers.tar import Entry
from upon_build.image.oci import CONFIG, MANIFEST, Image, describe
from upon_build.image.store import Store
from upon_build.project import ProjectError

FILES = {"app/app.py": b"a = 1\n", "app/lib/b.py": b""}


def entry(path: str, content: bytes) -> Entry:
    return Entry(path, 0o644, "file", len(content), lambda: io.BytesIO(content))


def image(store: Store) -> Image:
    code = [
        *(entry(path, content) for path, content in FILES.items()),
        Entry("app/link", 0o777, "link", target="app.py"),
    ]
    layers = (
        make_layer(store, "model", lambda: [entry("app/m.onnx", b"weights")], title="m", kind="model"),
        make_layer(store, "code", lambda: code, title="code", kind="code"),
    )
    return Image(describe(b"{}", MANIFEST), b"{}", b"{}", describe(b"{}", CONFIG), layers)


def test_files_are_those_of_the_code_layer(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    made = image(store)
    expected = [(path, hashlib.sha256(content).hexdigest()) for path, content in FILES.items()]

    assert expected == code_files(made, store)
    blob = store.find(made.layers[1].descriptor.digest)
    assert blob is not None
    blob.unlink()
    assert expected == code_files(made, store)  # it is remembered


def test_a_blob_that_was_pruned_meanwhile_is_told(tmp_path: Path) -> None:
    made = image(Store(tmp_path / "store"))

    with pytest.raises(ProjectError, match="is gone: run the command again"):
        code_files(made, Store(tmp_path / "other"))
