from __future__ import annotations

import pytest

from upon_build.labels import as_label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Ünï Service_2", "uni-service-2"),
        ("9lives", "lives"),
        ("-x-", "x"),
        ("日本", ""),
    ],
)
def test_as_label(text: str, label: str) -> None:
    assert label == as_label(text)
