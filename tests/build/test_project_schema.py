from __future__ import annotations

from importlib.resources import files

import jsonschema
import pytest
from ruamel.yaml import YAML

from support.projects import HEAD, lines, read, write_project
from upon_build.project.publish import schema_text
from upon_build.project.schema import OVERLAID, json_schema

EVERYTHING = """\
specVersion: upon/v1
name: reviews
runtime: python
registry: ghcr.io/acme
functions: [app.py]
x-anything: {goes: here}
build: {builder: native, baseImage: "python:3.12", platforms: [linux/amd64, linux/arm64/v8], maxLayerSize: 10Gi}
run:
  envs: [{name: LOG_LEVEL, value: info}, {name: TOKEN, value: "{{ secret:hub:token }}"}]
  volumes: [{path: /data, emptyDir: {sizeLimit: 1Gi}}, {path: /keys, secret: keys}, {path: /etc/c, configMap: c}]
  startTimeout: 120
  maxBodySize: 16Mi
  drainDelay: PT5S
deploy:
  namespace: ml
  visibility: cluster-local
  triggers: auto
  timeoutSeconds: 60
  containerConcurrency: 0
  gpu: {count: 1, type: nvidia-l4}
  scale: {min: 0, max: 10, target: 16, metric: concurrency}
  resources: {requests: {cpu: 500m, memory: 1Gi}, limits: {cpu: 2, nvidia.com/gpu: 1}}
  serviceAccountName: robot
delivery:
  retry: 5
  backoffPolicy: exponential
  backoffDelay: PT0.2S
  maxDelay: PT5M
  maxInFlight: 1000
  guarantee: at-least-once
  deadLetter: {topic: reviews.dead}
models: {allowLicenses: [Apache-2.0]}
options:
  score:
    timeout: 30
    concurrency: 4
    retry: 2
    idempotent: true
    kafka:
      reviews: {topic: prod, group: g, value: json, ordering: key, start: latest, reply_to: out, reply_type: t}
    cron: {"0 3 * * *": {schedule: "0 4 * * *", timezone: UTC, overlap: allow, catch_up: 1}}
    http: {"POST /score": {reply_to: out}}
profiles:
  dev: {delivery: {deadLetter: none}, kafka: {bootstrap: "a:9092,b:9092"}}
  prod:
    kafka:
      bootstrap: ["kafka:9093"]
      tls: {ca: ca.pem, certificate: c.pem, key: k.pem, verify: true}
      sasl: {mechanism: PLAIN, username: u, password: "{{ secret:kafka:password }}"}
"""

#  text, problem. Both our reader and the JSON Schema must refuse what is an error here.
ERRORS = [
    ("delivery: {retry: '5'}", "func.yaml:3: delivery.retry must be a whole number >= 0, not '5': write 5"),
    ("delivery: {retry: -1}", "func.yaml:3: delivery.retry must be a whole number >= 0, not -1"),
    ("delivery: {retry: true}", "func.yaml:3: delivery.retry must be a whole number >= 0, not True"),
    ("delivery: {retry: 1.5}", "func.yaml:3: delivery.retry must be a whole number >= 0, not 1.5"),
    (
        "delivery: 5",
        "func.yaml:3: delivery must be a mapping with keys such as retry, backoffPolicy, backoffDelay, not 5",
    ),
    (
        "delivery: {guarantee: perhaps}",
        "func.yaml:3: delivery.guarantee must be 'at-least-once' or 'exactly-once', not 'perhaps'",
    ),
    (
        "delivery: {backoffPolicy: exponental}",
        "func.yaml:3: delivery.backoffPolicy must be 'exponential' or 'linear', not 'exponental': did you mean"
        " 'exponential'?",
    ),
    (
        "delivery: {backoffDelay: 200ms}",
        "func.yaml:3: delivery.backoffDelay must be a duration in seconds, or ISO 8601 such as PT0.2S or PT5M, not"
        " '200ms'",
    ),
    (
        "delivery: {backoffDelay: P}",
        "func.yaml:3: delivery.backoffDelay must be a duration in seconds, or ISO 8601 such as PT0.2S or PT5M, not 'P'",
    ),
    (
        "run: {startTimeout: 0}",
        "func.yaml:3: run.startTimeout must be a duration > 0 in seconds, or ISO 8601 such as PT0.2S or PT5M, not 0",
    ),
    (
        "delivery: {deadLetter: reviews.dead}",
        "func.yaml:3: delivery.deadLetter must be `none`, or a mapping such as {topic: reviews.dead}, not"
        " 'reviews.dead'",
    ),
    (
        "delivery: {deadLetter: {topic: a/b}}",
        "func.yaml:3: delivery.deadLetter must be `none`, or a mapping such as {topic: reviews.dead}, not a mapping",
    ),
    (
        "run: {maxBodySize: 16 MX}",
        "func.yaml:3: run.maxBodySize must be a size > 0 in bytes, or with a unit such as 16Mi or 10Gi, not '16 MX'",
    ),
    (
        "run:\n  envs:\n  - {name: A, value: 5}",
        'func.yaml:5: run.envs[0].value must be a string, not 5: put it in quotes: "5"',
    ),
    (
        "run:\n  envs:\n  - {name: A, value: a}\n  - {name: B}",
        "func.yaml:6: run.envs[1].value is missing: add `value:`, a string",
    ),
    ("run: {envs: {A: b}}", "func.yaml:3: run.envs must be a list, not a mapping"),
    ("run: {envs: [{name: A-B, value: a}]}", "func.yaml:3: run.envs[0].name must be a variable's name, not 'A-B'"),
    (
        "deploy: {timeoutSeconds: 601}",
        "func.yaml:3: deploy.timeoutSeconds must be a whole number from 1 to 600, not 601",
    ),
    ("deploy: {visibility: yes}", "func.yaml:3: deploy.visibility must be 'cluster-local' or 'public', not 'yes'"),
    (
        "deploy: {triggers: hosts}",
        "func.yaml:3: deploy.triggers must be one of auto, host, eventing, direct, not 'hosts': did you mean 'host'?",
    ),
    (
        "deploy: {namespace: My_Team}",
        "func.yaml:3: deploy.namespace must be a namespace's name, not 'My_Team': write my-team",
    ),
    (
        "deploy: {resources: {limits: {memory: lots}}}",
        "func.yaml:3: deploy.resources.limits.memory must be a Kubernetes quantity such as 500m, 2 or 1Gi, not 'lots'",
    ),
    (
        "kafka: {bootstrap: [kafka]}",
        "func.yaml:3: kafka.bootstrap[0] must be an address such as kafka:9092, not 'kafka'",
    ),
    ("kafka: {tls: true}", "func.yaml:3: kafka.tls must be a mapping with keys such as ca, certificate, key, not True"),
    ("kafka: {tls: {verify: no}}", "func.yaml:3: kafka.tls.verify must be true or false, not 'no'"),
    ("kafka: {sasl: {password: 5}}", "func.yaml:3: kafka.sasl.password must be a string, not that"),
    (
        "options: {score: {timeout: 0}}",
        "func.yaml:3: options.score.timeout must be a duration > 0 in seconds, or ISO 8601 such as PT0.2S or PT5M,"
        " not 0",
    ),
    ("options: [score]", "func.yaml:3: options must be a mapping, not a list"),
    (
        "options:\n  score:\n    kafka:\n      orders: {topic: a b}",
        "func.yaml:6: options.score.kafka.orders.topic must be a topic's name: 1 to 249 letters, digits, '.', '_' and"
        " '-', not 'a b': write a-b",
    ),
    (
        "profiles:\n  prod:\n    delivery:\n      retry: x",
        "func.yaml:6: profiles.prod.delivery.retry must be a whole number >= 0, not 'x'",
    ),
    ("specVersion: 0.36.0", "func.yaml:3: specVersion must be 'upon/v1', not '0.36.0'"),
    ("runtime: go", "func.yaml:3: runtime must be 'python', not 'go'"),
]


@pytest.mark.parametrize(("text", "message"), ERRORS, ids=[row[0][:40] for row in ERRORS])
def test_wrong_value_is_an_error_with_its_line(tmp_path, text, message):
    problems = read(write_project(tmp_path, HEAD + text)).problems
    assert [("error", message)] == [(problem.severity, str(problem)) for problem in problems]
    assert not is_valid(HEAD + text)


NAME = "func.yaml:1: name {} 1 to 63 lower-case letters, digits and '-', from a letter to a letter or digit{}"
LIST = "func.yaml:{}: functions {} a list with at least one entry{}"
FILE = "func.yaml:2: functions[0] must be a Python file's path, relative to func.yaml's folder, not {}"
HEADS = [
    ("functions: [app.py]", NAME.format("is missing: add `name:`,", "")),
    ("name: My App\nfunctions: [app.py]", NAME.format("must be", ", not 'My App': write my-app")),
    ("name: 1a\nfunctions: [app.py]", NAME.format("must be", ", not '1a': write a")),
    ("name: a-\nfunctions: [app.py]", NAME.format("must be", ", not 'a-': write a")),
    ("name: 5\nfunctions: [app.py]", NAME.format("must be", ", not 5")),
    (f"name: {'a' * 64}\nfunctions: [app.py]", NAME.format("must be", f", not {repr('a' * 64)[:57]}...")),
    ("name: a", LIST.format(1, "is missing: add `functions:`,", "")),
    ("name: a\nfunctions:", LIST.format(2, "is missing: add `functions:`,", "")),
    ("name: a\nfunctions: []", LIST.format(2, "must be", ", not an empty list")),
    ("name: a\nfunctions: app.py", LIST.format(2, "must be", ", not 'app.py'")),
    ("name: a\nfunctions: [app]", FILE.format("'app'")),
    ("name: a\nfunctions: [/app.py]", FILE.format("'/app.py'")),
]


@pytest.mark.parametrize(("text", "message"), HEADS, ids=[row[0][:40] for row in HEADS])
def test_what_every_project_needs(tmp_path, text, message):
    problems = read(write_project(tmp_path, text)).problems
    assert [("error", message)] == [(problem.severity, str(problem)) for problem in problems]
    assert not is_valid(text) or text.endswith("functions:")


UNKNOWN = [
    ("deliver: {}", "func.yaml:3: deliver is not a known key: did you mean 'delivery'?"),
    (
        "deploy:\n  namespace: ml\n  timeoutSecond: 3",
        "func.yaml:5: deploy.timeoutSecond is not a known key: did you mean 'timeoutSeconds'?",
    ),
    (
        "delivery: {max_in_flight: 3}",
        "func.yaml:3: delivery.max_in_flight is not a known key: did you mean 'maxInFlight'?",
    ),
    (
        "kafka: {colour: blue}",
        "func.yaml:3: kafka.colour is not a known key: there is bootstrap, groupInstanceId,"
        " maxPollInterval, sasl, sessionTimeout, tls",
    ),
    (
        "kafka: {1: blue}",
        "func.yaml:3: kafka.1 is not a known key: there is bootstrap, groupInstanceId,"
        " maxPollInterval, sasl, sessionTimeout, tls",
    ),
    (
        "run: {envs: [{name: A, value: a, valu: b}]}",
        "func.yaml:3: run.envs[0].valu is not a known key: did you mean 'value'?",
    ),
    (
        "options: {score: {retries: 3}}",
        "func.yaml:3: options.score.retries is not a known key: did you mean 'retry'?",
    ),
    (
        "profiles:\n  prod: {kafak: {}}",
        "func.yaml:4: profiles.prod.kafak is not a known key: did you mean 'kafka'?",
    ),
    (
        "profiles: {prod: {profiles: {}}}",
        "func.yaml:3: profiles.prod.profiles is not a known key: there is build, delivery, deploy, functions,"
        " idempotency, kafka, models, options, registry, run, runtime",
    ),
]


@pytest.mark.parametrize(("text", "message"), UNKNOWN, ids=[row[0][:40] for row in UNKNOWN])
def test_unknown_key_is_a_warning(tmp_path, text, message):
    problems = read(write_project(tmp_path, HEAD + text)).problems
    assert [("warning", message)] == [(problem.severity, str(problem)) for problem in problems]


def test_everything_at_once_has_no_problem(tmp_path):
    assert read(write_project(tmp_path, EVERYTHING), profile="prod").problems == ()
    assert is_valid(EVERYTHING)


def test_all_problems_are_told_at_once(tmp_path):
    write_project(tmp_path, "name: 5\nfunctions: [gone.py]\ndelivery: {retry: x, foo: 1}\n")
    assert [line.split(":")[1] for line in lines(tmp_path)] == ["1", "3", "2", "3"]


def test_half_an_entry_is_no_entry(tmp_path):
    envs = "[{name: A, value: 5}, {name: B}, {name: 5, value: c}, {name: D, value: d}]"
    project = read(write_project(tmp_path, HEAD + f"run: {{envs: {envs}}}\n"))
    assert len(project.errors) == 3
    assert project.environment() == {"D": "d"}


def test_keys_without_a_value_are_not_there(tmp_path):
    project = read(write_project(tmp_path, HEAD + "run:\ndelivery: {retry: }\nprofiles:\n"))
    assert project.problems == ()
    assert project.settings["delivery.retry"] == 5


def test_the_published_json_schema_is_the_one_in_force():
    published = (files("upon_build") / "schema.json").read_text()
    assert schema_text() == published, "run: python -m upon_build.project.publish > build/upon_build/schema.json"
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_every_key_is_explained():
    def undocumented(node, path=""):
        for name, part in node.get("properties", {}).items():
            if "description" not in part and "$ref" not in part:
                yield f"{path}.{name}"
            yield from undocumented(part, f"{path}.{name}")

    schema = json_schema()
    assert [*undocumented(schema), *(u for d in schema["$defs"].values() for u in undocumented(d))] == []


def test_profiles_may_overlay_every_key_of_the_top():
    assert set(json_schema()["properties"]) - {"specVersion", "name", "profiles"} == set(OVERLAID)


def is_valid(text: str) -> bool:
    return jsonschema.Draft202012Validator(json_schema()).is_valid(YAML(typ="safe").load(text))
