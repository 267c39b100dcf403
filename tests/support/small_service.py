"""A small server as an image, for tests of what runs images: it tells what it sees, and fails as it is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from support.registry import RealRegistry
from support.rootfs import base_layer, push_base, small_layer

SERVER = """
import http.server, json, os, signal, sys, time, urllib.request

def say(text):
    print(text, flush=True)

def writable(path):
    try:
        with open(path + "/probe", "w"):
            return True
    except OSError:
        return False

def stop(number, frame):
    say("SIGTERM")
    if "STUBBORN" not in os.environ:
        sys.exit(0)

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = self.headers.get("Fetch")
        seen = urllib.request.urlopen(asked, timeout=10).read().decode() if asked else ""
        told = {"user": os.getuid(), "root": writable("/"), "tmp": writable("/tmp"), "fetched": seen,
                "env": dict(os.environ), "folder": os.getcwd(), "arguments": sys.argv[1:]}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *arguments):
        pass

signal.signal(signal.SIGTERM, stop)
say("one")
say("two")
if "CRASH" in os.environ:
    say(os.environ["CRASH"])
    sys.exit(3)
say("three")
http.server.ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Handler).serve_forever()
"""


def push_small_service(registry: RealRegistry, repository: str = "cluster/small") -> str:
    """Its reference by digest. Raises Unavailable."""
    code = small_layer({"srv/serve.py": SERVER})
    made = push_base(
        registry.host,
        repository,
        base_layer().read_bytes(),
        code,
        Entrypoint=["/usr/bin/python3", "/srv/serve.py"],
        Cmd=["by", "default"],
        User="65532:65532",
        WorkingDir="/srv",
    )
    return f"{registry.repository(repository)}@{made.digest}"


def container(image: str, env: Mapping[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """As a pod has it, with an empty /tmp."""
    given = [{"name": name, "value": value} for name, value in (env or {}).items()]
    return {
        "name": "main",
        "image": image,
        "env": given,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        **more,
    }


def pod_spec(*containers: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"containers": list(containers), "volumes": [{"name": "tmp", "emptyDir": {}}], **more}


def knative_service(name: str, *containers: Mapping[str, Any], **annotations: str) -> dict[str, Any]:
    """annotations: of autoscaling.knative.dev, with _ for -."""
    said = {f"autoscaling.knative.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    template = {"metadata": {"annotations": said}, "spec": pod_spec(*containers)}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"template": template},
    }
