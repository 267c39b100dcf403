"""A poll loop of kafka-python and nothing else: no commits, no handler."""

import warnings

warnings.simplefilter("ignore", DeprecationWarning)

from kafka import KafkaConsumer  # noqa: E402
from meter import BOOTSTRAP, GROUP, TOPIC, meter  # noqa: E402

consumer = KafkaConsumer(
    TOPIC,
    bootstrap_servers=BOOTSTRAP,
    group_id=GROUP,
    auto_offset_reset="earliest",
    enable_auto_commit=False,
    max_poll_records=500,
    fetch_max_wait_ms=100,
    metrics_enabled=False,
)
while not meter.done.is_set():
    for records in consumer.poll(timeout_ms=100).values():
        meter.add(len(records))
consumer.close(autocommit=False)
