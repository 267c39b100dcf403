"""SIGTERM under load: readiness off at once, every accepted request answered, exit code 0."""

from __future__ import annotations

import http.client
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from support.func import Running, started
from support.services_on_disk import service_in

CODE = """
    import time
    import upon

    @upon.cloudevent(type="work")
    def work(event: upon.Event) -> dict[str, int]:
        time.sleep(0.05)
        return {"n": event.data["n"]}
"""
HEADERS = {"ce-id": "1", "ce-source": "/t", "ce-type": "work", "ce-specversion": "1.0"}


class Client(threading.Thread):
    """Posts on a new connection each time, until told to stop; keeps every status and every error."""

    def __init__(self, address: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.address, self.stop = address, stop
        self.statuses: list[int] = []
        self.errors: list[str] = []

    def run(self) -> None:
        while not self.stop.is_set():
            connection = http.client.HTTPConnection(self.address, timeout=20)
            try:
                connection.request("POST", "/", b'{"n": 1}', {"content-type": "application/json", **HEADERS})
                response = connection.getresponse()
                response.read()
                self.statuses.append(response.status)
            except OSError as error:
                self.errors.append(repr(error))
            finally:
                connection.close()


def readiness(address: str) -> int:
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/health/readiness")
        return connection.getresponse().status
    finally:
        connection.close()


def wait_for_status(address: str, wanted: int, timeout: float) -> float:
    """Seconds until readiness has this status."""
    began = time.monotonic()
    while readiness(address) != wanted:
        assert time.monotonic() - began < timeout
        time.sleep(0.01)
    return time.monotonic() - began


@pytest.mark.timeout(120)
def test_sigterm_under_load(tmp_path: Path) -> None:
    folder = service_in(tmp_path / "p", CODE, more="run: {drainDelay: 3}\n")
    with started("serve", cwd=folder, ready="", PORT="0", HOST="127.0.0.1") as serve:
        address = address_of(serve)
        wait_for_status(address, 200, timeout=30)
        stop = threading.Event()
        clients = [Client(address, stop) for _ in range(16)]
        for client in clients:
            client.start()
        time.sleep(1)
        serve.process.send_signal(signal.SIGTERM)
        wait_for_status(address, 503, timeout=2)  # off while the listener is open and requests are still answered
        before = sum(len(client.statuses) for client in clients)
        time.sleep(0.3)
        stop.set()  # what a balancer does when it sees the readiness
        for client in clients:
            client.join(20)
        assert 0 == serve.wait(30)
    answered = [status for client in clients for status in client.statuses]
    assert [] == [error for client in clients for error in client.errors]
    assert {200} == set(answered)
    assert len(answered) > before  # requests that came after the signal were answered too


@pytest.mark.timeout(60)
def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    folder = service_in(tmp_path / "p", CODE, more="run: {drainDelay: 30}\n")
    with started("serve", cwd=folder, ready="", PORT="0", HOST="127.0.0.1") as serve:
        address = address_of(serve)
        wait_for_status(address, 200, timeout=30)
        serve.process.send_signal(signal.SIGTERM)
        wait_for_status(address, 503, timeout=5)
        time.sleep(0.4)  # a second one right behind the first counts as the first
        began = time.monotonic()
        assert 0 != serve.stop()
        assert time.monotonic() - began < 5


def address_of(serve: Running) -> str:
    """host:port from the log line that says where it listens."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = re.search(r"http://(127\.0\.0\.1:\d+)", serve.stderr)
        if found:
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"no address in {serve.stderr!r}")
