"""Deployments for tests: Wanted from a func.yaml and functions, and a variety of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

import upon
from upon import Function
from upon_build.cluster.objects.wanted import Wanted, wanted_of
from upon_build.project.file import read_file
from upon_build.project.manifest import Manifest, plain

IMAGE = "registry.example.com/acme/demo@sha256:" + "0a" * 32


def handler(name: str) -> Callable[..., Any]:
    def handle(event: upon.Event) -> None: ...

    handle.__name__ = handle.__qualname__ = name
    return handle


SCORE: Function[..., Any] = upon.http("POST /score")(handler("score"))


def wanted(
    folder: Path,
    yaml: str | Mapping[str, Any] = "",
    *functions: Function[..., Any],
    profile: str | None = None,
    built_from: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    **flags: Any,
) -> Wanted:
    """yaml: func.yaml without name and functions, as text or content. built_from: what the image's says, if otherwise.

    flags: with `__` for a dot.
    """
    head = {"name": "demo", "functions": ["app.py"]}
    text = f"name: demo\nfunctions: [app.py]\n{yaml}" if isinstance(yaml, str) else _json({**head, **yaml})
    (folder / "func.yaml").write_text(text)
    data = plain(read_file(folder / "func.yaml").data)
    said = data if built_from is None else {**head, **built_from}
    project = {key: value for key, value in said.items() if key != "profiles"}
    manifest = Manifest(data["name"], functions or (SCORE,), project=project)
    given = {name.replace("__", "."): value for name, value in flags.items()}
    return wanted_of(manifest, IMAGE, folder, profile=profile, env=env or {}, flags=given)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)  # YAML knows no surrogates


# A variety

_names = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
_words = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=20)
_values = st.sampled_from(["on", "1e3", "$(HOME)", "a $$ b", "null", 'it\'s "so"', "12:30", "%", "{}", ""]) | _words
_variables = st.from_regex(r"[A-JL-Z][A-Z0-9_]{0,12}", fullmatch=True).filter(lambda name: name not in ("PORT", "HOST"))
_references = st.builds("{{{{ {}:{}:{} }}}}".format, st.sampled_from(["secret", "configMap"]), _names, _names)
_envs = st.lists(
    st.fixed_dictionaries(
        {
            "name": _variables.map("X{}".format),
            "value": _values.filter(lambda v: "{{" not in v and "}}" not in v) | _references,
        }
    ),
    max_size=3,
    unique_by=lambda env: env["name"],
)
_sources = st.one_of(
    st.builds(lambda name: {"secret": name}, _names),
    st.builds(lambda name: {"configMap": name}, _names),
    st.sampled_from([{"emptyDir": {}}, {"emptyDir": {"sizeLimit": "64Mi"}}]),
)
_volumes = st.lists(
    st.builds(lambda path, source: {"path": f"/mnt/{path}", **source}, _names, _sources),
    max_size=2,
    unique_by=lambda volume: volume["path"],
)
_labels = st.dictionaries(
    _names | _names.map("example.com/{}".format), st.from_regex(r"[A-Za-z0-9]{0,9}", fullmatch=True), max_size=2
)


def _some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


_scale = _some(
    target=st.integers(1, 500),
    metric=st.sampled_from(["concurrency", "rps"]),
    utilization=st.integers(1, 100),
    window=st.integers(6, 3600),
    downDelay=st.integers(0, 3600),
    keepLast=st.integers(0, 3600),
).flatmap(
    lambda rest: st.tuples(st.integers(0, 3), st.sampled_from([0, 3, 10])).map(
        lambda ends: {**rest, "min": ends[0], "max": ends[1]}
    )
)
_resources = st.sampled_from(
    [
        {},
        {"requests": {"cpu": "500m"}},
        {"requests": {"cpu": "0.5", "memory": "1Gi"}, "limits": {"cpu": 2, "memory": "1.5Gi"}},
        {"limits": {"memory": "128M", "ephemeral-storage": "2Gi"}},
    ]
)
_gpu = st.sampled_from([{}, {"count": 1}, {"count": 2, "resource": "nvidia.com/mig-1g.5gb"}])
DEPLOY = _some(
    namespace=st.just("default"),
    visibility=st.sampled_from(["cluster-local", "public"]),
    expose=st.lists(st.sampled_from(["/metrics", "/v2"]), unique=True),
    timeoutSeconds=st.integers(60, 600),
    containerConcurrency=st.integers(0, 1000),
    scale=_scale,
    resources=_resources,
    gpu=_gpu,
    serviceAccountName=_names,
    imagePullSecrets=st.lists(_names, max_size=2),
    tmpSize=st.sampled_from(["1Gi", "1000k", 12345]),
    labels=_labels,
    annotations=st.dictionaries(_names.map("example.com/{}".format), _values, max_size=2),
)
_run = _some(
    envs=_envs,
    volumes=_volumes,
    startTimeout=st.integers(1, 4000) | st.sampled_from([0.5, "PT3M"]),
    maxBodySize=st.integers(1, 10**9),
    drainDelay=st.integers(0, 20),
)
_kafka = st.fixed_dictionaries(
    {"bootstrap": st.just(["kafka:9092"])},
    optional={
        "tls": st.sampled_from([{}, {"verify": False}, {"ca": "ca.pem"}]),
        "sasl": st.builds(lambda ref: {"username": "me", "password": ref}, _references),
    },
)
_delivery = _some(
    retry=st.integers(0, 9),
    backoffDelay=st.sampled_from([0.1, "PT2S"]),
    deadLetter=st.sampled_from(["none", {"topic": "dead"}]),
)
_options = _some(score=_some(timeout=st.integers(1, 60), retry=st.integers(0, 3)))
_part = _some(run=_run, deploy=DEPLOY, delivery=_delivery, options=_options, kafka=_kafka)


def _functions() -> st.SearchStrategy[tuple[Function[..., Any], ...]]:
    more = [
        upon.kafka("orders", reply_to="orders.scored")(handler("orders")),
        upon.cron("0 3 * * *", timezone="Europe/Berlin")(handler("nightly")),
        upon.cloudevent(type="com.example.paid", source="/shop")(handler("paid")),
        upon.options(concurrency=4)(upon.http("GET /items/{item}")(handler("items"))),
    ]
    return st.lists(st.sampled_from(more), unique_by=lambda one: one.name).map(lambda found: (SCORE, *found))


# A func.yaml with a profile, an older one that the image was built from, and the functions.
PROJECTS = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?", fullmatch=True),
        "yaml": _part.flatmap(
            lambda base: st.tuples(_part, _kafka).map(
                lambda two: {**base, "profiles": {"prod": {**two[0], "kafka": two[1]}}}
            )
        ),
        "functions": _functions(),
        "env": st.dictionaries(
            st.sampled_from(["FUNC_DELIVERY_RETRY", "FUNC_OPTIONS_SCORE_RETRY", "FUNC_DEPLOY_SCALE_TARGET"]),
            st.sampled_from(["1", "7"]),
        ),
    }
)


def made(folder: Path, project: Mapping[str, Any], **flags: Any) -> Wanted:
    """One of PROJECTS."""
    yaml = {"name": project["name"], **project["yaml"]}
    return wanted(folder, yaml, *project["functions"], env=project["env"], **flags)
