"""What the service answers over HTTP, without a framework: WSGI environ in, Answer out. Both ways in end here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule

from upon import DataError, MalformedEvent, TooLarge, _http_codec, _json
from upon._event import Event, is_json
from upon._outcome import Failed, Outcome, invalid_from
from upon._triggers import HttpTrigger
from upon_runtime.http import batch, plain, relay
from upon_runtime.http.answer import Answer, done, failure, reply
from upon_runtime.http.body import BodyReader
from upon_runtime.http.early import on_late
from upon_runtime.service import Service

Environ: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[[Environ], Answer]

FUNCTIONS = "/functions/"
_PARAMETER = re.compile(r"{([^{}]*)}")


class Probe:
    """A handler that needs no admission: it has to answer when every slot is taken."""

    def __init__(self, answer: Callable[[], Answer]) -> None:
        self._answer = answer

    def __call__(self, environ: Environ) -> Answer:
        return self._answer()


class Surface:
    """The routes of one service. `find` picks the handler; a handler takes the WSGI environ."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.body = BodyReader(service.spec.max_body_size, service.dispatcher.watchdog)
        self._exact: dict[tuple[str, str], Handler] = {
            ("POST", "/"): self.event,
            ("GET", "/health/liveness"): Probe(self.liveness),
            ("GET", "/health/readiness"): Probe(self.readiness),
            ("GET", "/metrics"): Probe(self.metrics),
        }
        self.rules = [*self._exact, ("POST", "/functions/<name>")]  # (method, werkzeug rule) of every route
        rules: list[Rule] = []
        for spec in service.spec.functions:
            self._exact["POST", FUNCTIONS + spec.name] = partial(self.event, function=spec.name)
            for trigger in spec.function.triggers:
                if isinstance(trigger, HttpTrigger):
                    rules.extend(self._route(trigger, spec.name))
        self._patterns = Map(rules).bind("") if rules else None

    def _route(self, trigger: HttpTrigger, function: str) -> list[Rule]:
        handler = partial(self.request, function=function, source=f"/{self.service.spec.name}{trigger.path}")
        rule = _PARAMETER.sub(r"<\1>", trigger.path)
        self.rules.append((trigger.method, rule))
        if rule == trigger.path:
            self._exact[trigger.method, rule.encode().decode("latin-1")] = handler  # as WSGI spells a path
            return []
        return [Rule(rule, methods=[trigger.method], endpoint=handler)]

    def find(self, method: str, path: str) -> Handler | None:
        """The handler of a request, or None where it is no business of ours (a blueprint's, or nobody's)."""
        handler = self._exact.get((method, path))
        if handler is not None:
            return handler
        if method == "POST" and path.startswith(FUNCTIONS):
            name = path[len(FUNCTIONS) :]
            return partial(self.event, function=name) if name and "/" not in name else None
        if self._patterns is not None:
            try:
                endpoint, parameters = self._patterns.match(plain.text_of(path), method)
            except HTTPException:
                pass
            else:
                return partial(endpoint, path_params=parameters)
        return self.find("GET", path) if method == "HEAD" else None

    # Events

    def event(self, environ: Environ, function: str | None = None) -> Answer:
        """A CloudEvent in any of the three modes."""
        try:
            body = self.body.read(environ)
            content_type = environ.get("CONTENT_TYPE") or ""
            if "cloudevents" in content_type.lower():
                headers = plain.headers_of(environ)
                if _http_codec.mode_of(headers) == "batch":
                    if relay.is_relayed(environ):
                        return self._batch(environ, relay.read_items(body), function)
                    return self._batch(environ, _http_codec.read_batch_items(headers, body), function)
                event = _http_codec.read_event(headers, body)
            else:
                event = _http_codec.read_environ(environ, body)
                _check_chunked(environ, event)
        except (MalformedEvent, DataError, TooLarge) as error:
            return self.refuse_body(error)
        relayed = relay.receive(environ, (event,))
        outcome = self.service.dispatcher.deliver(
            event, function=function, on_late=on_late(environ), replies=not relayed
        )
        return self._event_answer(outcome)

    def _event_answer(self, outcome: Outcome) -> Answer:
        if isinstance(outcome, Failed):
            if outcome.kind == "unsubscribed":
                self.service.metrics.refused(outcome.kind)
            return failure(outcome)
        return reply(outcome.reply) if isinstance(outcome.reply, Event) else done()

    def _batch(self, environ: Environ, items: list[Event[Any] | MalformedEvent], function: str | None) -> Answer:
        deliver = relay.deliver_run if relay.is_run(environ) else batch.deliver_all
        relayed = relay.receive(environ, items)
        late = batch.on_late(environ)
        outcomes = deliver(self.service.dispatcher, items, function, replies=not relayed, on_late=late)
        for outcome in outcomes:
            if outcome.kind in ("malformed", "unsubscribed"):
                self.service.metrics.refused(outcome.kind)
        return batch.answer_of(outcomes, batch.accepted(environ))

    # Plain HTTP

    def request(
        self, environ: Environ, *, function: str, source: str, path_params: Mapping[str, str] | None = None
    ) -> Answer:
        """A request to an @upon.http route."""
        try:
            body = self.body.read(environ)
            event = plain.read_request(environ, body, source, path_params or {})
            _check_chunked(environ, event)
        except (MalformedEvent, DataError, TooLarge) as error:
            return self.refuse_body(error)
        outcome = self.service.dispatcher.deliver(event, function=function, on_late=on_late(environ, plain=True))
        return plain.answer_of(outcome)

    # Refusals and probes

    def refuse(self, kind: str) -> Answer:
        """`overloaded` or `draining`, for a request that is not even looked at."""
        self.service.metrics.refused(kind)
        if kind == "overloaded":
            limit = self.service.spec.admission
            return failure(Failed("overloaded", f"{limit} requests are being handled: send this one again later"))
        return failure(Failed("draining", "the service is starting or stopping: send the request again later"))

    def refuse_body(self, error: MalformedEvent | DataError | TooLarge) -> Answer:
        """For a body that never became an event."""
        if isinstance(error, DataError):
            failed = invalid_from(error)
        else:
            failed = Failed("too_large" if isinstance(error, TooLarge) else "malformed", str(error))
        self.service.metrics.refused(failed.kind)
        return failure(failed)

    def liveness(self) -> Answer:
        alive = self.service.alive()
        return _json_answer(200 if alive else 503, {"status": "alive" if alive else "stuck"})

    def readiness(self) -> Answer:
        ready = self.service.ready and not self.service.draining
        return _json_answer(200 if ready else 503, self.service.health())

    def metrics(self) -> Answer:
        content_type, page = self.service.metrics.render()
        return Answer(200, [("content-type", content_type)], page)


def _check_chunked(environ: Environ, event: Event[Any]) -> None:
    """A chunked body that was broken off looks like a whole one, unless it is JSON that ends too early."""
    if "HTTP_TRANSFER_ENCODING" in environ and is_json(event.datacontenttype or ""):
        _ = event.data


def _json_answer(status: int, value: object) -> Answer:
    return Answer(status, [("content-type", "application/json"), ("cache-control", "no-store")], _json.dumps(value))
