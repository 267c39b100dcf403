"""A service in a process of its own: `python -m support.http_child [--port N] [--delay S] [--timeout S]`.

Prints `port N` once it serves, and drains on SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

import upon
from support.services import spec_of
from upon import Event, UponError
from upon_runtime.http import Server, create_app
from upon_runtime.process import Signals, drain
from upon_runtime.service import Service


@upon.cloudevent(type="test")
def quick(event: Event) -> None:
    return None


asleep: list[float] = []


@upon.http("POST /sleep")
def sleep(event: Event) -> dict[str, float]:
    asleep.append(event.data["seconds"])
    time.sleep(event.data["seconds"])
    return {"slept": event.data["seconds"]}


@upon.http("GET /asleep")
def how_many() -> int:
    return len(asleep)


@upon.http("POST /fork")
def fork() -> int:
    """A child that stays for a while, as a pool of processes would."""
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    return pid


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--timeout", type=float, default=20.0)
    chosen = parser.parse_args()
    service = Service(spec_of(quick, sleep, how_many, fork, timeout=30), logged=False)
    try:
        server = Server(create_app(service), port=chosen.port, threads=32)
    except UponError as error:
        print(f"error {error}", flush=True)
        return 1
    with Signals() as signals:
        service.open()
        server.start()
        print(f"port {server.port}", flush=True)
        signals.stop.wait()
        return drain(service, server, delay=chosen.delay, timeout=chosen.timeout)


if __name__ == "__main__":
    sys.exit(main())
