"""`func invoke`: what it posts, and what it makes of every kind of answer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner, Result

from upon import Event, _http_codec
from upon_build.cli.app import main


class Service(BaseHTTPRequestHandler):
    """Answers as the test says, and remembers what came."""

    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        server.seen.append((self.path, dict(self.headers.items()), body))
        status, headers, answer, delay = server.answer
        time.sleep(delay)
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def service() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.handle_error = lambda *_: None  # who gave up waiting is no fault here
    server.seen, server.answer = [], (204, [], b"", 0)
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()


def invoke(service: Any, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["invoke", "--url", service.url, *arguments])


def test_it_posts_a_cloudevent_in_binary_mode(service: Any) -> None:
    result = invoke(service, "--data", '{"a": 1}', "--type", "t", "--source", "/s", "--id", "7")

    assert result.exit_code == 0, result.output
    ((path, headers, body),) = service.seen
    event = _http_codec.read_event({name.lower(): value for name, value in headers.items()}, body)
    assert path == "/"
    assert (event.id, event.type, event.source, event.data) == ("7", "t", "/s", {"a": 1})


@pytest.mark.parametrize(
    ("url", "function", "path"),
    [("", "score", "/functions/score"), ("/base/", "score", "/base/functions/score"), ("/base", None, "/base/")],
)
def test_the_path(service: Any, url: str, function: str | None, path: str) -> None:
    service.url += url

    invoke(service, *([function] if function else []), "--data", "1")

    assert service.seen[0][0] == path


def test_a_reply_is_printed(service: Any) -> None:
    headers, body = _http_codec.write_binary(Event.of({"label": 1}, id="r", source="/s", type="t"))
    service.answer = (200, headers, body, 0)

    text = invoke(service, "--data", "1")
    structured = invoke(service, "--data", "1", "-o", "json")

    assert json.loads(text.stdout) == {"label": 1}
    assert json.loads(structured.stdout) == {
        "status": 200,
        "event": {"specversion": "1.0", "id": "r", "source": "/s", "type": "t",
                  "datacontenttype": "application/json", "data": {"label": 1}},
    }  # fmt: skip


def test_no_reply_is_null(service: Any) -> None:
    assert json.loads(invoke(service, "-o", "json").stdout) == {"status": 204, "event": None}


def test_a_failure_exits_with_1_and_says_why(service: Any) -> None:
    problem = {"title": "x", "detail": "does not fit", "pointers": [{"pointer": "/a", "reason": "is missing"}]}
    headers = [("content-type", "application/problem+json"), ("upon-outcome", "invalid")]
    service.answer = (422, headers, json.dumps(problem).encode(), 0)

    text = invoke(service, "--data", "1")
    structured = invoke(service, "--data", "1", "-o", "json")

    assert (text.exit_code, structured.exit_code) == (1, 1)
    assert text.stderr == "Error: 422 invalid: does not fit\n  /a: is missing\n"
    answer = json.loads(structured.stdout)
    assert (answer["status"], answer["event"], answer["outcome"]) == (422, None, "invalid")


def test_an_answer_that_is_no_problem_is_shown_as_it_is(service: Any) -> None:
    service.answer = (502, [], b"bad gateway", 0)

    assert invoke(service, "--data", "1").stderr == "Error: 502: bad gateway\n"


def test_too_late_is_exit_code_3(service: Any) -> None:
    service.answer = (204, [], b"", 1.0)

    result = invoke(service, "--data", "1", "--timeout", "0.1")

    assert result.exit_code == 3
    assert "did not answer within 0.1 s: raise --timeout" in result.stderr


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://a:b"])
def test_an_address_that_is_none(url: str) -> None:
    result = CliRunner().invoke(main, ["invoke", "--url", url, "--data", "1"])

    assert result.exit_code == 2
    assert f"{url!r} is not an HTTP address" in result.stderr


def test_an_attribute_that_is_none() -> None:
    result = CliRunner().invoke(main, ["invoke", "--id", "\x01", "--data", "1"])

    assert result.exit_code == 2
    assert "attribute 'id'" in result.stderr
