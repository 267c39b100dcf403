"""What outages, slow handlers, poison records and stops cost, on a real Kafka and with real processes.

UPON_OUTAGES=full makes the outages as long as people fear them; `make chaos-outages` does that.
"""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos.groups import Observer
from support.brokers import until
from support.func import Running, started
from support.kafka import RealKafka
from support.kafka import _free_port as free_port
from support.load import Load, metric, sources, write
from support.services_on_disk import service_in

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(420)]

FULL = os.environ.get("UPON_OUTAGES") == "full"
BROKER_GONE = 120.0 if FULL else 8.0  # seconds
FUNCTION_GONE = 60.0 if FULL else 6.0

SETTINGS = """
    run: {{drainDelay: 0}}
    deploy: {{triggers: {mode}}}
    kafka: {{bootstrap: "{bootstrap}"{kafka}}}
    delivery: {delivery}
"""
UNEVEN = "time.sleep(0.002 * (n % 4))"  # so that records are finished in another order than they came
CODE = """
    import os
    import time
    import upon
    from upon import Event

    log = os.open("handled.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @upon.kafka({topic!r}, ordering={ordering!r})
    def handle(event: Event) -> None:
        n = event.data["n"]
        os.write(log, b"%d began\\n" % n)
        {body}
        os.write(log, b"%d done\\n" % n)
"""


class Bench:
    """One service with one function of one topic, on disk; processes of it come and go."""

    def __init__(
        self,
        kafka: RealKafka,
        folder: Path,
        *,
        body: str = "pass",
        ordering: str = "partition",
        partitions: int = 3,
        mode: str = "direct",
        delivery: str = "{}",
        settings: str = "",
    ) -> None:
        self.kafka = kafka
        self.topic = f"t{uuid.uuid4().hex[:8]}"
        self.dead = f"{self.topic}.handle.dead"
        self.group = f"s{self.topic}.handle"
        kafka.create_topics(self.topic, self.dead, partitions=partitions)
        yaml = SETTINGS.format(mode=mode, bootstrap=kafka.bootstrap, delivery=delivery, kafka=settings)
        code = CODE.format(topic=self.topic, ordering=ordering, body=body)
        self.folder = service_in(folder / "p", code, name=f"s{self.topic}", more=yaml)
        self._observer = Observer(kafka.bootstrap)

    @contextmanager
    def serving(self, port: int = 0) -> Iterator[Running]:
        with started("serve", cwd=self.folder, ready="", PORT=str(port), HOST="127.0.0.1") as found:
            found.ready = _ready_on_stderr(found)
            yield found

    @contextmanager
    def triggers(self, sink: str) -> Iterator[Running]:
        command = ("triggers", "run", "--sink", sink, "--port", "0", "-o", "json")
        with started(*command, cwd=self.folder) as found:
            yield found

    def lines(self, what: str) -> list[int]:
        """The numbers that began or are done, in order."""
        try:
            text = (self.folder / "handled.txt").read_text()
        except FileNotFoundError:
            return []
        pairs = (line.split() for line in text.splitlines())
        return [int(pair[0]) for pair in pairs if pair[1:] == [what]]

    def repeated(self) -> dict[int, int]:
        """What was finished more than once, and how often."""
        return {number: count for number, count in Counter(self.lines("done")).items() if count > 1}

    def handled(self, numbers: set[int], timeout: float = 60.0) -> None:
        until(lambda: numbers <= set(self.lines("done")), timeout, f"{len(numbers)} are handled")

    def committed(self, timeout: float = 30.0) -> None:
        until(lambda: self._observer.lag(self.group, self.topic) == 0, timeout, "everything is committed")

    def dead_letters(self) -> int:
        return len(self._observer.read(self.dead))

    def members(self) -> set[str]:
        return set(self._observer.shares(self.group) or ())


def _ready_on_stderr(process: Running) -> dict[str, str]:
    """`func serve` logs to stderr."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        line = process.error_lines.get(timeout=60)
        assert line, process.stderr
        if '"event":"ready"' in line:
            return dict(json.loads(line))
    raise AssertionError(process.stderr)


def _all_the_while(seconds: float, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition()
        time.sleep(0.2)


def _seconds_until(condition: Callable[[], object], timeout: float, what: str) -> float:
    began = time.monotonic()
    until(condition, timeout, what)
    return time.monotonic() - began


# Outages


def test_a_broker_that_is_gone_for_a_while_costs_no_event_and_needs_nobody(kafka: RealKafka, tmp_path: Path) -> None:
    bench = Bench(kafka, tmp_path)
    with bench.serving() as service:
        load = Load(kafka.bootstrap, bench.topic, rate=100)
        until(lambda: len(bench.lines("done")) > 100)
        kafka.kill()
        try:
            unseen = _seconds_until(lambda: not sources(service.url)[0]["connected"], 30, "the outage is visible")
            assert [0.0] == metric(service.url, "upon_source_connected")
            _all_the_while(BROKER_GONE - unseen, lambda: service.process.poll() is None)
            before = len(bench.lines("done"))
        finally:
            kafka.start()
        first = _seconds_until(lambda: len(bench.lines("done")) > before, 60, "the first record after the outage")
        written = load.stop()
        bench.handled(set(range(written)))
        bench.committed()
        assert sources(service.url)[0]["connected"]
        assert [1.0] == metric(service.url, "upon_source_connected")
        assert [0.0] == metric(service.url, "upon_source_dead_letters")
        assert 0 == bench.dead_letters()
        assert 0 == service.stop()
    again = len(bench.lines("done")) - written
    print(
        f"broker gone for {BROKER_GONE:g} s: seen after {unseen:.1f} s, first record {first:.1f} s after it came back"
    )
    print(f"{written} records under load, {again} delivered again, dead letter empty")


def test_a_function_that_is_gone_for_a_while_costs_no_event_and_needs_nobody(kafka: RealKafka, tmp_path: Path) -> None:
    bench = Bench(kafka, tmp_path, mode="host")
    port = free_port()
    with bench.triggers(f"http://127.0.0.1:{port}") as triggers:
        load = Load(kafka.bootstrap, bench.topic, rate=100)
        with bench.serving(port) as function:
            until(lambda: len(bench.lines("done")) > 100)
            function.process.kill()
        unseen = _seconds_until(lambda: sources(triggers.url)[0]["busy_since"], 30, "the outage is visible")
        _all_the_while(FUNCTION_GONE - unseen, lambda: triggers.process.poll() is None)
        before = len(bench.lines("done"))
        with bench.serving(port) as function:
            first = _seconds_until(lambda: len(bench.lines("done")) > before, 60, "the first event after the outage")
            written = load.stop()
            bench.handled(set(range(written)))
            bench.committed()
            assert [0.0] == metric(triggers.url, "upon_source_lag")
            assert 0 == bench.dead_letters()
            until(lambda: sources(triggers.url)[0]["busy_since"] is None, what="the outage is over in the state")
            assert 0 == triggers.stop()
    again = len(bench.lines("done")) - written
    print(
        f"function gone for {FUNCTION_GONE:g} s: seen after {unseen:.1f} s, first event {first:.1f} s after its return"
    )
    print(f"{written} records under load, {again} delivered again, dead letter empty")


# Slow and poison


def test_a_handler_slower_than_max_poll_interval_causes_no_rebalance(kafka: RealKafka, tmp_path: Path) -> None:
    slow = "time.sleep(10 if n == 0 else 0)"
    settings = ", maxPollInterval: 6, sessionTimeout: 6"
    bench = Bench(kafka, tmp_path, body=slow, partitions=1, settings=settings)
    with bench.serving() as service:
        until(lambda: len(bench.members()) == 1, what="the member is in its group")
        before = bench.members()
        write(kafka.bootstrap, bench.topic, 5)
        bench.handled(set(range(5)))
        bench.committed()
        assert before == bench.members(), "who was thrown out comes back under another name"
        assert list(range(5)) == bench.lines("began") == bench.lines("done")
        assert 0 == service.stop()


def test_a_poison_record_in_one_partition_does_not_delay_the_others(kafka: RealKafka, tmp_path: Path) -> None:
    poison = "if n == 0: raise ValueError('always')"
    delivery = "{retry: 1000, backoffDelay: PT0.05S, maxDelay: PT0.2S}"
    bench = Bench(kafka, tmp_path, body=poison, delivery=delivery)
    with bench.serving():
        write(kafka.bootstrap, bench.topic, 600, partition=lambda n: n % 3)
        others = {n for n in range(600) if n % 3}
        bench.handled(others)
        tries = Counter(bench.lines("began"))
        until(lambda: Counter(bench.lines("began"))[0] > tries[0] + 1, what="the poison record is tried on")
        assert others == set(bench.lines("done")), "its own partition waits for it"
        assert 0 == bench.dead_letters()


def test_with_ordering_key_one_key_of_a_thousand_fails_and_the_others_go_on(kafka: RealKafka, tmp_path: Path) -> None:
    poison = "if n == 7: raise ValueError('always')"
    delivery = "{retry: 1000, backoffDelay: PT0.05S, maxDelay: PT0.2S}"
    bench = Bench(kafka, tmp_path, body=poison, ordering="key", partitions=4, delivery=delivery)
    with bench.serving():
        write(kafka.bootstrap, bench.topic, 3000, key=lambda n: b"k%d" % (n % 1000))
        others = {n for n in range(3000) if n % 1000 != 7}
        bench.handled(others)
        tries = Counter(bench.lines("began"))
        until(lambda: Counter(bench.lines("began"))[7] > tries[7] + 1, what="the failing key is tried on")
        began = Counter(bench.lines("began"))
        assert {7} == {n for n in began if n % 1000 == 7}, "its key waits for it"
        assert {1} == {began[n] for n in others}


# Stops


@pytest.mark.parametrize("ordering", ["partition", "key", "unordered"])
def test_sigterm_during_load_repeats_no_finished_work(kafka: RealKafka, tmp_path: Path, ordering: str) -> None:
    bench = Bench(kafka, tmp_path, body=UNEVEN, ordering=ordering)
    load = Load(kafka.bootstrap, bench.topic, rate=200, key=lambda n: b"k%d" % (n % 50))
    for _ in range(2):
        before = len(bench.lines("done"))
        with bench.serving() as service:
            until(lambda: len(bench.lines("done")) > before + 200)  # noqa: B023 - called at once
            assert 0 == service.stop(signal.SIGTERM)
    with bench.serving() as service:
        written = load.stop()
        bench.handled(set(range(written)))
        bench.committed()
        assert 0 == service.stop()
    assert {} == bench.repeated()


@pytest.mark.parametrize("ordering", ["partition", "key", "unordered"])
def test_a_member_that_joins_and_leaves_during_load_repeats_no_finished_work(
    kafka: RealKafka, tmp_path: Path, ordering: str
) -> None:
    bench = Bench(kafka, tmp_path, body=UNEVEN, ordering=ordering, partitions=4)
    load = Load(kafka.bootstrap, bench.topic, rate=200, key=lambda n: b"k%d" % (n % 50))
    with bench.serving() as first:
        until(lambda: len(bench.lines("done")) > 200)
        with bench.serving() as second:
            until(lambda: sources(second.url)[0]["handled"] > 100, what="the second member has work")
            assert 0 == second.stop()
        written = load.stop()
        bench.handled(set(range(written)))
        bench.committed()
        assert 0 == first.stop()
    assert {} == bench.repeated()
