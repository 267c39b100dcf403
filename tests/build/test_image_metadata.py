from __future__ import annotations

import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from upon import UponError
from upon_build.image.packages.metadata import MAX_METADATA, licenses_of, normalized, read_metadata


def wheel(folder: Path, *headers: str, body: str = "") -> Path:
    """A wheel of which nothing is there but its METADATA."""
    path = folder / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        lines = ["Metadata-Version: 2.4", "Name: Thing.One", "Version: 1.0", *headers, "", body]
        archive.writestr("thing-1.0.dist-info/METADATA", "\n".join(lines))
    return path


def test_name_version_and_requirements_are_read(tmp_path: Path) -> None:
    path = wheel(
        tmp_path,
        "Requires-Dist: numpy<3,>=1.26",
        "Requires-Dist: Ruamel.yaml (>=0.18)",
        "Requires-Dist: typing_extensions; python_version < '3.13'",
        "Requires-Dist: requests[socks]>=2 ; extra == 'web'",
        "Requires-Dist: numpy; sys_platform == 'linux'",
        body="License: in the description counts for nothing",
    )
    found = read_metadata(path)
    assert ("Thing.One", "1.0") == (found.name, found.version)
    assert ("numpy", "ruamel-yaml", "typing-extensions") == found.requires
    assert () == found.licenses


LICENSES = [
    ("License-Expression: MIT OR Apache-2.0\nLicense: other", ({"expression": "MIT OR Apache-2.0"},)),
    ("License: MIT", ({"license": {"id": "MIT"}},)),
    ("License: MIT License", ({"license": {"id": "MIT"}},)),
    ("License: The MIT License", ({"license": {"id": "MIT"}},)),
    ("License: Apache License, Version 2.0", ({"license": {"id": "Apache-2.0"}},)),
    ("License: Apache 2.0", ({"license": {"id": "Apache-2.0"}},)),
    ("License: LGPL-2.1-or-later", ({"license": {"id": "LGPL-2.1-or-later"}},)),
    ("License: BSD", ({"license": {"name": "BSD"}},)),
    ("License: UNKNOWN", ()),
    ("License: Our own terms", ({"license": {"name": "Our own terms"}},)),
    ("Classifier: License :: OSI Approved :: ISC License (ISCL)", ({"license": {"id": "ISC"}},)),
    ("Classifier: License :: OSI Approved", ()),
    ("Classifier: License :: OSI Approved :: BSD License", ({"license": {"name": "BSD License"}},)),
    (
        "Classifier: License :: OSI Approved :: MIT License\n"
        "Classifier: License :: OSI Approved :: Apache Software License\nClassifier: Topic :: Internet",
        ({"license": {"id": "MIT"}}, {"license": {"id": "Apache-2.0"}}),
    ),
    (
        "License: Copyright (c) 2005\n        All rights reserved.\nClassifier: License :: OSI Approved :: MIT License",
        ({"license": {"id": "MIT"}},),
    ),
    ("License: Copyright (c) 2005\n        All rights reserved.", ({"license": {"name": "Copyright (c) 2005"}},)),
]


@pytest.mark.parametrize(("headers", "expected"), LICENSES)
def test_a_licence_is_found_however_it_is_said(headers: str, expected: tuple[object, ...]) -> None:
    assert expected == licenses_of(message_from_string(headers + "\n\n"))


def test_names_are_compared_as_indexes_do() -> None:
    assert "ruamel-yaml" == normalized("Ruamel__.Yaml")


def test_what_is_no_wheel_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "thing-1.0-py3-none-any.whl"
    path.write_bytes(b"nothing")
    with pytest.raises(UponError, match=r"'thing-1\.0-py3-none-any\.whl' is no wheel"):
        read_metadata(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("thing/METADATA", "Name: thing")
    with pytest.raises(UponError, match="needs one METADATA"):
        read_metadata(path)


def test_a_metadata_file_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb-1.0.dist-info/METADATA", b"\0" * (MAX_METADATA + 1))
    with pytest.raises(UponError, match="needs one METADATA"):
        read_metadata(path)
