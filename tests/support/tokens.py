"""A token server for registries: whoever has the password gets what was asked for, anybody may pull `public/...`."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

REFRESH_TOKEN = "identity-s3cret-token"


class TokenServer:
    """asked: what each request wanted, `(method, form)`; lifetime: seconds that a token lasts."""

    service = "registry of the tests"
    issuer = "the tests"

    def __init__(self, certificate: Path, key: Path, users: Mapping[str, str]) -> None:
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        assert isinstance(loaded, rsa.RSAPrivateKey)
        self._key = loaded
        self._certificate = x509.load_pem_x509_certificate(certificate.read_bytes())
        self._users = dict(users)
        self.lifetime = 300
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, form: dict[str, list[str]], authorization: str | None) -> tuple[int, dict[str, Any]]:
        self.asked.append((method, form))
        try:
            user = self._user(form, authorization)
        except PermissionError:
            return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "incorrect username or password"}]}
        scopes = [one for text in form.get("scope", []) for one in text.split(" ")]
        token = self.token(user, scopes)
        name = "access_token" if method == "POST" else "token"
        return 200, {name: token, "expires_in": self.lifetime}

    def _user(self, form: dict[str, list[str]], authorization: str | None) -> str:
        """Who asks, or "" for anybody."""
        if form.get("grant_type") == ["refresh_token"]:
            if form.get("refresh_token") != [REFRESH_TOKEN]:
                raise PermissionError
            return "robot"
        if authorization is None:
            return ""
        user, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if self._users.get(user) != password:
            raise PermissionError
        return user

    def token(self, user: str, scopes: list[str]) -> str:
        """A JSON web token that the registry takes."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": user,
            "aud": self.service,
            "exp": now + self.lifetime,
            "nbf": now - 10,
            "iat": now,
            "jti": secrets.token_hex(8),
            "access": [_access(scope, user) for scope in scopes],
        }
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        signed = f"{_encoded(head)}.{_encoded(claims)}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64(signature)}"


def _access(scope: str, user: str) -> dict[str, Any]:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    allowed = actions.split(",") if user else ["pull"] if name.startswith("public/") else []
    return {"type": kind, "name": name, "actions": [one for one in actions.split(",") if one in allowed]}


def _encoded(value: Any) -> str:
    return _base64(json.dumps(value).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _handler_of(server: TokenServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET", parse_qs(urlsplit(self.path).query))

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self._answer("POST", parse_qs(content.decode()))

        def _answer(self, method: str, form: dict[str, list[str]]) -> None:
            status, said = server.answer(method, form, self.headers.get("Authorization"))
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    return Handler
