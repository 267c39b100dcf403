from __future__ import annotations

import pytest

from upon import UsageError
from upon._triggers import CloudEventTrigger, CronTrigger, HttpTrigger, KafkaTrigger, Options


@pytest.mark.parametrize(
    ("route", "method", "path"),
    [
        ("POST /score", "POST", "/score"),
        ("GET /models/{name}/versions/{version}", "GET", "/models/{name}/versions/{version}"),
        ("DELETE /healthy", "DELETE", "/healthy"),
        ("PUT /v2beta", "PUT", "/v2beta"),
        ("HEAD /a.b-c_d~e/", "HEAD", "/a.b-c_d~e/"),
    ],
)
def test_routes(route: str, method: str, path: str) -> None:
    trigger = HttpTrigger(route)
    assert (method, path) == (trigger.method, trigger.path)


@pytest.mark.parametrize(
    ("route", "message"),
    [
        ("/score", "must be a method and a path, such as 'POST /score/{model}'"),
        ("post /score", "must be a method and a path"),
        ("FETCH /score", "must be a method and a path"),
        ("POST  /score", "must be a method and a path"),
        ("POST score", "must be a method and a path"),
        ("POST /a b", "must be a method and a path"),
        ("POST /a?b=c", "must be a method and a path"),
        (None, "must be a method and a path"),
        ("POST /", "is taken: '/' and everything under /functions, /health, /metrics, /v2 belong to Upon"),
        ("POST /functions", "is taken"),
        ("POST /functions/score", "is taken"),
        ("GET /health/liveness", "is taken"),
        ("GET /metrics", "is taken"),
        ("POST /v2/models", "is taken"),
        ("GET /a/{}", "path parameters must be distinct names"),
        ("GET /a/{b c}", "must be a method and a path"),
        ("GET /a/{1}", "path parameters must be distinct names"),
        ("GET /a/{näme}", "path parameters must be distinct names of letters a-z"),
        ("GET /{a}/{a}", "path parameters must be distinct names"),
        ("GET /a/{b", "a brace or angle bracket is out of place"),
        ("GET /a}", "a brace or angle bracket is out of place"),
        ("GET /<int:a>", "a brace or angle bracket is out of place"),
    ],
)
def test_bad_routes_are_refused(route: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        HttpTrigger(route)


def test_triggers_say_in_one_line_what_they_are() -> None:
    assert "kafka reviews" == str(KafkaTrigger("reviews", group="g"))
    assert "cron 0 3 * * *" == str(CronTrigger("0 3 * * *"))
    assert "cron 0 3 * * * Europe/Berlin" == str(CronTrigger("0 3 * * *", "Europe/Berlin"))
    assert "http GET /a" == str(HttpTrigger("GET /a"))
    assert "cloudevent source=/s type=t" == str(CloudEventTrigger((("source", "/s"), ("type", "t"))))
    assert "cloudevent (any)" == str(CloudEventTrigger())


def test_options_lie_over_options() -> None:
    over = Options(timeout=1, idempotent=False).over(Options(timeout=2, retry=0, idempotent=True))
    assert Options(timeout=1, retry=0, idempotent=False) == over
