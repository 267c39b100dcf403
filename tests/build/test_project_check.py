from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support.projects import HEAD, lines, write_project
from upon import MissingExtra

LATE = "which is not there at run time: import or define it at module level, not under `if TYPE_CHECKING`"

#  more of func.yaml, app.py after two lines of imports, problems
FAULTS = [
    (
        "",
        "@upon.kafka('a')\ndef score(event, model): ...\n",
        ["error app.py:3: score has more than one required parameter (event, model): a handler is given one, the"
         " event or its data"],
    ),
    (
        "",
        "@upon.kafka('a')\ndef score(event: 'Event[Nowhere]'): ...\n",
        [f"error app.py:3: score(event: Event[Nowhere]): the annotation needs 'Nowhere', {LATE}"],
    ),
    (
        "",
        "@upon.kafka('a')\n@upon.batched(max_size=3)\ndef score(event: Event): ...\n",
        ["error app.py:3: score has @upon.batched, but takes one event: take a list, such as list[Event], or remove"
         " @upon.batched"],
    ),
    (
        "",
        "@upon.kafka('a')\n@upon.batched()\ndef score(data: dict): ...\n",
        ["error app.py:3: score has @upon.batched, but takes the data of one event: take a list, such as"
         " list[Event], or remove @upon.batched"],
    ),
    ("", "@upon.kafka('a')\n@upon.batched()\ndef score(events: list[Event]): ...\n", []),
    (
        "",
        "@upon.cron('0 0 3 * * *')\ndef tick(): ...\n",
        ["error app.py:3: tick: schedule '0 0 3 * * *' has 6 fields instead of five (minute hour day-of-month month"
         " day-of-week): the seconds come off the front, so write '0 3 * * *'"],
    ),
    (
        "",
        "@upon.cron('0 3 * * *', timezone='Europe/Berlinn')\ndef tick(): ...\n",
        ["error app.py:3: tick: timezone 'Europe/Berlinn' is not known: did you mean 'Europe/Berlin'?"],
    ),
    (
        "",
        "@upon.cron('*/5 * * * *', jitter=300)\ndef tick(): ...\n",
        ["error app.py:3: tick: jitter=300 is not shorter than the 300 s between two ticks of '*/5 * * * *': a tick has"
         " to fire before the next one, so lower it"],
    ),
    (
        "options: {tick: {cron: {'0 3 * * *': {schedule: '0 * * * *'}}}}",
        "@upon.cron('0 3 * * *', jitter=7200)\ndef tick(): ...\n",
        ["error app.py:3: tick: jitter=7200 is not shorter than the 3600 s between two ticks of '0 * * * *': a tick has"
         " to fire before the next one, so lower it"],
    ),
    ("", "@upon.cron('*/5 * * * *', jitter=299)\ndef tick(): ...\n", []),
    (
        "",
        "@upon.kafka('a', reply_to='a')\ndef score(event): ...\n",
        ["warning app.py:3: score replies to 'a', the topic it reads: its replies come back as events: reply to"
         " another topic"],
    ),
    (
        "",
        "@upon.kafka('a')\n@upon.kafka('b', reply_to='a')\ndef score(event): ...\n",
        ["warning app.py:3: score replies to 'a', the topic it reads: its replies come back as events: reply to"
         " another topic"],
    ),
    (
        "delivery: {deadLetter: {topic: a}}",
        "@upon.kafka('a')\ndef score(event): ...\n",
        ["error func.yaml:3: delivery.deadLetter is 'a', which score reads: failed events would go round: name"
         " another topic"],
    ),
    (
        "deploy: {timeoutSeconds: 20}",
        "@upon.kafka('a')\n@upon.options(timeout=30)\ndef score(event): ...\n",
        ["error app.py:3: score has a timeout of 30 s, and deploy.timeoutSeconds ends every request after 20 s: raise"
         " deploy.timeoutSeconds (at most 600), or lower the timeout to 20"],
    ),
    (
        "options: {score: {timeout: 61}}",
        "@upon.kafka('a')\ndef score(event): ...\n",
        ["error func.yaml:3: score has a timeout of 61 s, and deploy.timeoutSeconds ends every request after 60 s:"
         " raise deploy.timeoutSeconds (at most 600), or lower the timeout to 60"],
    ),
    ("deploy: {timeoutSeconds: 30}", "@upon.kafka('a')\n@upon.options(timeout=30)\ndef score(event): ...\n", []),
    (
        "delivery:\n  backoffDelay: 400",
        "@upon.kafka('a')\ndef score(event): ...\n",
        ["error func.yaml:4: delivery.backoffDelay of 400 s is longer than delivery.maxDelay of 300 s: lower"
         " backoffDelay, or raise maxDelay"],
    ),
    (
        "",
        "model = upon.Model('m', 'models/m.onxx')\n@upon.kafka('a')\ndef score(event): ...\n",
        ["error app.py:3: model 'm': the file 'models/m.onxx' is not there: did you mean 'models/m.onnx'?"],
    ),
    (
        "",
        "model = upon.Model('m', 'models')\n@upon.kafka('a')\ndef score(event): ...\n",
        ["error app.py:3: model 'm': the file 'models' is a folder: did you mean 'models/m.onnx'?"],
    ),
    (
        "",
        "model = upon.Model('m', 'zzz.bin')\n@upon.kafka('a')\ndef score(event): ...\n",
        ["error app.py:3: model 'm': the file 'zzz.bin' is not there: the path counts from FOLDER"],
    ),
    ("", "model = upon.Model('m', 'models/m.onnx')\n@upon.kafka('a')\ndef score(event): ...\n", []),
    (
        "kafka: {sasl: {username: u, password: hunter2}}",
        "@upon.kafka('a')\ndef score(event): ...\n",
        ["warning func.yaml:3: kafka.sasl.password stands in the file as plain text: write a reference:"
         " {{ secret:name:key }}"],
    ),
    (
        "",
        "@upon.kafka('a')\ndef one(a, b): ...\n@upon.cron('0 0 3 * * *')\ndef two(a, b): ...\n",
        ["error app.py:3: one has more than one required parameter (a, b): a handler is given one, the event or its"
         " data",
         "error app.py:5: two has more than one required parameter (a, b): a handler is given one, the event or its"
         " data",
         "error app.py:5: two: schedule '0 0 3 * * *' has 6 fields instead of five (minute hour day-of-month month"
         " day-of-week): the seconds come off the front, so write '0 3 * * *'"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("yaml", "app", "expected"), FAULTS, ids=range(len(FAULTS)))
def test_fault(tmp_path, yaml, app, expected):
    write_project(tmp_path, HEAD + yaml + "\n", "import upon\nfrom upon import Event\n" + app)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "m.onnx").write_bytes(b"")
    assert expected == lines(tmp_path)


def test_a_schedule_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cronsim", None)
    app = "import upon\n@upon.cron('0 3 * * *')\ndef tick(): ...\n"
    with pytest.raises(MissingExtra, match=r"a cron trigger needs the extra \[serve\]: pip install 'upon\[serve\]'"):
        lines(write_project(tmp_path, app=app))
