"""Plain HTTP in and out: a request to an @upon.http route as an Event, and what the handler returned as an answer."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

from upon import DataError, Event, HttpInfo, MalformedEvent, Response, Upload
from upon._outcome import Failed, Outcome
from upon_runtime.http.answer import Answer, failure, reply

REQUEST_TYPE = "upon.http.request"
LONGEST_KEY = 255
_OURS = frozenset({"content-length", "transfer-encoding", "connection"})
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+\Z")


def read_request(environ: dict[str, Any], body: bytes, source: str, path_params: Mapping[str, str]) -> Event[Any]:
    """The request as an event. Raises MalformedEvent for a multipart body that can't be taken apart, or a bad key."""
    attributes = {"specversion": "1.0", "id": _id_of(environ), "source": source, "type": REQUEST_TYPE}
    content_type: str = environ.get("CONTENT_TYPE") or ""
    if content_type:
        attributes["datacontenttype"] = content_type
    info = HttpInfo(
        method=environ["REQUEST_METHOD"],
        path=text_of(environ.get("PATH_INFO") or "/"),
        path_params=path_params,
        query=_query(environ.get("QUERY_STRING", "")),
        headers=headers_of(environ),
        files=_uploads(body, content_type) if content_type[:19].lower() == "multipart/form-data" else (),
    )
    return Event._trusted(attributes, body or None, http=info)


def _id_of(environ: dict[str, Any]) -> str:
    """The sender's, so that the same request can be known again (draft-ietf-httpapi-idempotency-key-header)."""
    given: str | None = environ.get("HTTP_IDEMPOTENCY_KEY")
    if given is None:
        return str(uuid4())
    key = given.strip().removeprefix('"').removesuffix('"')
    if not 0 < len(key) <= LONGEST_KEY or not (key.isascii() and key.isprintable()):
        raise MalformedEvent(f"Idempotency-Key is 1 to {LONGEST_KEY} printable ASCII characters, not {given!r:.80}")
    return key


def text_of(path: str) -> str:
    """A path as text; WSGI hands over UTF-8 bytes dressed as latin-1."""
    return path if path.isascii() else path.encode("latin-1").decode(errors="replace")


def headers_of(environ: dict[str, Any]) -> dict[str, str]:
    """Header names in lower case, to values."""
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    for name, key in (("content-type", "CONTENT_TYPE"), ("content-length", "CONTENT_LENGTH")):
        if environ.get(key):
            headers[name] = environ[key]
    return headers


def _query(text: str) -> dict[str, tuple[str, ...]]:
    if not text:
        return {}
    query: dict[str, tuple[str, ...]] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        query[name] = (*query.get(name, ()), value)
    return query


def _uploads(body: bytes, content_type: str) -> tuple[Upload, ...]:
    """The parts of a form: fields first (no filename), then files."""
    from werkzeug.formparser import MultiPartParser
    from werkzeug.http import parse_options_header

    boundary = parse_options_header(content_type)[1].get("boundary", "")
    try:
        form, files = MultiPartParser().parse(io.BytesIO(body), boundary.encode(), len(body))
    except ValueError as error:
        raise MalformedEvent(f"the multipart body can't be read: {error}") from None
    uploads = [Upload(name, None, None, value.encode()) for name, value in form.items(multi=True)]
    for name, file in files.items(multi=True):
        with file.stream:  # a temporary file once it is large
            uploads.append(Upload(name, file.filename, file.content_type or None, file.stream.read()))
    return tuple(uploads)


def answer_of(outcome: Outcome) -> Answer:
    """What a route's caller gets: an Event in binary mode, a Response as it is, a failure by the table."""
    if isinstance(outcome, Failed):
        return failure(outcome, plain=True)
    if isinstance(outcome.reply, Event):
        return reply(outcome.reply)
    if outcome.reply is None:
        return Answer(204, [])
    try:
        return _response(outcome.reply)
    except DataError as error:
        return failure(Failed("error", str(error)), plain=True)


def _response(response: Response) -> Answer:
    headers = {str(name).lower(): str(value) for name, value in response.headers.items()}
    for name, value in headers.items():
        _check_header(name, value)
    if response.content_type is not None:
        headers["content-type"] = response.content_type
    body = response.data if isinstance(response.data, bytes) else None  # the dispatcher has encoded it
    empty = response.status in (204, 304)
    return Answer(response.status, list(headers.items()), b"" if empty or body is None else body)


def _check_header(name: str, value: str) -> None:
    """The server would drop such a header without a word."""
    if name in _OURS:
        raise DataError(f"Response header {name!r} is set by the server: leave it out")
    if not _NAME.match(name) or not (value.isascii() and value.replace("\t", " ").isprintable()):
        raise DataError(f"Response header {name!r}: {value!r} can't be sent: use printable ASCII, or percent-encode it")
