"""What a person sees when Kafka is not as it should be: one clear message, in time."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from support.brokers import until
from support.kafka import RealKafka
from support.sinks import DirectSink
from upon import MissingExtra
from upon._triggers import KafkaTrigger
from upon_triggers.kafka import client, library
from upon_triggers.kafka.client import KafkaCluster
from upon_triggers.kafka.dead_letter import dead_letter_topic
from upon_triggers.kafka.memory import MemoryBroker
from upon_triggers.kafka.publisher import KafkaPublisher
from upon_triggers.kafka.source import KafkaSource
from upon_triggers.kafka.topics import ensure_topics
from upon_triggers.settings import Delivery, KafkaConnection, Sasl, Tls
from upon_triggers.source import SourceError


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Somebody listens and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if "kafka" in thread.name}


def test_nobody_at_the_address() -> None:
    began = time.monotonic()
    with pytest.raises(SourceError) as caught:
        ensure_topics(KafkaConnection(("127.0.0.1:1",)), ["t"], 1.0)
    assert str(caught.value).startswith(
        "no Kafka broker answers at '127.0.0.1:1': start it, or correct kafka.bootstrap"
    )
    assert time.monotonic() - began < 5
    until(lambda: not _threads(), 5, "no thread is left behind")


def test_somebody_who_is_no_broker(silent_port: int) -> None:
    with pytest.raises(SourceError, match="no Kafka broker answers"):
        ensure_topics(KafkaConnection((f"127.0.0.1:{silent_port}",)), ["t"], 1.0)


def test_a_consumer_names_the_address_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "BOOTSTRAP_SECONDS", 0.5)
    cluster = KafkaCluster(KafkaConnection(("127.0.0.1:1",)))
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:1"):
        cluster.open_consumer("g", "t", "earliest", None)  # type: ignore[arg-type]


def test_a_missing_certificate_file() -> None:
    connection = KafkaConnection(("127.0.0.1:1",), tls=Tls(ca="/no/such/file.pem"))
    with pytest.raises(SourceError, match=r"kafka\.tls can't be used"):
        ensure_topics(connection, ["t"], 1.0)


def test_credentials_reach_the_client() -> None:
    connection = KafkaConnection(("b:1",), sasl=Sasl("PLAIN", "me", "secret"), tls=Tls(verify=False))
    settings = library.client_settings(connection, "x")
    assert ("SASL_SSL", "PLAIN", "me", "secret") == (
        settings["security_protocol"],
        settings["sasl_mechanism"],
        settings["sasl_plain_username"],
        settings["sasl_plain_password"],
    )
    assert settings["ssl_check_hostname"] is False


@pytest.mark.parametrize(
    ("sasl", "tls", "protocol"),
    [
        (None, None, "PLAINTEXT"),
        (Sasl(), None, "SASL_PLAINTEXT"),
        (None, Tls(), "SSL"),
        (Sasl(), Tls(), "SASL_SSL"),
    ],
)
def test_security_protocol(sasl: Sasl | None, tls: Tls | None, protocol: str) -> None:
    settings = library.client_settings(KafkaConnection(("b:1",), tls=tls, sasl=sasl), "x")
    assert protocol == settings["security_protocol"]


def test_without_the_extra() -> None:
    code = (
        "import sys; sys.modules['kafka'] = None\n"
        "from upon_triggers.kafka.library import library\n"
        "from upon import MissingExtra\n"
        "try:\n    library()\nexcept MissingExtra as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert f"{MissingExtra('Kafka', 'kafka')}\n" == done.stdout
    assert "pip install 'upon[kafka]'" in done.stdout


def test_importing_the_source_imports_no_client() -> None:
    code = (
        "import sys\n"
        "import upon_triggers.kafka.source, upon_triggers.kafka.publisher, upon_triggers.kafka.client\n"
        "import upon_triggers.kafka.memory, upon_triggers.kafka.embedded\n"
        "print(sorted({'kafka', 'confluent_kafka'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert ("[]\n", "") == (done.stdout, done.stderr)


def test_kafka_python_is_imported_without_its_warnings() -> None:
    code = "from upon_triggers.kafka.library import library; library()"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize(("named", "topic"), [(None, "in.f.dead"), ("graveyard", "graveyard"), ("none", None)])
def test_dead_letter_topic(named: str | None, topic: str | None) -> None:
    assert topic == dead_letter_topic("in", "f", named)


@pytest.mark.kafka
def test_missing_topics_are_made_once(kafka: RealKafka) -> None:
    connection = KafkaConnection((kafka.bootstrap,))
    for _ in range(2):
        ensure_topics(connection, ["start.in", "start.out", "start.in.f.dead"], 10)
    publisher = KafkaPublisher(connection)
    got: list[BaseException | None] = []
    publisher.publish_raw("start.in.f.dead", None, b"x", [], got.append)
    assert publisher.flush(10)
    publisher.close(5)
    assert [None] == got


@pytest.mark.kafka
def test_a_topic_that_can_not_be_made(kafka: RealKafka) -> None:
    with pytest.raises(SourceError) as caught:
        ensure_topics(KafkaConnection((kafka.bootstrap,)), ["x" * 249, "x" * 250], 10)
    assert f"kafka-topics.sh --bootstrap-server {kafka.bootstrap} --create --topic {'x' * 250}" in str(caught.value)


def test_a_source_that_can_not_start_leaves_nothing_behind() -> None:
    connection = KafkaConnection(("127.0.0.1:1",))
    publisher = KafkaPublisher(connection)
    source = KafkaSource(
        KafkaTrigger("in"),
        function="f",
        service="s",
        sink=DirectSink(lambda event: None),
        cluster=_Impatient(connection),
        publisher=publisher,
        delivery=Delivery(),
    )
    with pytest.raises(SourceError):
        source.start()
    assert not source.state()["connected"]
    source.stop(0.1)
    publisher.close(0.1)
    until(lambda: not _threads(), 5, "no thread is left behind")


class _Impatient(KafkaCluster):
    def ensure_topics(self, topics: object, timeout: float, **roles: object) -> None:
        super().ensure_topics(["t"], 0.5)


def test_group_names() -> None:
    broker = MemoryBroker()

    def group(trigger: KafkaTrigger, suffix: str = "") -> str:
        return KafkaSource(
            trigger,
            function="f",
            service="s",
            sink=DirectSink(lambda event: None),
            cluster=broker,
            publisher=broker.open_publisher(),
            group_suffix=suffix,
        ).group

    assert ["s.f", "mine", "s.f.local.me"] == [
        group(KafkaTrigger("in")),
        group(KafkaTrigger("in", group="mine")),
        group(KafkaTrigger("in"), ".local.me"),
    ]
