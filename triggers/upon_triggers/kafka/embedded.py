"""A Kafka broker inside this process, for `func run` on a laptop: librdkafka's mock cluster."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from upon import MissingExtra
from upon_triggers.settings import KafkaConnection
from upon_triggers.source import SourceError

START_TIMEOUT = 10.0
JOIN_DELAY_MS = 100  # librdkafka's own 3 s make every start of a group slow

LIMITS = (
    "embedded broker: in memory only, gone when this ends; it keeps about 5 MB a partition and drops older records;"
    " for development, not for delivery guarantees"
)


class EmbeddedBroker:
    """Topics appear when first used. topics: partitions of those that should have more than four.

    Raises MissingExtra without confluent-kafka.
    """

    limits = LIMITS

    def __init__(self, topics: Mapping[str, int] | None = None) -> None:
        try:
            import confluent_kafka
        except ImportError:
            raise MissingExtra("the embedded Kafka broker", "dev") from None
        # The cluster lives as long as the client that asked for it.
        self._client: Any = confluent_kafka.Producer({"test.mock.num.brokers": 1, "log_level": 0})
        brokers = self._client.list_topics(timeout=START_TIMEOUT).brokers
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in brokers.values())
        self._library = _librdkafka(Path(confluent_kafka.__file__).parent)
        self._cluster = self._library.rd_kafka_handle_mock_cluster(_handle(self._client))
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, JOIN_DELAY_MS)
        for topic, partitions in (topics or {}).items():
            self.create_topic(topic, partitions)

    @property
    def connection(self) -> KafkaConnection:
        return KafkaConnection((self.bootstrap,), embedded=True)

    def create_topic(self, topic: str, partitions: int) -> None:
        """Raises SourceError for a name that is taken."""
        code = self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1)
        if code != 0:
            raise SourceError(f"the embedded broker does not make topic {topic!r} (librdkafka error {code})")

    def set_down(self, down: bool) -> None:
        """Take the broker off the network, or bring it back; its records stay."""
        change = self._library.rd_kafka_mock_broker_set_down if down else self._library.rd_kafka_mock_broker_set_up
        change(self._cluster, 1)

    def close(self) -> None:
        self._cluster = None
        self._client = None

    def __enter__(self) -> EmbeddedBroker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _librdkafka(package: Path) -> Any:
    """The librdkafka that confluent_kafka has loaded, with the mock cluster's functions declared."""
    bundled = sorted((package.parent / "confluent_kafka.libs").glob("librdkafka*"))
    library = ctypes.CDLL(str(bundled[0]) if bundled else "librdkafka.so.1")
    pointer, number = ctypes.c_void_p, ctypes.c_int
    for name, arguments, result in (
        ("rd_kafka_handle_mock_cluster", [pointer], pointer),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", [pointer, ctypes.c_int32], None),
        ("rd_kafka_mock_topic_create", [pointer, ctypes.c_char_p, number, number], number),
        ("rd_kafka_mock_broker_set_down", [pointer, ctypes.c_int32], number),
        ("rd_kafka_mock_broker_set_up", [pointer, ctypes.c_int32], number),
    ):
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, result
    return library


def _handle(client: object) -> ctypes.c_void_p:
    """The rd_kafka_t behind a confluent_kafka client: the first field after the object's header."""
    return ctypes.c_void_p.from_address(id(client) + object.__basicsize__)
