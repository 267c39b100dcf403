from __future__ import annotations

import pytest

from support.projects import HEAD, lines, write_project
from upon._triggers import CronTrigger, HttpTrigger, KafkaTrigger
from upon_build.project import load_project

APP = """\
import upon

@upon.kafka("orders", group="mine", reply_to="out")
@upon.kafka("others")
@upon.cron("0 3 * * *")
@upon.http("POST /score")
@upon.options(timeout=10, retry=3)
def score(event): ...

@upon.cloudevent()
def plain(event): ...
"""

OPTIONS = HEAD + (
    "delivery: {retry: 1}\n"
    "deploy: {timeoutSeconds: 50}\n"
    "options:\n"
    "  score: {retry: 4, timeout: PT5S}\n"
    "profiles:\n"
    "  stage: {delivery: {retry: 2}}\n"
    "  prod: {options: {score: {retry: 5}}}\n"
)

#  func.yaml, profile, variables, function, option, value, origin
WHO = [
    (HEAD, "dev", {}, "plain", "retry", 5, "default"),
    (HEAD, "dev", {}, "plain", "timeout", 60, "default"),
    (HEAD, "dev", {}, "plain", "concurrency", None, "default"),
    (HEAD, "dev", {}, "score", "retry", 3, "app.py:3"),
    (HEAD, "dev", {}, "score", "timeout", 10, "app.py:3"),
    (OPTIONS, "dev", {}, "plain", "retry", 1, "func.yaml:3"),
    (OPTIONS, "dev", {}, "plain", "timeout", 50, "func.yaml:4"),
    (OPTIONS, "stage", {}, "plain", "retry", 2, "func.yaml:8 (profile stage)"),
    (OPTIONS, "dev", {}, "score", "retry", 4, "func.yaml:6"),
    (OPTIONS, "stage", {}, "score", "retry", 4, "func.yaml:6"),
    (OPTIONS, "prod", {}, "score", "retry", 5, "func.yaml:9 (profile prod)"),
    (OPTIONS, "prod", {}, "score", "timeout", 5.0, "func.yaml:6"),
    (OPTIONS, "prod", {"FUNC_DELIVERY_RETRY": "6"}, "score", "retry", 6, "FUNC_DELIVERY_RETRY"),
    (
        OPTIONS,
        "prod",
        {"FUNC_DELIVERY_RETRY": "6", "FUNC_OPTIONS_SCORE_RETRY": "7"},
        "score",
        "retry",
        7,
        "FUNC_OPTIONS_SCORE_RETRY",
    ),
    (OPTIONS, "prod", {"FUNC_OPTIONS_SCORE_RETRY": "7"}, "plain", "retry", 1, "func.yaml:3"),
    (OPTIONS, "dev", {"FUNC_DEPLOY_TIMEOUT_SECONDS": "20"}, "score", "timeout", 5.0, "func.yaml:6"),
    (
        OPTIONS,
        "dev",
        {"FUNC_OPTIONS_PLAIN_CONCURRENCY": "2"},
        "plain",
        "concurrency",
        2,
        "FUNC_OPTIONS_PLAIN_CONCURRENCY",
    ),
]


@pytest.mark.parametrize(("yaml", "profile", "env", "function", "option", "value", "origin"), WHO)
def test_who_says_an_option(tmp_path, yaml, profile, env, function, option, value, origin):
    write_project(tmp_path, yaml, APP)
    with load_project(tmp_path, profile=profile, env=env) as project:
        assert project.problems == ()
        found = next(one for one in project.functions if one.function.name == function).options[option]
        spec = {one.name: one for one in project.service_spec().functions}[function]
    assert (value, origin) == (found.value, found.origin)
    in_force = {"retry": spec.delivery.retry, "timeout": spec.timeout, "concurrency": spec.concurrency}
    assert value == in_force[option] == getattr(spec.function.options, option)


def test_flags_reach_options(tmp_path):
    write_project(tmp_path, OPTIONS, APP)
    with load_project(tmp_path, env={}, flags={"options.score.retry": 9}) as project:
        assert [9, 1] == [one.delivery.retry for one in project.service_spec().functions]


TRIGGERS = """
options:
  score:
    kafka:
      orders: {topic: prod.orders, group: theirs, ordering: key, reply_to: prod.out}
    cron:
      "0 3 * * *": {timezone: Europe/Berlin, catch_up: 2}
    http:
      "POST /score": {reply_to: scored}
"""


def test_triggers_change_and_the_decorated_function_stays(tmp_path):
    write_project(tmp_path, HEAD + TRIGGERS, APP)
    with load_project(tmp_path, env={"FUNC_OPTIONS_SCORE_KAFKA_OTHERS_TOPIC": "x"}) as project:
        assert project.problems == ()
        one = project.functions[0]
        summary = project.summary()["functions"][0]["triggers"]
    assert one.function.triggers == (
        CronTrigger("0 3 * * *", "Europe/Berlin", catch_up=2),
        HttpTrigger("POST /score", reply_to="scored"),
        KafkaTrigger("prod.orders", "theirs", ordering="key", reply_to="prod.out"),
        KafkaTrigger("x"),
    )
    assert KafkaTrigger("orders", "mine", reply_to="out") in one.declared.triggers
    assert summary[2] == {
        "kind": "kafka",
        "topic": "prod.orders",
        "group": "theirs",
        "value": "json",
        "ordering": "key",
        "start": "earliest",
        "reply_to": "prod.out",
        "origins": dict.fromkeys(("topic", "group", "ordering", "reply_to"), "func.yaml:7"),
    }
    assert summary[3] == {
        "kind": "kafka",
        "topic": "x",
        "group": "demo.score",
        "value": "json",
        "ordering": "partition",
        "start": "earliest",
        "origins": {"topic": "FUNC_OPTIONS_SCORE_KAFKA_OTHERS_TOPIC"},
    }
    assert summary[1] == {
        "kind": "http",
        "route": "POST /score",
        "method": "POST",
        "path": "/score",
        "reply_to": "scored",
        "origins": {"reply_to": "func.yaml:11"},
    }


FAULTS = [
    (
        "options: {scor: {retry: 1}}",
        "error func.yaml:3: options names the function 'scor', which is not there: did you mean 'score'?",
    ),
    (
        "options: {score: {kafka: {order: {group: g}}}}",
        "error func.yaml:3: options.score.kafka names the topic 'order', which no decorator has: did you mean"
        " 'orders'?",
    ),
    (
        "options: {score: {cron: {'0 4 * * *': {catch_up: 1}}}}",
        "error func.yaml:3: options.score.cron names the schedule '0 4 * * *', which no decorator has: did you mean"
        " '0 3 * * *'?",
    ),
    (
        "options: {plain: {kafka: {orders: {group: g}}}}",
        "error func.yaml:3: options.plain.kafka names the topic 'orders', which no decorator has: add @upon.kafka to"
        " plain, or remove the entry",
    ),
    (
        "profiles:\n  prod:\n    options:\n      scores: {retry: 1}",
        "error func.yaml:6: options names the function 'scores', which is not there: did you mean 'score'?",
    ),
    (
        "profiles:\n  prod:\n    options:\n      score:\n        http: {POST /scores: {reply_to: x}}",
        "error func.yaml:7: options.score.http names the route 'POST /scores', which no decorator has: did you mean"
        " 'POST /score'?",
    ),
    (
        "options: {score: {cron: {'0 3 * * *': {schedule: 0 0 3 * * *}}}}",
        "error func.yaml:3: score: schedule '0 0 3 * * *' has 6 fields instead of five (minute hour day-of-month month"
        " day-of-week): the seconds come off the front, so write '0 3 * * *'",
    ),
]


@pytest.mark.parametrize(("yaml", "message"), FAULTS, ids=[row[1][:60] for row in FAULTS])
def test_fault(tmp_path, yaml, message):
    assert [message] == lines(write_project(tmp_path, HEAD + yaml + "\n", APP))
