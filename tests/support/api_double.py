"""A scripted API server: what the real one does only when it is in trouble."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

Answer: TypeAlias = "tuple[int, Any] | tuple[int, Any, dict[str, str]] | str"


class ApiDouble:
    """answers: given in turn, the last one for ever; `cut` closes the connection. asked: method, path, headers."""

    def __init__(self, port: int, folder: Path) -> None:
        self.answers: list[Answer | Callable[[str], Answer]] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.kubeconfig = folder / "kubeconfig"
        context = {"cluster": "c", "user": "u", "namespace": "ml"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "u", "user": {"token": "hidden-token"}}],
            "contexts": [{"name": "c", "context": context}],
        }
        self.kubeconfig.write_text(json.dumps(config))

    def next(self, path: str) -> Answer:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(path) if callable(answer) else answer


class _Handler(BaseHTTPRequestHandler):
    double: ClassVar[ApiDouble]

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.double.asked.append((self.command, self.path, dict(self.headers)))
        answer = self.double.next(self.path)
        if isinstance(answer, str):
            self.close_connection = True
            return
        lines = answer[1] if isinstance(answer[1], list) else [answer[1]]
        content = b"\n".join(json.dumps(line).encode() for line in lines)
        self.send_response(answer[0])
        for name, value in (answer[2] if len(answer) == 3 else {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PATCH = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def api_double(folder: Path) -> Iterator[ApiDouble]:
    """On this machine, until the end of the block."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    double = handler.double = ApiDouble(server.server_port, folder)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def status(code: int, message: str, reason: str = "", **details: Any) -> tuple[int, dict[str, Any]]:
    """A failure as the API server writes it."""
    return code, {"kind": "Status", "message": message, "reason": reason, "code": code, "details": details}
