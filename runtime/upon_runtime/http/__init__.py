"""CloudEvents and plain HTTP over WSGI: one surface, a Flask application around it, and the server that runs it."""

from __future__ import annotations

from upon_runtime.http.app import create_app
from upon_runtime.http.server import Server, ServerError

__all__ = ["Server", "ServerError", "create_app"]
