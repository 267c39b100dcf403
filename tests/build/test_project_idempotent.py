from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.projects import HEAD, lines, read, write_project
from upon_build.project import load_project
from upon_runtime.spec import Idempotency

APP = "import upon\n@upon.options(idempotent=True)\n@upon.kafka('orders')\ndef score(event): ...\n"
ONE = "deploy: {scale: {max: 1}}\n"
SHARED = "score is idempotent, idempotency.store is 'sqlite', which replicas can't share, and deploy.scale.max"
REMEDY = "set deploy.scale.max to 1, or idempotency.store to redis or postgresql"
REFERENCE = "write a reference: {{ secret:name:key }}"
PLAIN = f"idempotency.url holds a password as plain text: {REFERENCE}"

#  more of func.yaml, profile, problems
CASES = [
    (ONE, "prod", []),
    ("", "dev", [f"warning app.py:2: {SHARED} has no limit: {REMEDY}"]),
    ("", "prod", [f"error app.py:2: {SHARED} has no limit: {REMEDY}"]),
    ("deploy: {scale: {max: 3}}\nprofiles: {staging: {run: {drainDelay: 1}}}", "staging",
     [f"error app.py:2: {SHARED} is 3: {REMEDY}"]),
    ("idempotency: {store: sqlite}", "prod", [f"error func.yaml:3: {SHARED} has no limit: {REMEDY}"]),
    ("idempotency: {store: redis, url: 'redis://cache'}", "prod", []),
    ("idempotency: {store: redis}", "dev",
     [f"error func.yaml:3: idempotency.store is 'redis', and there is no idempotency.url: {REFERENCE} to its URL"]),
    ("idempotency: {store: postgresql}", "prod",
     [f"error func.yaml:3: idempotency.store is 'postgresql', and there is no idempotency.url: {REFERENCE} to its"
      " URL"]),
    ("idempotency: {store: redis, url: 'redis://:hunter2@cache'}", "prod", [f"warning func.yaml:3: {PLAIN}"]),
    ("idempotency: {store: redis}\nprofiles: {prod: {idempotency: {url: 'redis://u:p@cache'}}}", "prod",
     [f"warning func.yaml:4: {PLAIN}"]),
    ("idempotency: {store: redis, url: 'redis://user@cache'}", "prod", []),
    ("idempotency: {store: redis, url: 'redis://[bad'}", "prod", []),
]  # fmt: skip


@pytest.mark.parametrize(("yaml", "profile", "expected"), CASES, ids=range(len(CASES)))
def test_store(tmp_path: Path, yaml: str, profile: str, expected: list[str]) -> None:
    write_project(tmp_path, HEAD + yaml + "\n", APP)
    assert expected == lines(tmp_path, profile=profile)


@pytest.mark.parametrize("yaml", ["", "idempotency: {store: redis}"])
def test_a_project_without_idempotent_functions_needs_no_store(tmp_path: Path, yaml: str) -> None:
    app = APP.replace("True", "False")
    assert [] == lines(write_project(tmp_path, HEAD + yaml + "\n", app), profile="prod")


@pytest.mark.parametrize(
    ("triggers", "warned"),
    [
        ("@upon.http('GET /a')\n@upon.http('GET /b')", True),
        ("@upon.http('GET /a')\n@upon.http('POST /b')", False),
        ("@upon.http('GET /a')\n@upon.kafka('b')", False),
        ("@upon.cron('0 3 * * *')", False),
    ],
)
def test_what_never_comes_twice(tmp_path: Path, triggers: str, warned: bool) -> None:
    app = f"import upon\n{triggers}\n@upon.options(idempotent=True)\ndef score(event): ...\n"
    message = "score is idempotent and answers GET alone, which is handled every time: remove idempotent"
    found = lines(write_project(tmp_path, HEAD + ONE, app), profile="prod")
    assert ([f"warning app.py:2: {message}"] if warned else []) == found


def test_options_may_say_it_for_one_function(tmp_path: Path) -> None:
    app = APP.replace("@upon.options(idempotent=True)\n", "")
    more = "options:\n  score:\n    idempotent: true\n"
    expected = [f"error func.yaml:5: {SHARED} has no limit: {REMEDY}"]
    assert expected == lines(write_project(tmp_path, HEAD + more, app), profile="prod")


def test_the_url_reaches_the_runtime_and_nobody_else(tmp_path: Path) -> None:
    more = "idempotency: {store: redis, url: '{{ secret:cache:url }}', ttl: PT1H}\n"
    env: dict[str, Any] = {"CACHE_URL": "redis://:hunter2@cache"}
    with load_project(write_project(tmp_path, HEAD + more, APP), env=env) as project:
        spec = project.service_spec()
    assert Idempotency("redis", "redis://:hunter2@cache", 3600.0) == spec.idempotency
    assert spec.functions[0].idempotent
    assert "hunter2" not in repr(spec)


def test_a_url_in_plain_text_is_not_shown(tmp_path: Path) -> None:
    project = read(write_project(tmp_path, HEAD + "idempotency: {store: redis, url: 'redis://u:p@cache'}\n", APP))
    assert "***" == project.settings.get("idempotency.url").shown
