"""A model's licence is told where its own folder says it, and never guessed from the project's."""

from __future__ import annotations

from pathlib import Path

import pytest

from upon_build.image.files.about import About, read_about
from upon_build.image.files.licenses import model_license

APACHE = "                                 Apache License\n                           Version 2.0, January 2004\n"
MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy of this\nsoftware and associated"


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("README.md", "---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n", "Apache-2.0"),
        ("README.md", '---\nlicense: "openrail"  # of its kind\n---\n', "openrail"),
        ("MODEL_CARD.md", "---\r\nlicense: mit\r\n---\r\n", "MIT"),
        ("README.md", "# A model\n\nlicense: mit\n", ""),
        ("README.md", "---\nlicense: [a, b]\n---\n", ""),
        ("LICENSE", APACHE, "Apache-2.0"),
        ("LICENSE.txt", MIT, "MIT"),
        ("LICENSE", "All rights reserved.\n", ""),
        ("notes.txt", MIT, ""),
    ],
)
def test_the_models_folder_tells(file: str, text: str, expected: str, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    (folder / file).write_text(text)
    (folder / "m.onnx").write_bytes(b"")

    assert expected == model_license(tmp_path, "models/m/m.onnx")
    assert expected == model_license(tmp_path, "models/m")


def test_the_projects_licence_is_not_the_models(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text(MIT)
    (tmp_path / "m.onnx").write_bytes(b"")

    assert "" == model_license(tmp_path, "m.onnx")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[project]\nname = "x"\nversion = "1.4"\nlicense = "MIT"\n', About("1.4", "MIT")),
        ('[project]\nlicense = {file = "LICENSE"}\ndynamic = ["version"]\n', About()),
        ("project = 1\n", About()),
        ("[tool.x]\n", About()),
        ("not toml", About()),
        (None, About()),
    ],
)
def test_version_and_licence_of_a_project_are_those_of_pyproject(
    text: str | None, expected: About, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)

    assert expected == read_about(tmp_path)
