"""The Kubernetes API as plain objects: one cluster, one identity, every call with a time limit.

Configuration, logins and TLS are those of the `kubernetes` package. Its own calls make a class of each object and know
no server-side apply of all kinds, so requests go out over its connections as they are.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from upon import MissingExtra
from upon_build.cluster.api.errors import ApiError, ClusterUnavailable, Gone, NotFound
from upon_build.cluster.api.kinds import Kind, kind_of
from upon_build.cluster.api.refusals import refusal
from upon_build.cluster.objects.labels import FIELD_MANAGER

TIMEOUT = 15.0  # seconds for one answer
CONNECT = 5.0  # seconds for a connection
TRIES = 5
LONGEST_PAUSE = 4.0
AGAIN = (429, 500, 502, 503, 504)
WATCH = 60.0  # seconds for one connection of a watch
REMEDY = "name a file with --kubeconfig or KUBECONFIG, and check `kubectl config get-contexts`"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long calls are tried again. pause: takes seconds."""

    tries: int = TRIES
    pause: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random

    def wait(self, attempt: int, wish: float = 0.0) -> None:
        """Exponential with full jitter, and at least what the server asked for."""
        self.pause(max(min(wish, LONGEST_PAUSE), self.random() * min(LONGEST_PAUSE, 0.2 * 2**attempt)))


class Api:
    """Errors: ClusterUnavailable, Forbidden, NotFound, Conflict, else ApiError. Safe for threads."""

    def __init__(self, client: Any, namespace: str = "default", patience: Patience | None = None) -> None:
        self.namespace = namespace
        self._client = client
        self._patience = patience or Patience()

    @classmethod
    def connect(cls, *, kubeconfig: str | None = None, context: str | None = None, namespace: str | None = None) -> Api:
        """By a kubeconfig, else by the service account of the pod that this runs in. Asks nobody yet.

        namespace: by default the context's. Raises ClusterUnavailable where nothing is configured, MissingExtra.
        """
        try:
            import yaml
            from kubernetes import config
        except ImportError:
            raise MissingExtra("deploying to Kubernetes", "deploy") from None
        try:
            client = _from_kubeconfig(config, kubeconfig, context)
            return cls(client, namespace or _namespace(config, kubeconfig, context))
        except config.ConfigException as error:
            if kubeconfig or context or not os.environ.get("KUBERNETES_SERVICE_HOST"):
                message = f"no cluster is configured ({' '.join(str(error).split())[:300]}): {REMEDY}"
                raise ClusterUnavailable(message) from None
        except (OSError, yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
            said = " ".join(str(error).split())[:300]
            raise ClusterUnavailable(f"the kubeconfig can't be read ({said}): {REMEDY}") from None
        return cls(_in_cluster(config), namespace or "default")

    @property
    def server(self) -> str:
        """Its address."""
        return str(self._client.configuration.host)

    def close(self) -> None:
        self._client.rest_client.pool_manager.clear()

    # Objects

    def get(self, kind: Kind, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """None for what is not there."""
        try:
            found = self._json("GET", kind.path(self._in(kind, namespace), name), kind=kind, verb="get")
        except NotFound:
            return None
        return dict(found)

    def list(
        self, kind: Kind, namespace: str | None = None, selector: str = "", *, everywhere: bool = False
    ) -> list[Any]:
        """everywhere: in all namespaces. Raises NotFound where the cluster does not know the kind."""
        query = {"labelSelector": selector} if selector else {}
        path = kind.path(None if everywhere else self._in(kind, namespace))
        found = self._json("GET", path, query, kind=kind, verb="list")
        said = {"apiVersion": kind.api_version, "kind": kind.kind}
        return [{**said, **one} for one in found.get("items") or ()]

    def apply(self, thing: Mapping[str, Any], *, force: bool = False, dry_run: bool = False) -> dict[str, Any]:
        """Server-side, as field manager `upon`. Raises Conflict where somebody else set a field of it."""
        kind = kind_of(thing)
        meta = thing["metadata"]
        query = {"fieldManager": FIELD_MANAGER, "force": str(force).lower()}
        query |= {"dryRun": "All"} if dry_run else {}
        path = kind.path(meta.get("namespace"), meta["name"])
        apply = "application/apply-patch+yaml"
        return dict(self._json("PATCH", path, query, thing, content_type=apply, kind=kind, verb="patch"))

    def create(self, kind: Kind, thing: Mapping[str, Any], namespace: str | None = None) -> dict[str, Any]:
        return dict(self._json("POST", kind.path(self._in(kind, namespace)), body=thing, kind=kind, verb="create"))

    def delete(self, kind: Kind, name: str, namespace: str | None = None, *, uid: str | None = None) -> bool:
        """With everything that belongs to it, in the background; False for what is not there."""
        options: dict[str, Any] = {"propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            self._json("DELETE", kind.path(self._in(kind, namespace), name), body=options, kind=kind, verb="delete")
        except NotFound:
            return False
        return True

    def can(
        self,
        verb: str,
        kind: Kind,
        namespace: str | None = None,
        name: str | None = None,
        *,
        subresource: str = "",
    ) -> bool:
        """Whether this identity may. verb: as Kubernetes names it, such as `patch`."""
        wanted = {
            "verb": verb,
            "group": kind.group,
            "resource": kind.plural,
            "subresource": subresource,
            "name": name or "",
            "namespace": self._in(kind, namespace) or "",
        }
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in wanted.items() if value}},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(self._json("POST", path, body=review)["status"]["allowed"])

    def version(self) -> str:
        """Kubernetes', such as `v1.36.3`."""
        return str(self._json("GET", "/version")["gitVersion"])

    # Streams

    def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        name: str | None = None,
        selector: str = "",
        timeout: float,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """(`ADDED`, `MODIFIED` or `DELETED`, object): what is there, then what comes; ends after timeout seconds.

        A connection that is cut, or a place that is too old, is begun anew; then what is there comes again.
        """
        deadline = time.monotonic() + timeout
        query = {"labelSelector": selector} if selector else {}
        query |= {"fieldSelector": f"metadata.name={name}"} if name else {}
        path = kind.path(self._in(kind, namespace))
        attempt = 0
        while (left := deadline - time.monotonic()) > 0:
            try:
                found = self._json("GET", path, query, kind=kind, verb="list")
                for one in found.get("items") or ():
                    yield "ADDED", one
                at = {**query, "watch": "1", "resourceVersion": found["metadata"]["resourceVersion"]}
                for event in self._events(path, at, min(WATCH, left), kind):
                    attempt = 0
                    yield event
            except (ClusterUnavailable, Gone):
                attempt += 1
                if deadline - time.monotonic() <= 0:
                    raise
                self._patience.wait(min(attempt, self._patience.tries))

    def _events(self, path: str, query: Mapping[str, str], seconds: float, kind: Kind) -> Iterator[tuple[str, Any]]:
        more = {**query, "timeoutSeconds": str(max(1, int(seconds)))}
        for line in self._lines(path, more, seconds + TIMEOUT, kind, "watch"):
            event = json.loads(line)
            if event["type"] == "ERROR":
                raise Gone(str(event["object"].get("message")), int(event["object"].get("code") or 0))
            if event["type"] != "BOOKMARK":
                yield event["type"], event["object"]

    def logs(
        self,
        pod: str,
        namespace: str | None = None,
        *,
        container: str | None = None,
        follow: bool = False,
        since_seconds: float | None = None,
        tail_lines: int | None = None,
        previous: bool = False,
        timestamps: bool = False,
        timeout: float = TIMEOUT,
    ) -> Iterator[str]:
        """Lines of a container. timeout: seconds between two of them, which `follow` may take much longer."""
        from upon_build.cluster.api.kinds import POD

        query: dict[str, str] = {"container": container} if container else {}
        query |= {name: "true" for name, said in (("follow", follow), ("previous", previous)) if said}
        query |= {"timestamps": "true"} if timestamps else {}
        query |= {"sinceSeconds": str(max(1, int(since_seconds)))} if since_seconds is not None else {}
        query |= {"tailLines": str(tail_lines)} if tail_lines is not None else {}
        path = f"{POD.path(namespace or self.namespace, pod)}/log"
        for line in self._lines(path, query, timeout, POD, "get", "/log"):
            yield line.decode(errors="replace")

    # Requests

    def _in(self, kind: Kind, namespace: str | None) -> str | None:
        return (namespace or self.namespace) if kind.namespaced else None

    def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] = {},
        body: Any = None,
        *,
        content_type: str = "application/json",
        kind: Kind | None = None,
        verb: str = "",
    ) -> Any:
        """The answer, with patience for what passes."""
        # An apply is read as YAML, which knows no surrogates: whatever is not ASCII must stand there itself.
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        for attempt in range(self._patience.tries):
            last = attempt == self._patience.tries - 1
            try:
                response = self._send(method, path, query, content, content_type, TIMEOUT)
            except ClusterUnavailable:
                if last:
                    raise
                self._patience.wait(attempt)
                continue
            if response.status < 300:
                return json.loads(response.data)
            error = refusal(response.status, response.data, verb or method.lower(), kind, path)
            if last or response.status not in AGAIN or not _passes(response.status, error):
                raise error
            self._patience.wait(attempt, _wish(response.headers))
        raise AssertionError("the last try raises or returns")

    def _lines(
        self, path: str, query: Mapping[str, str], timeout: float, kind: Kind, verb: str, sub: str = ""
    ) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError

        response = self._send("GET", path, query, None, "application/json", timeout, stream=True)
        try:
            if response.status >= 300:
                raise refusal(response.status, response.read(65536), verb, kind, path + sub)
            rest = b""
            for piece in response.stream(65536, decode_content=True):
                *lines, rest = (rest + piece).split(b"\n")
                yield from lines
            if rest:
                yield rest
        except (HTTPError, OSError) as error:
            raise self._unavailable(error) from None
        finally:
            response.close()
            response.release_conn()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        content: bytes | None,
        content_type: str,
        timeout: float,
        *,
        stream: bool = False,
    ) -> Any:
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError

        url = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": "upon", **self._login()}
        try:
            return self._client.rest_client.pool_manager.request(
                method,
                url,
                body=content,
                headers=headers,
                timeout=Timeout(connect=CONNECT, read=timeout),
                preload_content=not stream,
                retries=False,
            )
        except (HTTPError, OSError) as error:
            raise self._unavailable(error) from None

    def _login(self) -> dict[str, str]:
        """Anew for each call: tokens of cloud providers live for minutes."""
        found = self._client.configuration.auth_settings().values()
        return {one["key"]: one["value"] for one in found if one.get("in") == "header" and one.get("value")}

    def _unavailable(self, error: Exception) -> ClusterUnavailable:
        said = " ".join(str(getattr(error, "reason", None) or error).split())[:200]
        return ClusterUnavailable(f"the cluster at {self.server} does not answer ({said}): {REMEDY}")


def _passes(status: int, error: ApiError) -> bool:
    """Whether another try may help: a webhook's refusal comes as 500 too, and stays one."""
    return status != 500 or "failed calling webhook" in str(error) or "etcdserver" in str(error)


def _wish(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0


def _namespace(config: Any, kubeconfig: str | None, context: str | None) -> str:
    """The context's."""
    contexts, active = config.list_kube_config_contexts(config_file=kubeconfig)
    chosen = next((one for one in contexts if one["name"] == context), active)
    return str((chosen.get("context") or {}).get("namespace") or "default")


def _from_kubeconfig(config: Any, kubeconfig: str | None, context: str | None) -> Any:
    return config.new_client_from_config(config_file=kubeconfig, context=context, persist_config=False)


def _in_cluster(config: Any) -> Any:
    from kubernetes import client

    configuration = client.Configuration()
    config.load_incluster_config(client_configuration=configuration)
    return client.ApiClient(configuration)
