"""Writes the JSON Schema of func.yaml: `python -m upon_build.project.publish > build/upon_build/schema.json`."""

from __future__ import annotations

import json

from upon_build.project.schema import json_schema


def schema_text() -> str:
    """The text of the published file; a test compares the two."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
