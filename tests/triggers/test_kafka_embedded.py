"""The embedded broker: quick to start, quick to join, with as many partitions as asked for."""

from __future__ import annotations

import subprocess
import sys
import time

from support.brokers import embedded, until
from support.delivery import Bench
from upon_triggers.kafka.embedded import JOIN_DELAY_MS, EmbeddedBroker


def test_it_starts_at_once_and_says_where() -> None:
    began = time.monotonic()
    with EmbeddedBroker() as broker:
        took = time.monotonic() - began
        assert broker.connection.embedded
        assert (broker.bootstrap,) == broker.connection.bootstrap
        host, _, port = broker.bootstrap.partition(":")
        assert ("127.0.0.1", True) == (host, int(port) > 0)
    assert took < 3


def test_it_tells_its_limits() -> None:
    for limit in ("in memory only", "5 MB a partition", "development"):
        assert limit in EmbeddedBroker.limits


def test_a_group_is_joined_quickly() -> None:
    with EmbeddedBroker({"t": 1}) as broker:
        bench = Bench(embedded(broker))
        began = time.monotonic()
        with bench.running(lambda event: None) as source:
            until(lambda: source.state()["partitions"] == [0], 10)
            took = time.monotonic() - began
    assert 3000 > JOIN_DELAY_MS
    assert took < 3, "librdkafka's own delay is 3 s"


def test_topics_have_the_partitions_asked_for() -> None:
    with EmbeddedBroker({"seven": 7}) as broker:
        bench = embedded(broker)
        broker.create_topic("two", 2)
        for topic, partitions in (("seven", 7), ("two", 2)):
            bench.produce_many(topic, [(n, b"{}") for n in range(partitions)])
            assert list(range(partitions)) == [record.partition for record in bench.records(topic)]


def test_an_outage_is_visible_and_passes() -> None:
    with EmbeddedBroker() as broker:
        bench = Bench(embedded(broker))
        bench.broker.produce(bench.topic, b"{}")
        with bench.running(lambda event: None) as source:
            bench.handled(source, 1)
            broker.set_down(True)
            until(lambda: not source.state()["connected"])
            broker.set_down(False)
            until(lambda: source.state()["connected"])
            bench.broker.produce(bench.topic, b"{}")
            bench.handled(source, 2)


def test_nothing_of_it_is_left_after_its_process() -> None:
    code = "from upon_triggers.kafka.embedded import EmbeddedBroker; print(EmbeddedBroker().bootstrap)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert 0 == done.returncode
    assert done.stdout.startswith("127.0.0.1:")
