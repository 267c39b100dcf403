"""What of the Kafka library's logs gets through to a person."""

from __future__ import annotations

import logging

from upon_build.cli.logs import PAUSE, Calm


def passed(calm: Calm, name: str) -> bool:
    return bool(calm.filter(logging.makeLogRecord({"name": name})))


def test_one_line_of_the_kafka_library_per_pause_and_none_at_the_start() -> None:
    now = 100.0
    calm = Calm(clock=lambda: now)

    assert not passed(calm, "kafka.net.transport")
    now += PAUSE
    assert passed(calm, "kafka.net.transport")
    assert not passed(calm, "kafka.net.connection")
    now += PAUSE
    assert passed(calm, "kafka.cluster")


def test_all_other_lines_pass() -> None:
    calm = Calm(clock=lambda: 0.0)

    assert [passed(calm, name) for name in ("upon.kafka", "kafkaesque", "app", "root")] == [True] * 4
