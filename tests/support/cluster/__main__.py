"""The cluster in a process of its own: `python -m support.cluster FOLDER [--slow-scale]`.

It ends with its stdin, and takes everything it started with it: it is the first process of a pid namespace.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from support.cluster import control, knative
from support.cluster.binaries import binaries
from support.cluster.control_plane import ControlPlane
from support.cluster.images import Images
from support.cluster.network import claim
from support.cluster.node import Node
from support.servers import free_port

LARGE = ("images", "node/pods", "etcd")  # what is not kept for whoever looks into a failure


def main(folder: Path, *, fast_scale: bool) -> None:
    began = time.monotonic()
    log = logger(folder / "log", began)
    built = binaries()
    network = claim()
    network.up()
    plane = ControlPlane(built, folder, network, free_port(), log)
    node: Node | None = None
    try:
        plane.start()
        images = Images(folder / "images", knative.programs(built))
        api = (network.gateway, plane.port)
        node = Node(
            plane.rest, images, folder / "node", network=network, api=api, certificate=plane.certificate, log=log
        )
        node.start()
        knative.install(plane.rest, built, plane.wait, fast_scale=fast_scale)
        obedient = obey(plane, node)
        control.listen(folder, obedient)
        seconds = round(time.monotonic() - began, 2)
        log("ready")
        print(json.dumps({"port": plane.port, "host": network.gateway, "seconds": seconds}), flush=True)
        sys.stdin.read()
    finally:
        if node is not None:
            node.stop()
        plane.stop()
        network.down()
        for name in LARGE:
            shutil.rmtree(folder / name, ignore_errors=True)


def logger(path: Path, began: float) -> Callable[[str], None]:
    lock = threading.Lock()
    file = open(path, "a", buffering=1)  # noqa: SIM115 - open until the end

    def log(text: str) -> None:
        with lock:
            file.write(f"[{time.monotonic() - began:7.2f}] {text}\n")

    return log


def obey(plane: ControlPlane, node: Node) -> Callable[[Sequence[str]], None]:
    def command(words: Sequence[str]) -> None:
        match words:
            case ["stop-api-server"]:
                plane.stop_api_server()
            case ["start-api-server"]:
                plane.start_api_server()
            case ["kill", namespace, pod, container]:
                node.kill(namespace, pod, container)
            case ["capacity", resource, count]:
                node.set_capacity(resource, int(count))
            case ["lend", port]:
                node.lending.lend(int(port))
            case _:
                raise ValueError(f"{words} is no command")

    return command


if __name__ == "__main__":
    main(Path(sys.argv[1]), fast_scale="--slow-scale" not in sys.argv[2:])
