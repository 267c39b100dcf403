"""Writes the events, as fast as it goes without leaving the functions too far behind."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from confluent_kafka import KafkaException, Producer

from chaos.plan import FUNCTIONS, KEYS, Plan

PADDING = "x" * 150  # about 200 bytes a record
AT_ONCE = 200


class Writer(threading.Thread):
    """settled: how many events are done with. error: why it ended early."""

    def __init__(self, bootstrap: str, plan: Plan, settled: Callable[[], int]) -> None:
        super().__init__(name="writer", daemon=True)
        self.written = 0
        self.error: str | None = None
        self._plan = plan
        self._settled = settled
        self._ahead = max(2000, plan.events // 10)
        self._stopped = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,  # or a crash of the broker would write twice and out of order
                "linger.ms": 10,
                "message.timeout.ms": int(plan.deadline * 1000),
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )

    def stop(self) -> None:
        """Forget what is not written; the producer's end would wait for it."""
        self._stopped.set()
        self.join(30)
        self._producer.purge()
        self._producer.flush(5)

    def run(self) -> None:
        order = [name for name, count in self._plan.counts.items() for _ in range(count)]
        random.Random(self._plan.seed).shuffle(order)
        topics = {function.name: function.topic for function in FUNCTIONS}
        numbers = dict.fromkeys(topics, 0)
        for name in order:
            if self.written % AT_ONCE == 0 and not self._may_go_on():
                return
            number = numbers[name]
            numbers[name] = number + 1
            self._write(topics[name], number)
        while not self._stopped.is_set() and self._producer.flush(0.5):
            pass

    def _may_go_on(self) -> bool:
        self._producer.poll(0)
        while self.written - self._settled() > self._ahead and not self._stopped.wait(0.02):
            self._producer.poll(0)
        return not self._stopped.is_set() and self.error is None

    def _write(self, topic: str, number: int) -> None:
        value = b'{"n":%d,"padding":"%s"}' % (number, PADDING.encode())
        while not self._stopped.is_set():
            try:
                self._producer.produce(topic, value, b"k%d" % (number % KEYS), on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                self.error = str(error)
                return
            else:
                self.written += 1
                return

    def _delivered(self, error: object, message: object) -> None:
        if error is not None:
            self.error = str(error)
