"""One POST per record to a function server, sequential per partition: what a simple bridge from Kafka does."""

import http.client
import threading
import warnings

warnings.simplefilter("ignore", DeprecationWarning)

import os  # noqa: E402

from kafka import KafkaConsumer, TopicPartition  # noqa: E402
from meter import BOOTSTRAP, TOPIC, meter  # noqa: E402

PORT = int(os.environ["TARGET_PORT"])


def feed(partition: TopicPartition) -> None:
    consumer = KafkaConsumer(bootstrap_servers=BOOTSTRAP, auto_offset_reset="earliest", metrics_enabled=False)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    target = http.client.HTTPConnection("127.0.0.1", PORT)
    while not meter.done.is_set():
        for record in consumer.poll(timeout_ms=100).get(partition, ()):
            headers = {
                "ce-specversion": "1.0",
                "ce-id": f"partition:{record.partition}/offset:{record.offset}",
                "ce-source": "/benchmark",
                "ce-type": "dev.knative.kafka.event",
                "Content-Type": "application/json",
            }
            target.request("POST", "/", record.value, headers)
            answer = target.getresponse()
            answer.read()
            assert answer.status < 300, answer.status
            meter.add(1)
            if meter.done.is_set():
                break
    consumer.close(autocommit=False)


threads = [threading.Thread(target=feed, args=(TopicPartition(TOPIC, number),)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
