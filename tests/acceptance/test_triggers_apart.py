"""Triggers apart from the service: it may be down, killed, slow to start; nothing is lost, buried or out of order."""

from __future__ import annotations

import collections
import http.client
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.brokers import until
from support.func import Running, started
from support.records import collect, produce, replies
from support.servers import free_port
from support.services_on_disk import service_in

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

CODE = """
    import os
    import time
    import upon
    from upon import Event

    handled = open("handled.txt", "a", buffering=1)

    @upon.kafka("IN", reply_to="OUT", reply_type="doubled")
    def double(event: Event) -> dict[str, int]:
        handled.write(f"{event.kafka.partition} {event.kafka.offset}\\n")
        if event.data["n"] == KILLER:
            os._exit(9)
        return {"n": event.data["n"], "doubled": event.data["n"] * 2}
"""


class Bed:
    """A project on disk, topics of its own, and a port for its service."""

    def __init__(self, kafka: Any, folder: Path, *, killer: int = -1) -> None:
        self.name = f"t{uuid.uuid4().hex[:8]}"
        self.kafka = kafka
        self.port = free_port()
        names = {"IN": f"{self.name}.in", "OUT": f"{self.name}.out", "KILLER": str(killer)}
        code = CODE
        for word, name in names.items():
            code = code.replace(word, name)
        kafka.create_topics(names["IN"], partitions=4)
        kafka.create_topics(names["OUT"], partitions=2)
        self.source, self.out = names["IN"], names["OUT"]
        self.folder = service_in(folder / "p", code, name=self.name)

    def produce(self, numbers: range) -> set[str]:
        """The ids of the events."""
        written = produce(self.kafka.bootstrap, self.source, ({"n": n} for n in numbers), embedded=False)
        return {f"partition:{partition}/offset:{offset}" for partition, offset in written}

    @contextmanager
    def service(self) -> Iterator[Running]:
        """`func serve`, until the block ends."""
        with started("serve", cwd=self.folder, ready="", PORT=str(self.port), HOST="127.0.0.1") as service:
            until(lambda: get(f"http://127.0.0.1:{self.port}", "/health/readiness")[0] == 200, 60)
            yield service

    @contextmanager
    def triggers(self, *more: str) -> Iterator[Running]:
        sink = f"http://127.0.0.1:{self.port}"
        command = ("triggers", "run", "--sink", sink, "--port", "0", "-o", "json", "--bootstrap", self.kafka.bootstrap)
        with started(*command, *more, cwd=self.folder) as host:
            yield host

    def handled(self) -> dict[int, list[int]]:
        """Offsets by partition, in the order in which the function saw them."""
        seen: dict[int, list[int]] = collections.defaultdict(list)
        for line in (self.folder / "handled.txt").read_text().splitlines():
            partition, offset = map(int, line.split())
            seen[partition].append(offset)
        return seen


def get(url: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def source_state(host: Running) -> dict[str, Any]:
    sources = json.loads(get(host.url, "/health/readiness")[1])["sources"]
    return next(state for name, state in sources.items() if name.startswith("kafka"))


def test_a_service_that_goes_away_under_load_and_comes_back(kafka: Any, tmp_path: Path) -> None:
    bed = Bed(kafka, tmp_path)
    ids = bed.produce(range(500))
    with bed.triggers() as host:  # nobody is there yet
        until(lambda: source_state(host)["busy_since"] is not None, 30)
        assert 0 == host.stop()  # and none waits for what can't be had
    with replies(kafka.bootstrap, bed.out, embedded=False) as fetch, bed.triggers() as host:
        with bed.service() as service:
            answers = collect(fetch, 500, timeout=60)
            assert 0 == service.stop()
        ids |= bed.produce(range(500, 2000))
        time.sleep(3.0)  # the outage
        assert source_state(host)["busy_since"] is not None
        assert 200 == get(host.url, "/health/readiness")[0]  # a restart here would not help
        with bed.service() as service:
            answers += collect(fetch, 1500, timeout=60)
            until(lambda: source_state(host)["in_flight"] == 0, 30)
            state = source_state(host)
            assert (None, 0, 0) == tuple(state[name] for name in ("busy_since", "dead_letters", "retrying"))
            assert 0 == host.stop()
            assert 0 == service.stop()
    assert ids == {attributes["causationid"] for attributes, _ in answers}
    assert {"doubled"} == {attributes["type"] for attributes, _ in answers}
    assert {n: 2 * n for n in range(2000)} == {data["n"]: data["doubled"] for _, data in answers}
    for offsets in bed.handled().values():
        assert list(range(len(offsets))) == offsets  # each once, and in order


def test_a_record_that_kills_the_service_is_found_and_the_rest_goes_on(kafka: Any, tmp_path: Path) -> None:
    """The service is started again whenever it dies, as a cluster would do."""
    bed = Bed(kafka, tmp_path, killer=150)
    ids = bed.produce(range(300))
    dead = f"{bed.source}.double.dead"
    with bed.triggers() as host, replies(kafka.bootstrap, bed.out, embedded=False) as fetch:
        answers: list[Any] = []
        starts = 0
        deadline = time.monotonic() + 150
        while len({attributes["causationid"] for attributes, _ in answers}) < 299:
            assert time.monotonic() < deadline, (len(answers), starts, source_state(host))
            with bed.service() as service:
                starts += 1
                while service.process.poll() is None and time.monotonic() < deadline:
                    answers += fetch()
                    if len({attributes["causationid"] for attributes, _ in answers}) == 299:
                        break
        until(lambda: source_state(host)["dead_letters"] == 1, 30)
        assert 0 == host.stop()
    assert 1 == len(ids - {attributes["causationid"] for attributes, _ in answers})
    with replies(kafka.bootstrap, dead, embedded=False) as fetch:
        [(_, data)] = collect_any(fetch)
    assert {"n": 150} == data


def collect_any(fetch: Any) -> list[Any]:
    """What is on the topic, which is not empty."""
    found: list[Any] = []
    until(lambda: bool(found.extend(fetch()) or found), 30)
    return found
