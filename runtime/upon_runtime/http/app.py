"""The Flask application of a service: our routes, the user's blueprints, and one kind of error page."""

from __future__ import annotations

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from upon._outcome import Failed
from upon_runtime.http.answer import Answer, failure, problem
from upon_runtime.http.fastpath import FastPath
from upon_runtime.http.surface import Surface
from upon_runtime.service import Service

HOW_TO_SEND = (
    "events are sent with POST, for instance: curl -H 'ce-specversion: 1.0' -H 'ce-id: 1' -H 'ce-source: /me'"
    " -H 'ce-type: example' -H 'content-type: application/json' -d '{}'"
)


def create_app(service: Service) -> Flask:
    """Flask's test client works on it; a server calls it as any WSGI application."""
    app = Flask("upon", root_path=str(service.spec.folder), static_folder=None)
    surface = Surface(service)
    _add_routes(app, surface)
    for status in (404, 405, 500):
        app.register_error_handler(status, _problem)
    for blueprint in service.spec.blueprints:
        app.register_blueprint(blueprint)
    app.wsgi_app = FastPath(app, surface)  # type: ignore[method-assign]
    return app


def _add_routes(app: Flask, surface: Surface) -> None:
    def ours(**_: str) -> Response:
        handler = surface.find(request.method, request.environ.get("PATH_INFO") or "/")
        if handler is None:  # another spelling of the path: merged slashes and the like
            return _flask_response(problem(404, "Not Found", f"there is nothing at {request.path!r}"))
        return _flask_response(handler(request.environ))

    for number, (method, rule) in enumerate(surface.rules):
        app.add_url_rule(rule, f"upon_{number}", ours, methods=[method])


def _flask_response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status, answer.headers)
    if all(name != "content-type" for name, _ in answer.headers):
        del response.headers["content-type"]  # Flask's own is text/html
    return response


def _problem(error: HTTPException) -> Response:
    if error.code == 500:
        return _flask_response(failure(Failed("error", "the request could not be answered: the log says why")))
    if isinstance(error, MethodNotAllowed):
        return _not_allowed(error)
    detail = f"there is nothing at {request.path!r}: events go to / or /functions/NAME"
    return _flask_response(problem(404, "Not Found", detail))


def _not_allowed(error: MethodNotAllowed) -> Response:
    allowed = ", ".join(sorted(error.valid_methods or ()))
    events = request.path == "/" or request.path.startswith("/functions/")
    detail = HOW_TO_SEND if events else f"{request.path!r} takes {allowed}, not {request.method}"
    answer = problem(405, "Method Not Allowed", detail)
    answer.headers.append(("allow", allowed))
    return _flask_response(answer)
