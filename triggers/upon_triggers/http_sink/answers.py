"""From an HTTP answer to an outcome. The rules of every status stand here and nowhere else.

`Upon-Outcome` says it where the receiver is one of ours. Elsewhere the status does, and what decides is whether it
speaks about the event. Statuses that speak about the address, the caller or the moment (a redirect, 401, 403, 404,
405, 407, 408, 409, 425, 429, 503) are busy: a route that is being programmed or a credential that has run out must
not send a whole topic to the dead letter.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, cast

import orjson

from upon import MalformedEvent, UponError, _http_codec
from upon._json_format import read_parsed
from upon._outcome import DONE, KINDS, Done, Failed, FailureKind, Outcome
from upon._relay import OUTCOME, OUTCOMES_TYPE
from upon_triggers.http_sink.connection import Answer, NoAnswer

MOST_AFTER = 86_400.0  # seconds; whoever waits has a smaller cap of its own
MOST_TEXT = 500  # characters of an answer in a message

_BY_STATUS: dict[int, FailureKind] = {
    400: "malformed",
    401: "draining",
    403: "draining",
    404: "draining",
    405: "draining",
    407: "draining",
    408: "draining",
    409: "overloaded",
    413: "too_large",
    425: "draining",
    429: "overloaded",
    503: "draining",
    504: "timeout",
}
_BY_STAGE: dict[str, FailureKind] = {"unsent": "draining", "sent": "error", "late": "timeout", "too large": "error"}


def is_ours(answer: Answer) -> bool:
    """Whether a service of ours gave this answer, and not a proxy in front of it or somebody else's function."""
    return OUTCOME in answer.headers or has_outcomes(answer)


def has_outcomes(answer: Answer) -> bool:
    """Whether it holds one outcome per item of a batch."""
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower() == OUTCOMES_TYPE


def no_answer(url: str, error: NoAnswer) -> Failed:
    """What it means that no answer came: the event may have been handled, unless the request was not even sent."""
    return Failed(_BY_STAGE[error.stage], f"{url}: {error}", cause=error)


def outcome_of(url: str, answer: Answer) -> Outcome:
    """What became of the one event that was posted."""
    said = answer.headers.get(OUTCOME)
    if not 200 <= answer.status <= 299:
        return _failure(url, answer, said)
    if said is not None and said != "done" and said in KINDS:
        return _failure(url, answer, said)
    try:
        return _reply(answer)
    except MalformedEvent as error:
        return Failed("error", f"{url} answered {answer.status} with a body that is no CloudEvent: {error}")


def _reply(answer: Answer) -> Done:
    """Anything but a CloudEvent or nothing is an error, as it is for Knative. Raises MalformedEvent."""
    binary = _http_codec.mode_of(answer.headers) == "binary"
    if not answer.body and (not binary or "ce-specversion" not in answer.headers):
        return DONE
    return Done(_http_codec.read_event(answer.headers, answer.body))


def _failure(url: str, answer: Answer, said: str | None) -> Failed:
    kind = cast(FailureKind, said) if said in KINDS and said != "done" else _kind_of(answer.status)
    return Failed(kind, _described(url, answer), after=_after(answer.headers.get("retry-after")))


def _kind_of(status: int) -> FailureKind:
    known = _BY_STATUS.get(status)
    if known is not None:
        return known
    if status >= 500:
        return "error"
    return "rejected" if status >= 400 else "draining"  # a redirect is not followed: the address is not right


def _described(url: str, answer: Answer) -> str:
    """What the receiver says of itself: problem+json's detail, or the beginning of its text."""
    text = ""
    if "problem+json" in answer.headers.get("content-type", ""):
        try:
            text = str(orjson.loads(answer.body)["detail"])
        except (ValueError, LookupError, TypeError):
            text = ""
    if OUTCOME in answer.headers and text:
        return text  # the function's own words, as they are where it runs in the same process
    text = text or " ".join(answer.body[: 4 * MOST_TEXT].decode(errors="replace").split())
    where = f" (Location: {answer.headers['location']})" if "location" in answer.headers else ""
    return f"{url} answered {answer.status}{where}" + (f": {text[:MOST_TEXT]}" if text else "")


def _after(text: str | None) -> float | None:
    """Retry-After in seconds: a number or an HTTP date; what is neither is not there."""
    if not text:
        return None
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), MOST_AFTER)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError, TypeError):
        return None
    return min(max(seconds, 0.0), MOST_AFTER)


def outcomes_of(url: str, answer: Answer, count: int) -> list[Outcome]:
    """One outcome per item of the batch; where they can't be read, the batch may have been handled: errors."""
    try:
        items = orjson.loads(answer.body)
        if not isinstance(items, list) or len(items) != count:
            raise ValueError(f"not a list of {count} outcomes")
        return [_item(index, item) for index, item in enumerate(items)]
    except (ValueError, LookupError, TypeError, UponError) as error:
        return [Failed("error", f"{url} answered a batch with outcomes that can't be read: {error}")] * count


def _item(index: int, item: Mapping[str, Any]) -> Outcome:
    if item["index"] != index:
        raise ValueError(f"item {item['index']!r} in place {index}")
    kind = item["outcome"]
    if kind == "done":
        event = item.get("event")
        return DONE if event is None else Done(read_parsed(event))
    if kind not in KINDS:
        raise ValueError(f"unknown outcome {kind!r}")
    after = item.get("after")
    seconds = min(max(float(after), 0.0), MOST_AFTER) if isinstance(after, (int, float)) else None
    return Failed(cast(FailureKind, kind), str(item.get("reason") or KINDS[kind].title), after=seconds)
