"""A steady stream of records for a service under test, and what its probes say meanwhile."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from confluent_kafka import Producer


class Load:
    """Writes `rate` records a second, {"n": 0} and on, until it is stopped; what can't be written waits.

    key, partition: of a number's record; by default none and any.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        *,
        rate: float,
        key: Callable[[int], bytes] | None = None,
        partition: Callable[[int], int] | None = None,
    ) -> None:
        self.written = 0
        self._topic = topic
        self._pause = 1 / rate
        self._key = key
        self._partition = partition
        self._producer = producer(bootstrap)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        due = time.monotonic()
        while not self._stopped.wait(max(due - time.monotonic(), 0)):
            send(self._producer, self._topic, self.written, self._key, self._partition)
            self.written += 1
            due += self._pause

    def stop(self, timeout: float = 60.0) -> int:
        """How many were written, once all are confirmed."""
        self._stopped.set()
        self._thread.join(timeout)
        assert 0 == self._producer.flush(timeout)
        return self.written


def producer(bootstrap: str) -> Producer:
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 5,
            "message.timeout.ms": 600_000,
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,
        }
    )


def send(
    to: Producer,
    topic: str,
    number: int,
    key: Callable[[int], bytes] | None = None,
    partition: Callable[[int], int] | None = None,
) -> None:
    more = {} if partition is None else {"partition": partition(number)}
    to.produce(topic, b'{"n":%d}' % number, None if key is None else key(number), **more)
    to.poll(0)


def write(
    bootstrap: str,
    topic: str,
    count: int,
    *,
    key: Callable[[int], bytes] | None = None,
    partition: Callable[[int], int] | None = None,
) -> None:
    """So many records, confirmed."""
    to = producer(bootstrap)
    for number in range(count):
        send(to, topic, number, key, partition)
    assert 0 == to.flush(60)


def sources(url: str) -> list[dict[str, Any]]:
    """The states of the sources in the readiness body, whose status must be 200."""
    with urllib.request.urlopen(f"{url}/health/readiness", timeout=10) as answer:
        return list(json.load(answer)["sources"].values())


def metric(url: str, name: str) -> list[float]:
    """The metric's values, whatever its labels."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    return [float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", page, re.MULTILINE)]
