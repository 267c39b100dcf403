"""The WSGI callable in front of Flask: admission for all requests, and our own routes without Flask's cost."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from flask import Flask, signals

from upon import MalformedEvent, TooLarge
from upon._outcome import Failed
from upon_runtime.http.admission import Admission
from upon_runtime.http.answer import Answer, failure
from upon_runtime.http.body import BODY
from upon_runtime.http.early import CLOSE
from upon_runtime.http.exposure import Closed
from upon_runtime.http.surface import Environ, Handler, Probe, Surface

log = logging.getLogger("upon.http")

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

_SIGNALS = (signals.request_started, signals.request_finished, signals.request_tearing_down)


class FastPath:
    """Installed as `app.wsgi_app`. It steps aside for good once the app has request hooks or is wrapped again:

    whoever adds a hook expects every request to pass it.
    """

    def __init__(self, app: Flask, surface: Surface) -> None:
        self._app = app
        self._flask = app.wsgi_app
        self._surface = surface
        self._service = surface.service
        self.admission = Admission(surface.service.spec.admission)
        self._closed = Closed(surface.service.spec.closed)
        self._on = True
        # Empty as long as nobody wants to see requests; Flask and blinker change these in place.
        self._watched: tuple[Any, ...] = (
            app.before_request_funcs,
            app.after_request_funcs,
            app.teardown_request_funcs,
            app.url_value_preprocessors,
            app.teardown_appcontext_funcs,
            *(signal.receivers for signal in _SIGNALS),
        )
        if getattr(app.wsgi_app, "__func__", None) is not Flask.wsgi_app:
            self._switch_off("the application's wsgi_app is wrapped")

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        service = self._service
        if service.draining:
            environ[CLOSE] = True  # the sender comes back on a new connection, where it is welcome
        if self._closed.refuses(environ):
            return _send(self._closed.answer(), start_response)
        handler = self._surface.find(environ["REQUEST_METHOD"], environ.get("PATH_INFO") or "/")
        if type(handler) is Probe:
            return _send(handler(environ), start_response) if self._direct() else self._flask(environ, start_response)
        if not service.ready:
            return _send(self._surface.refuse("draining"), start_response)
        if not self.admission.enter():
            return _send(self._surface.refuse("overloaded"), start_response)
        if handler is None or not self._direct():
            return self._through_flask(handler, environ, start_response)
        try:
            return _send(handler(environ), start_response)
        except Exception as error:
            return _send(_bug(error), start_response)
        finally:
            self.admission.leave()

    def _through_flask(
        self, handler: Handler | None, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        try:
            if handler is not None:
                self._keep_body(environ)
            result = self._flask(environ, start_response)
        except (MalformedEvent, TooLarge) as error:
            self.admission.leave()
            return _send(self._surface.refuse_body(error), start_response)
        except BaseException:
            self.admission.leave()
            raise
        return _Held(result, self.admission.leave)

    def _keep_body(self, environ: Environ) -> None:
        """Hooks may read the body too, so it is read once and put back."""
        body = self._surface.body.read(environ)
        environ[BODY] = body
        environ["wsgi.input"] = io.BytesIO(body)
        environ["wsgi.input_terminated"] = True

    def _direct(self) -> bool:
        if self._on and (self._app.wsgi_app is not self or any(self._watched)):
            self._look_closer()
        return self._on

    def _look_closer(self) -> None:
        hooks, teardowns, receivers = self._watched[:4], self._watched[4], self._watched[5:]
        if self._app.wsgi_app is not self:
            self._switch_off("the application's wsgi_app is wrapped")
        elif any(by_blueprint.get(None) for by_blueprint in hooks) or teardowns:
            self._switch_off("the application has request hooks")
        elif any(receivers):
            self._switch_off("something listens to Flask's request signals")

    def _switch_off(self, reason: str) -> None:
        self._on = False
        log.info("%s: events and routes take the way through Flask, about 150 µs more a request", reason)


class _Held:
    """A response that may still be streaming holds its slot until it is exhausted or closed."""

    def __init__(self, inner: Iterable[bytes], leave: Callable[[], None]) -> None:
        self._inner = inner
        self._chunks = iter(inner)
        self._leave: Callable[[], None] | None = leave

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except BaseException:
            self._release()
            raise

    def close(self) -> None:
        try:
            close = getattr(self._inner, "close", None)
            if close is not None:
                close()
        finally:
            self._release()

    def _release(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()


def _send(answer: Answer, start_response: StartResponse) -> list[bytes]:
    start_response(answer.line, answer.headers)
    return [answer.body]


def _bug(error: Exception) -> Answer:
    log.exception("a request could not be answered", exc_info=error)
    return failure(Failed("error", f"{type(error).__name__}: {error}"))
