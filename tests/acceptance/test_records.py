"""Ten thousand records through `func run`: none lost, in order, every reply there; kill -9 included."""

from __future__ import annotations

import collections
import os
import random
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from support.func import running, started
from support.records import collect, produce, replies
from support.services_on_disk import service_in

COUNT = 10_000
CODE = """
    import os
    import upon
    from upon import Event

    handled = open("handled.txt", "a", buffering=1)

    @upon.kafka("in", reply_to="out")
    def double(event: Event) -> dict[str, int]:
        handled.write(f"{event.kafka.partition} {event.kafka.offset}\\n")
        return {"n": event.data["n"], "doubled": event.data["n"] * 2}
"""


def input_ids(written: list[tuple[int, int]]) -> set[str]:
    return {f"partition:{partition}/offset:{offset}" for partition, offset in written}


def handled(folder: Path) -> dict[int, list[int]]:
    """Offsets by partition, in the order in which the function saw them."""
    seen: dict[int, list[int]] = collections.defaultdict(list)
    for line in (folder / "handled.txt").read_text().splitlines():
        partition, offset = map(int, line.split())
        seen[partition].append(offset)
    return seen


@pytest.mark.timeout(180)
def test_embedded_broker_every_record_once_in_order_and_answered(tmp_path: Path) -> None:
    folder = service_in(tmp_path / "p", CODE)
    with running(cwd=folder) as run:
        bootstrap = run.ready["kafka"]
        written = produce(bootstrap, "in", ({"n": n} for n in range(COUNT)), embedded=True)
        with replies(bootstrap, "out", embedded=True) as fetch:
            answers = collect(fetch, COUNT, timeout=120)
        assert 0 == run.stop()
    assert input_ids(written) == {attributes["causationid"] for attributes, _ in answers}
    assert {n: 2 * n for n in range(COUNT)} == {data["n"]: data["doubled"] for _, data in answers}
    assert COUNT == len(answers)
    by_partition = handled(folder)
    assert COUNT == sum(map(len, by_partition.values()))
    assert all(offsets == sorted(offsets) for offsets in by_partition.values())


@pytest.mark.kafka
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_real_kafka_kill_dash_nine_loses_nothing(kafka: Any, tmp_path: Path, seed: int) -> None:
    kafka_topics = {name: f"{name}-{seed}" for name in ("in", "out")}
    kafka.create_topics(kafka_topics["in"], partitions=4)
    kafka.create_topics(kafka_topics["out"], partitions=2)
    code = CODE.replace('"in"', repr(kafka_topics["in"])).replace('"out"', repr(kafka_topics["out"]))
    folder = service_in(tmp_path / "p", code)
    written = produce(kafka.bootstrap, kafka_topics["in"], ({"n": n} for n in range(COUNT)), embedded=False)
    rng = random.Random(seed)
    command = ("run", "--port", "0", "-o", "json", "--bootstrap", kafka.bootstrap, "--group", f"g{seed}")
    with replies(kafka.bootstrap, kafka_topics["out"], embedded=False) as fetch:
        with started(*command, cwd=folder) as first:
            before = collect(fetch, 1, timeout=60)
            time.sleep(rng.uniform(0, 0.3))
            kill_group(first.process.pid)
            assert -signal.SIGKILL == first.wait()
        before += drained(fetch)
        answered = {attributes["causationid"] for attributes, _ in before}
        assert 0 < len(answered) < COUNT  # between the first and the last reply
        with started(*command, cwd=folder) as second:
            after = collect(fetch, COUNT - len(answered), timeout=120)
            answers = before + after
            while len({attributes["causationid"] for attributes, _ in answers}) < COUNT:
                answers += collect(fetch, 1, timeout=60)
            assert 0 == second.stop()
    assert input_ids(written) == {attributes["causationid"] for attributes, _ in answers}
    reply_ids = {attributes["id"] for attributes, _ in answers}
    assert COUNT == len(reply_ids)  # a record handled twice has the same reply, id included
    assert {n: 2 * n for n in range(COUNT)} == {data["n"]: data["doubled"] for _, data in answers}


def kill_group(pid: int) -> None:
    """kill -9 of the one process that was started; nothing of it may be left behind."""
    group = os.getpgid(pid)
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while members(group) - {pid} and time.monotonic() < deadline:
        time.sleep(0.05)
    assert set() == members(group) - {pid}


def members(group: int) -> set[int]:
    """Live processes of a process group, zombies aside."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(pgrp) == group and state != "Z":
            found.add(int(stat.parent.name))
    return found


def drained(fetch: Any) -> list[Any]:
    """What is on the topic now that nobody writes."""
    found: list[Any] = []
    while new := fetch() or fetch():
        found += new
    return found


@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_topics_that_are_only_written_to_are_made_at_the_start(kafka: Any, tmp_path: Path) -> None:
    code = """
        import upon
        out = upon.Topic("only-written")

        @upon.http("POST /send", reply_to="only-replied")
        def send(event: upon.Event) -> dict[str, int]:
            out.send(event.data)
            return {"sent": 1}
    """
    folder = service_in(tmp_path / "p", code)
    with started("run", "--port", "0", "-o", "json", "--bootstrap", kafka.bootstrap, cwd=folder) as run:
        began = time.monotonic()
        request = urllib.request.Request(f"{run.url}/send", b'{"a": 1}', {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert 200 == answer.status
        assert time.monotonic() - began < 5  # a topic that is not there would take 10 s
        assert 0 == run.stop()
