"""What the tests of images stand on: a base made of Debian's packages, readers of others, closed containers."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from support.containers import container
from support.readers import Skopeo, Umoci, Unpacked, pulled
from support.rootfs import INTERPRETER, PATH, Base

SERVER = """
import http.server, json, os, signal, sys

def tried(path):
    try:
        open(path, "w").close()
        return "written"
    except OSError as error:
        return error.strerror

class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        paths = ("/x", "/dev/x", "/usr/x", "/tmp/x")
        said = {"ids": os.getresuid() + os.getresgid(), "groups": os.getgroups(), "pid": os.getpid(),
                "folder": os.getcwd(), "env": dict(os.environ), "tried": {path: tried(path) for path in paths},
                "python": sys.version_info[:2], "processes": [name for name in os.listdir("/proc") if name.isdigit()]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Answers).serve_forever()
"""

pytestmark = pytest.mark.usefixtures("containers")


@pytest.fixture(scope="module")
def image(base: Base, skopeo: Skopeo, umoci: Umoci, tmp_path_factory: pytest.TempPathFactory) -> Unpacked:
    found = pulled(skopeo, umoci, base.reference, tmp_path_factory.mktemp("base"))
    config = {**found.config, "User": "65532:65532", "WorkingDir": "/home/nonroot", "Cmd": None}
    return Unpacked(found.root, {**config, "Entrypoint": [INTERPRETER, "-c", SERVER]})


def said(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/", timeout=30) as answer:
        return dict(json.load(answer))


def test_a_container_is_the_image_alone_without_any_rights(image: Unpacked, tmp_path: Path) -> None:
    with container(image, log=tmp_path / "log", MORE="1") as started:
        started.wait_until_ready()
        found = said(started.url)
        status = started.status()

        assert [65532] * 6 == found["ids"]
        assert [] == found["groups"]
        assert ["1"] == found["processes"]
        assert [3, 11] == found["python"]
        assert "/home/nonroot" == found["folder"]
        refused = "Read-only file system"
        assert {"/x": refused, "/dev/x": "Permission denied", "/usr/x": refused, "/tmp/x": "written"} == found["tried"]
        assert {"PATH", "MORE", "HOST", "PORT"} == set(found["env"]) - {"LC_CTYPE"}
        assert PATH == found["env"]["PATH"]
        assert {"0000000000000000"} == {status[name] for name in ("CapEff", "CapPrm", "CapBnd")}
        assert "1" == status["NoNewPrivs"]
        assert 7 == started.stop()


def test_a_container_ends_with_its_parent(image: Unpacked, tmp_path: Path) -> None:
    with container(image, log=tmp_path / "log") as started:
        started.wait_until_ready()
        first = Path(f"/proc/{started.pid}")
        started.process.kill()
        assert -signal.SIGKILL == started.process.wait(10)
        while first.exists():  # the test's time limit is the deadline
            time.sleep(0.01)
        with pytest.raises(OSError, match="refused"):
            said(started.url)


def test_what_was_not_made_by_us_reads_the_base_for_both_platforms(base: Base, skopeo: Skopeo) -> None:
    assert base.digest == skopeo.inspect(base.reference)["Digest"]
    architectures = [skopeo.inspect(base.reference, f"linux/{name}")["Architecture"] for name in ("amd64", "arm64")]
    assert ["amd64", "arm64"] == architectures
