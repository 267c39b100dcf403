from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.small_images import Maker, file, link
from upon_build.image.difference import explain_difference
from upon_build.image.layers.tar import Entry
from upon_build.image.oci import Image


@pytest.fixture
def one(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "one")


@pytest.fixture
def other(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "other")


def differences(one: Maker, a: Image, other: Maker, b: Image) -> list[str]:
    return explain_difference(one.store, a, other.store, b)


def test_the_same_image_has_none(one: Maker, other: Maker) -> None:
    entries = [file("app/a.py"), link("app/b", "a.py")]
    assert [] == differences(one, one.of(entries), other, other.of(entries))


CASES = [
    ([file("app/b.py", b"12")], "'app/b.py' has another content (1 bytes and 2)"),
    ([file("app/b.py", b"y")], "'app/b.py' has another content (1 bytes in both)"),
    ([file("app/b.py", mode=0o755)], "'app/b.py' has another mode (0644 and 0755)"),
    ([link("app/b.py", "a.py")], "'app/b.py' has another type of file ('0' and '2')"),
    ([], "'app/b.py' is only in the first image"),
    ([file("app/b.py"), file("app/c.py")], "'app/c.py' is only in the second image"),
    ([file("app/c.py")], "'app/b.py' is only in the first image (and 1 more paths differ)"),
]


@pytest.mark.parametrize(("entries", "expected"), CASES)
def test_the_first_path_that_differs_is_named(entries: list[Entry], expected: str, one: Maker, other: Maker) -> None:
    a, b = one.of([file("app/a.py"), file("app/b.py")]), other.of([file("app/a.py"), *entries])
    assert [f"layer 'function code' (code): {expected}"] == differences(one, a, other, b)


def test_another_target_of_a_link_is_told(one: Maker, other: Maker) -> None:
    a, b = one.of([link("app/l", "a")]), other.of([link("app/l", "b")])
    assert ["layer 'function code' (code): 'app/l' has another target ('a' and 'b')"] == differences(one, a, other, b)


def test_another_time_is_told(one: Maker, other: Maker) -> None:
    a, b = one.image(one.layer(file("a"))), other.image(other.layer(file("a"), mtime=1))
    assert ["layer 'function code' (code): 'a' has another time (0 and 1)"] == differences(one, a, other, b)


def test_the_same_entries_in_another_order_are_told(one: Maker, other: Maker) -> None:
    a, b = one.of([file("a"), file("b")]), other.of([file("b"), file("a")])
    (line,) = differences(one, a, other, b)
    assert "the same entries in another order" in line


def test_another_compression_of_the_same_files_is_told_as_such(one: Maker, other: Maker) -> None:
    entry = file("a", b"text " * 1000)
    a, b = one.image(one.layer(entry)), other.image(other.layer(entry, level=0))
    (line,) = differences(one, a, other, b)
    assert line.startswith("layer 'function code' (code): the same files, compressed otherwise")


def test_only_layers_that_differ_are_named(one: Maker, other: Maker) -> None:
    same, changed = file("app/a.py"), file("m", b"2")
    a = one.image(one.layer(same), one.layer(file("m"), title="iris"), one.layer(same, title="old"))
    b = other.image(other.layer(same), other.layer(changed, title="iris"), other.layer(same, title="new"))
    assert [
        "layer 'iris' (code): 'm' has another content (1 bytes in both)",
        "layer 'old' (code): only in the first image",
        "layer 'new' (code): only in the second image",
    ] == differences(one, a, other, b)


def test_layers_of_one_title_are_told_apart(one: Maker, other: Maker) -> None:
    a = one.image(one.layer(file("a")), one.layer(file("b")))
    b = other.image(other.layer(file("a")), other.layer(file("c")))
    (line,) = differences(one, a, other, b)
    assert line.startswith("layer 'function code' (code), number 2: 'b' is only")


def test_layers_in_another_order_are_told(one: Maker, other: Maker) -> None:
    a = one.image(one.layer(file("a")), one.layer(file("b"), title="iris"))
    b = other.image(other.layer(file("b"), title="iris"), other.layer(file("a")))
    assert ["the layers are in another order"] == differences(one, a, other, b)


CONFIGS = [
    ({"created": "1"}, {"created": "2"}, 'configuration.created: "1" and "2"'),
    ({"config": {"User": "1"}}, {"config": {}}, 'configuration.config.User: "1" and nothing'),
    ({"config": {"Env": ["A=1", "B"]}}, {"config": {"Env": ["A=1", "C"]}}, 'configuration.config.Env: ["B"] and ["C"]'),
    ({"config": {"Env": ["A", "B"]}}, {"config": {"Env": ["B", "A"]}}, "configuration.config.Env: another order"),
    ({"history": [1]}, {"history": [2]}, "configuration.history: [1] and [2]"),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b", "expected"), CONFIGS)
def test_settings_that_differ_are_named(
    a: dict[str, Any], b: dict[str, Any], expected: str, one: Maker, other: Maker
) -> None:
    assert [expected] == differences(one, one.image(config=a), other, other.image(config=b))


def test_a_manifest_that_differs_is_told(one: Maker, other: Maker) -> None:
    a, b = one.image(annotations={"v": "1"}), other.image(annotations={"v": "x" * 200})
    assert [f'manifest.annotations.v: "1" and "{"x" * 99}…'] == differences(one, a, other, b)
