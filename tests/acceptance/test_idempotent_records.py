"""`func run` of an idempotent function on a real Kafka, killed again and again: each event's work is done once."""

from __future__ import annotations

import collections
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from support.brokers import until
from support.func import started
from support.records import collect, produce, replies
from support.services_on_disk import service_in

COUNT = 6_000
KILLS = 2  # at a third one, whatever is being handled alone by then would be taken for the culprit
CODE = """
    import os
    import time
    import upon
    from upon import Event

    journal = os.open("journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @upon.kafka("in", reply_to="out")
    @upon.options(idempotent=True)
    def double(event: Event) -> dict[str, int]:
        os.write(journal, f"begin {event.id}\\n".encode())
        time.sleep(0.002)  # so that a kill meets work in hand
        os.write(journal, f"end {event.id}\\n".encode())
        return {"n": event.data["n"], "doubled": event.data["n"] * 2}
"""


def counted(folder: Path) -> dict[str, collections.Counter[str]]:
    """How often the handler began and ended, by event."""
    found: dict[str, collections.Counter[str]] = {"begin": collections.Counter(), "end": collections.Counter()}
    for line in (folder / "journal").read_text().split("\n")[:-1]:
        what, _, name = line.partition(" ")
        found[what][name] += 1
    return found


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kills_repeat_replies_and_not_the_work(kafka: Any, tmp_path: Path) -> None:
    topics = {name: f"idempotent-{name}" for name in ("in", "out")}
    for topic in topics.values():
        kafka.create_topics(topic, partitions=4)
    code = CODE.replace('"in"', repr(topics["in"])).replace('"out"', repr(topics["out"]))
    folder = service_in(tmp_path / "p", code, more="kafka: {sessionTimeout: 6}\n")
    written = produce(kafka.bootstrap, topics["in"], ({"n": n} for n in range(COUNT)), embedded=False)
    rng = random.Random(7)
    command = ("run", "--port", "0", "-o", "json", "--bootstrap", kafka.bootstrap, "--group", "idempotent")
    with replies(kafka.bootstrap, topics["out"], embedded=False) as fetch:
        answers: list[Any] = []
        for kill in range(1, KILLS + 1):
            with started(*command, cwd=folder) as run:
                until(lambda least=1000 * kill: counted(folder)["end"].total() >= least, 60)  # type: ignore[misc]
                time.sleep(rng.uniform(0, 0.2))
                run.process.kill()
                assert -signal.SIGKILL == run.wait()
        with started(*command, cwd=folder) as last:
            while len({attributes["causationid"] for attributes, _ in answers}) < COUNT:
                answers += collect(fetch, 1, timeout=90)
            assert 0 == last.stop()
    wanted = {f"partition:{partition}/offset:{offset}" for partition, offset in written}
    calls = counted(folder)
    assert wanted == calls["end"].keys()
    twice = {name: count for name, count in calls["begin"].items() if count > 1}
    # Each kill met at most one call in each of the four partitions; its work was done, and its reply not stored.
    assert len(twice) <= KILLS * 4, twice
    assert len(answers) > COUNT + len(twice), "no event was delivered twice: this run has shown nothing"
    assert COUNT == len({attributes["id"] for attributes, _ in answers})
