from __future__ import annotations

from typing import Any

import pytest

from upon import Response


def test_a_response_is_data_with_a_status() -> None:
    response = Response({"a": 1}, status=201, headers={"Location": "/a"}, content_type="application/vnd.a+json")
    assert ({"a": 1}, 201, "/a") == (response.data, response.status, response.headers["Location"])
    assert (None, 200, None) == (Response().data, Response().status, Response().content_type)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"status": 99}, "status must be a whole number between 200 and 599, not 99"),
        ({"status": 600}, "not 600"),
        ({"status": "200"}, "not '200'"),
        ({"headers": {"X-A": "1\r\nX-B: 2"}}, "header 'X-A' must be a string on one line"),
        ({"headers": {"X\n": "1"}}, "must be a string on one line"),
        ({"headers": {"X-A": 1}}, "header 'X-A' must be a string on one line, not 1"),
        ({"content_type": "text/plain\r\n"}, "content_type must be a media type"),
        ({"content_type": ""}, "content_type must be a media type"),
    ],
)
def test_what_http_can_not_carry_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Response(**given)
