"""The API server over HTTP, with plain dictionaries: the least that the tests' own node and checks need."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

PLURALS = {
    "Pod": "pods",
    "Node": "nodes",
    "Namespace": "namespaces",
    "Ingress": "ingresses",
    "NetworkPolicy": "networkpolicies",
}


class ApiFault(Exception):
    """An answer that is no success. status: HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Rest:
    """One identity at one API server; safe for threads, since each call has a connection of its own."""

    def __init__(self, port: int, ca: Path, token: str) -> None:
        self._port = port
        self._token = token
        self._tls = ssl.create_default_context(cafile=str(ca))

    def call(
        self, method: str, path: str, content: Any = None, *, kind: str = "application/json", timeout: float = 15.0
    ) -> Any:
        """The answer's JSON. Raises ApiFault, OSError."""
        connection, response = self._begun(method, path, content, kind, timeout)
        try:
            body = response.read()
        finally:
            connection.close()
        if response.status >= 300:
            raise ApiFault(response.status, _message(body))
        return json.loads(body) if body[:1] in (b"{", b"[") else body.decode(errors="replace")

    def _begun(
        self, method: str, path: str, content: Any, kind: str, timeout: float
    ) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, timeout=timeout, context=self._tls)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind, "Accept": "application/json"}
        try:
            body = None if content is None else json.dumps(content, ensure_ascii=False).encode()  # an apply is YAML
            connection.request(method, path, body, headers)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def find(self, path: str) -> Any | None:
        """None for what is not there."""
        try:
            return self.call("GET", path)
        except ApiFault as fault:
            if fault.status == 404:
                return None
            raise

    def post(self, path: str, content: Any) -> Any:
        return self.call("POST", path, content)

    def patch(self, path: str, content: Any) -> Any:
        """A strategic or, for custom resources, a merge patch."""
        return self.call("PATCH", path, content, kind="application/merge-patch+json")

    def delete(self, path: str, **options: Any) -> Any:
        return self.call("DELETE", path, options or None)

    def apply(self, thing: dict[str, Any], manager: str = "tests") -> Any:
        """Server-side apply, whoever owned the fields."""
        query = urlencode({"fieldManager": manager, "force": "true"})
        return self.call("PATCH", f"{path_of(thing)}?{query}", thing, kind="application/apply-patch+yaml", timeout=30)

    def lines(self, path: str, timeout: float = 60.0) -> Iterator[str]:
        """An answer as it comes, line by line. Raises ApiFault, OSError."""
        connection, response = self._begun("GET", path, None, "application/json", timeout)
        try:
            if response.status != 200:
                raise ApiFault(response.status, _message(response.read()))
            while line := response.readline():
                yield line.decode(errors="replace").rstrip("\n")
        finally:
            connection.close()

    def with_token(self, token: str) -> Rest:
        """The same API server, as somebody else."""
        other = copy(self)
        other._token = token
        return other

    def watch(self, path: str, selector: str = "", timeout: float = 300.0) -> Iterator[tuple[str, Any]]:
        """("SYNC", every item), then (type, object) until the connection ends."""
        query = {"fieldSelector": selector} if selector else {}
        found = self.call("GET", f"{path}?{urlencode(query)}", timeout=30)
        yield "SYNC", found["items"]
        version = found["metadata"]["resourceVersion"]
        more = urlencode({**query, "watch": "1", "resourceVersion": version, "timeoutSeconds": int(timeout)})
        connection, response = self._begun("GET", f"{path}?{more}", None, "application/json", timeout + 10)
        try:
            if response.status != 200:
                raise ApiFault(response.status, _message(response.read()))
            while line := response.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                yield event["type"], event["object"]
        finally:
            connection.close()


def path_of(thing: dict[str, Any]) -> str:
    """Where an object has its place."""
    version, kind, meta = thing["apiVersion"], thing["kind"], thing["metadata"]
    plural = PLURALS.get(kind) or (
        f"{kind.lower()[:-1]}ies" if kind.endswith("y") else f"{kind.lower()}{'es' if kind.endswith('s') else 's'}"
    )
    root = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    return f"{root}/{collection(meta.get('namespace'), plural)}/{meta['name']}"


def collection(namespace: str | None, plural: str) -> str:
    return f"namespaces/{namespace}/{plural}" if namespace else plural


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body[:300].decode(errors="replace")
