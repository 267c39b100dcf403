"""A locked Kafka: every way in that we know, and one clear message for every door that stays shut."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from support.brokers import OverTheNetwork, Seen, until
from support.delivery import Bench
from support.kafka_secured import PASSWORD, PLAIN_USERS, SecuredKafka
from upon import Done, Event
from upon_triggers.kafka.client import KafkaCluster
from upon_triggers.kafka.publisher import KafkaPublisher
from upon_triggers.kafka.refusals import explain
from upon_triggers.kafka.topics import ensure_topics
from upon_triggers.kafka.transport import Cluster, RecordPublisher
from upon_triggers.settings import KafkaConnection, Sasl, Tls
from upon_triggers.source import SourceError

pytestmark = pytest.mark.kafka

IN_TIME = 20.0  # seconds; the deadline is 10, the machine may be busy


class Behind:
    """The secured broker as a Bench needs it: Upon comes through a lock, the test through the plain listener."""

    def __init__(self, plain: OverTheNetwork, connection: KafkaConnection) -> None:
        self._plain = plain
        self._connection = connection
        self._publishers: list[KafkaPublisher] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def records(self, topic: str) -> list[Seen]:
        return self._plain.records(topic)

    def cluster(self) -> Cluster:
        return KafkaCluster(self._connection)

    def publisher(self) -> RecordPublisher:
        self._publishers.append(KafkaPublisher(self._connection))
        return self._publishers[-1]

    def close(self) -> None:
        for publisher in self._publishers:
            publisher.close(5)


Open = Callable[..., Bench]


@pytest.fixture
def open_bench(secured: SecuredKafka) -> Iterator[Open]:
    """Call it with a connection and the principal's name: a topic, its group and its further topics are allowed."""
    made: list[Behind] = []

    def open_it(connection: KafkaConnection, principal: str) -> Bench:
        made.append(Behind(secured.plain(), connection))
        bench = Bench(made[-1])  # type: ignore[arg-type]
        secured.allow_all(principal, bench.topic, bench.group, bench.out, bench.dead)
        return bench

    yield open_it
    for behind in made:
        behind.close()


@pytest.fixture(scope="module")
def zoe(secured: SecuredKafka) -> Sasl:
    """A user with SCRAM-SHA-512."""
    return secured.add_user("zoe")


def answer(event: Event[Any]) -> Done:
    return Done(Event.of(event.data, source="/s", type="t"))


# The ways in


def ways_in(secured: SecuredKafka) -> dict[str, tuple[KafkaConnection, str]]:
    """A connection and the name under which Kafka knows it."""
    tls = Tls(secured.file("ca.pem"), secured.file("client.pem"), secured.file("client.key"))
    found = {
        "MTLS": (secured.connection("MTLS", tls=tls), "CN=client"),
        "TLS": (secured.connection("TLS"), "ANONYMOUS"),
    }
    for listener in ("SASL", "SASLTLS"):
        for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
            user = PLAIN_USERS[0] if mechanism == "PLAIN" else mechanism.lower()
            sasl = Sasl(mechanism, user, PASSWORD)  # type: ignore[arg-type]
            found[f"{listener} {mechanism}"] = (secured.connection(listener, sasl), user)
    return found


@pytest.mark.parametrize(
    "way",
    ["TLS", "MTLS", *(f"{a} {b}" for a in ("SASL", "SASLTLS") for b in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"))],
)
def test_records_go_in_and_out(secured: SecuredKafka, open_bench: Open, way: str) -> None:
    connection, principal = ways_in(secured)[way]
    if way.endswith(("256", "512")):
        secured.add_user(principal, mechanism=way.split()[1])
    bench = open_bench(connection, principal)
    for n in range(5):
        bench.broker.produce(bench.topic, b"%d" % n)
    with bench.running(answer, reply_to=bench.out) as source:
        bench.handled(source, 5)
        assert (True, None) == (source.state()["connected"], source.state()["error"])
    assert [b"%d" % n for n in range(5)] == [record.value for record in bench.broker.records(bench.out)]


# The doors that stay shut


def shut_doors(secured: SecuredKafka, zoe: Sasl) -> dict[str, tuple[KafkaConnection, str]]:
    """A connection that can't work, and what is said about it."""
    stranger, file = Tls(secured.file("stranger.pem")), secured.file
    nobody = Tls(file("ca.pem"), file("stranger.pem"), file("stranger.key"))
    sasl, tls, mtls, sasltls = (secured.address(name) for name in ("SASL", "TLS", "MTLS", "SASLTLS"))
    credentials = f"the broker at {sasl!r} refuses the credentials of"
    expired, other = secured.address("EXPIRED"), secured.address("OTHERHOST")
    return {
        "wrong password": (
            secured.connection("SASL", replace(zoe, password="wrong")),
            f"{credentials} 'zoe' with SCRAM",
        ),
        "wrong password, PLAIN": (
            secured.connection("SASL", Sasl("PLAIN", PLAIN_USERS[0], "wrong")),
            f"{credentials} {PLAIN_USERS[0]!r} with PLAIN",
        ),
        "unknown user": (secured.connection("SASL", replace(zoe, username="noone")), f"{credentials} 'noone'"),
        "a mechanism that the user lacks": (
            secured.connection("SASL", replace(zoe, mechanism="SCRAM-SHA-256")),
            "or kafka.sasl.mechanism",
        ),
        "no credentials": (KafkaConnection((sasl,)), "it probably wants credentials: set kafka.sasl"),
        "no credentials over TLS": (secured.connection("SASLTLS"), "it probably wants credentials: set kafka.sasl"),
        "needless credentials": (
            replace(secured.connection("TLS"), sasl=zoe),
            f"the broker at {tls!r} takes no SASL credentials: remove kafka.sasl",
        ),
        "TLS left out": (KafkaConnection((tls,)), f"the broker at {tls!r} speaks TLS: set kafka.tls"),
        "TLS left out, with SASL": (
            KafkaConnection((sasltls,), sasl=zoe),
            f"the broker at {sasltls!r} speaks TLS: set kafka.tls",
        ),
        "needless TLS": (
            KafkaConnection((secured.bootstrap,), tls=secured.ca),
            f"what listens at {secured.bootstrap!r} does not speak TLS: remove kafka.tls",
        ),
        "untrusted authority": (
            secured.connection("TLS", tls=stranger),
            f"the certificate of the broker at {tls!r} is not trusted (self-signed certificate in certificate chain):"
            f" kafka.tls.ca ({stranger.ca!r})",
        ),
        "the system's authorities": (secured.connection("TLS", tls=Tls()), "set kafka.tls.ca to the certificate"),
        "expired certificate": (
            secured.connection("EXPIRED"),
            f"the certificate of the broker at {expired!r} has expired: renew it",
        ),
        "another host's certificate": (
            secured.connection("OTHERHOST"),
            f"the certificate of the broker at {other!r} is for another host",
        ),
        "no client certificate": (
            secured.connection("MTLS"),
            f"the broker at {mtls!r} wants a client certificate (bad certificate): set kafka.tls.certificate and",
        ),
        "a stranger's client certificate": (
            secured.connection("MTLS", tls=nobody),
            f"the broker at {mtls!r} refuses kafka.tls.certificate ({nobody.certificate!r}",
        ),
        "nobody listens": (KafkaConnection(("127.0.0.1:1",)), "correct kafka.bootstrap (connection refused)"),
        "no such name": (
            KafkaConnection(("kafka.invalid:9092",)),
            "the name 'kafka.invalid' can't be resolved: correct kafka.bootstrap ('kafka.invalid:9092')",
        ),
    }


DOORS = (
    "wrong password", "wrong password, PLAIN", "unknown user", "a mechanism that the user lacks", "no credentials",
    "no credentials over TLS", "needless credentials", "TLS left out", "TLS left out, with SASL", "needless TLS",
    "untrusted authority", "the system's authorities", "expired certificate", "another host's certificate",
    "no client certificate", "a stranger's client certificate", "nobody listens", "no such name",
)  # fmt: skip
SLOW = {"no credentials", "no credentials over TLS", "needless TLS", "nobody listens", "no such name"}  # may be passing


@pytest.mark.parametrize("door", DOORS)
def test_a_door_that_stays_shut(secured: SecuredKafka, zoe: Sasl, door: str) -> None:
    connection, said = shut_doors(secured, zoe)[door]
    began = time.monotonic()
    with pytest.raises(SourceError) as caught:
        ensure_topics(connection, ["t"], 2.0 if door in SLOW else 10.0)
    assert said in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert time.monotonic() - began < IN_TIME


def test_verify_false_goes_in_with_any_certificate(secured: SecuredKafka) -> None:
    secured.create_topics("unverified")
    for listener in ("EXPIRED", "OTHERHOST"):
        ensure_topics(secured.connection(listener, tls=Tls(verify=False)), ["unverified"], 10)


def test_one_good_address_is_enough(secured: SecuredKafka) -> None:
    secured.create_topics("oneofmany")
    good = secured.address("TLS")
    connection = KafkaConnection((secured.address("EXPIRED"), good), tls=secured.ca)
    ensure_topics(connection, ["oneofmany"], 20)


@pytest.fixture
def web_server() -> Iterator[str]:
    """Answers whatever is said as an HTTP server does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_a_web_server(web_server: str) -> None:
    with pytest.raises(SourceError) as caught:
        ensure_topics(KafkaConnection((web_server,)), ["t"], 10.0)
    assert f"an HTTP server answers at {web_server!r}, and no Kafka broker: correct kafka.bootstrap" == str(
        caught.value
    )


class UnsupportedSaslMechanismError(Exception):
    """As kafka-python's."""


def test_a_mechanism_that_the_broker_lacks() -> None:
    connection = KafkaConnection(("b:1",), sasl=Sasl("PLAIN", "me", "x"))
    refusal = explain(connection, "b:1", UnsupportedSaslMechanismError(), greeted=True)
    assert "the broker at 'b:1' does not offer the SASL mechanism 'PLAIN': set kafka.sasl.mechanism" in refusal.message
    assert refusal.final


# Rights


def opened(bench: Bench) -> str:
    """What a source says that can't start, or ''."""
    try:
        with bench.running(lambda event: None, reply_to=bench.out):
            return ""
    except SourceError as error:
        return str(error)


@pytest.mark.parametrize(
    ("operations", "what", "said"),
    [
        ("Read", "topic", "topic '{topic}' can't be read with these credentials, or does not exist: grant Read"),
        ("Read", "group", "consumer group '{group}' can't be joined with these credentials: grant Read on it"),
        ("Write Create", "out", "topic '{out}' can't be written to with these credentials, or does not exist: grant"),
        ("Create", "dead", "topic '{dead}' does not exist and can't be made from here (these credentials lack the"),
        ("Write Create", "dead", "topic '{dead}' can't be written to with these credentials, or does not exist"),
    ],
)
def test_a_right_that_is_missing(
    secured: SecuredKafka, zoe: Sasl, open_bench: Open, operations: str, what: str, said: str
) -> None:
    bench = open_bench(secured.connection("SASL", zoe), "zoe")
    name = getattr(bench, what)
    where = {"group": name} if what == "group" else {"topic": name}
    secured.withdraw("zoe", operations, **where)
    found = opened(bench)
    assert found.startswith(said.format(**vars(bench)))
    assert f"--bootstrap-server {secured.address('SASL')}" in found
    secured.allow("zoe", operations, **where)
    assert "" == opened(bench)


def test_to_look_is_not_to_write(secured: SecuredKafka, zoe: Sasl, open_bench: Open) -> None:
    bench = open_bench(secured.connection("SASL", zoe), "zoe")
    secured.withdraw("zoe", "Write Create", topic=bench.out)
    secured.allow("zoe", "Describe", topic=bench.out)
    command = f"--allow-principal User:zoe --operation Write --topic {bench.out})"
    assert f"topic {bench.out!r} can't be written to with these credentials: grant Write" in opened(bench)
    assert opened(bench).endswith(command)


# While it runs


def test_a_right_to_read_is_withdrawn_and_given_back(secured: SecuredKafka, zoe: Sasl, open_bench: Open) -> None:
    bench = open_bench(secured.connection("SASL", zoe), "zoe")
    with bench.running(lambda event: None) as source:
        bench.broker.produce(bench.topic, b"1")
        bench.handled(source, 1)
        secured.withdraw("zoe", "Read", topic=bench.topic)
        until(lambda: f"topic {bench.topic!r} can't be read" in (source.state()["error"] or ""))
        bench.broker.produce(bench.topic, b"2")
        secured.allow("zoe", "Read", topic=bench.topic)
        bench.handled(source, 2, timeout=60)
        until(lambda: source.state()["error"] is None)
    assert {1, 2} == {event.data for event in bench.seen}


def test_a_right_to_write_is_withdrawn_and_given_back(secured: SecuredKafka, zoe: Sasl, open_bench: Open) -> None:
    bench = open_bench(secured.connection("SASL", zoe), "zoe")
    with bench.running(answer, reply_to=bench.out) as source:
        bench.broker.produce(bench.topic, b"1")
        until(lambda: bench.committed() == {0: 1})
        secured.withdraw("zoe", "Write Create", topic=bench.out)
        bench.broker.produce(bench.topic, b"2")
        until(lambda: f"topic {bench.out!r} can't be written to" in (source.state()["error"] or ""))
        assert ({0: 1}, 0) == (bench.committed(), source.state()["dead_letters"])
        secured.allow("zoe", "Write Create", topic=bench.out)
        until(lambda: source.state()["error"] is None and bench.committed() == {0: 2}, 60)
    assert [b"1", b"2"] == [record.value for record in bench.broker.records(bench.out)]


def test_credentials_are_revoked_and_given_back(secured: SecuredKafka, open_bench: Open) -> None:
    bench = open_bench(secured.connection("SASL", secured.add_user("eve")), "eve")
    with bench.running(lambda event: None) as source:
        bench.broker.produce(bench.topic, b"1")
        bench.handled(source, 1)
        secured.remove_user("eve")
        secured.kill()  # connections that are open stay so
        secured.start()
        until(lambda: "refuses the credentials of 'eve'" in (source.state()["error"] or ""), 60)
        assert not source.state()["connected"]
        secured.add_user("eve")
        secured.plain().produce(bench.topic, b"2")
        bench.handled(source, 2, timeout=60)
        until(lambda: source.state()["connected"] and source.state()["error"] is None)
    assert {1, 2} == {event.data for event in bench.seen}
