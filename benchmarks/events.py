"""CloudEvents over HTTP, one process each: Upon against functions-framework and Knative's func-python.

The same handler (read one field of the JSON data, reply with nothing), everyone's default logs and metrics, a binary
mode event of about 200 bytes, 32 keep-alive connections on loopback. Rounds are interleaved; medians count.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import bench

ROUNDS, SECONDS, CONNECTIONS = 5, 3.0, 32
PEERS = bench.HERE / "peers"
HEADERS = [
    "ce-specversion: 1.0",
    "ce-id: 7f9c2ba4",
    "ce-source: /benchmark",
    "ce-type: bench.event",
    "Content-Type: application/json",
]
BODY = '{"n": 42, "text": "' + "x" * 160 + '"}'


def start_all(stack: contextlib.ExitStack) -> dict[str, int]:
    """Start the servers; returns the port of each."""
    ports = {name: bench.free_port() for name in ("upon", "functions-framework", "func-python")}
    framework = bench.environment("functions-framework", "functions-framework")
    knative = bench.environment("func-python", "func-python")
    commands: dict[str, list[str | Path]] = {
        "upon": [Path(sys.executable).parent / "func", "serve"],
        "functions-framework": [
            framework.parent / "functions-framework",
            *("--target", "handle", "--source", "functions_framework_app.py"),
            *("--signature-type", "cloudevent", "--host", "127.0.0.1"),
        ],
        "func-python": [knative, "func_python_app.py"],
    }
    for name, command in commands.items():
        port = ports[name]
        address = {"PORT": str(port), "HOST": "127.0.0.1", "LISTEN_ADDRESS": f"127.0.0.1:{port}"}
        folder = PEERS / "events" if name == "upon" else PEERS
        stack.enter_context(bench.server(command, port, folder, **address))
    return ports


def main() -> None:
    machine = bench.machine()
    rounds: dict[str, list[dict[str, Any]]] = {}
    with contextlib.ExitStack() as stack:
        ports = start_all(stack)
        for number in range(ROUNDS):
            for name, port in ports.items():
                got = bench.load(port, "/", HEADERS, BODY, CONNECTIONS, SECONDS)
                rounds.setdefault(name, []).append(got)
                print(f"round {number + 1}  {name:20} {got['per_second']:9,.0f}/s  p50 {got['p50_ms']} ms", flush=True)
    rates = {name: bench.median(all_rounds, "per_second") for name, all_rounds in rounds.items()}
    ratios = {f"upon / {name}": round(rates["upon"] / rate, 2) for name, rate in rates.items() if name != "upon"}
    print(ratios)
    packages = {
        **bench.versions(sys.executable, "upon", "granian"),
        **bench.versions(bench.environment("functions-framework", "functions-framework"), "functions-framework"),
        **bench.versions(bench.environment("func-python", "func-python"), "func-python"),
    }
    result = {"machine": machine, "versions": packages, "median": rates, "ratios": ratios, "rounds": rounds}
    bench.save("events", result, rates, "CloudEvents per second", "POST of a CloudEvent, 32 connections, one process")


if __name__ == "__main__":
    main()
