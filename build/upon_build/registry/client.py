"""A repository of a registry (OCI distribution 1.1): read and write manifests and blobs, every digest verified."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from upon_build.image.oci import DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST, Descriptor, digest_of
from upon_build.registry.credentials import Credentials
from upon_build.registry.errors import DigestMismatch, NotFound, RegistryError
from upon_build.registry.limits import Limits
from upon_build.registry.progress import Progress, Silent
from upon_build.registry.reference import Reference, is_digest
from upon_build.registry.response import LARGEST_MANIFEST, Response
from upon_build.registry.retry import Policy
from upon_build.registry.session import Ask, Session
from upon_build.registry.upload import Sent, Upload, mount

if TYPE_CHECKING:
    from upon_build.image.store import Store

MANIFESTS = (INDEX, DOCKER_LIST, MANIFEST, DOCKER_MANIFEST)
MOST_PAGES = 20


class Repository:
    """Safe for threads. Errors: RegistryUnavailable, NotFound, DigestMismatch, else RegistryError."""

    def __init__(
        self,
        reference: Reference,
        *,
        credentials: Credentials | None = None,
        progress: Progress | None = None,
        env: Mapping[str, str] = os.environ,
        policy: Policy | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.reference = reference
        self.credentials = credentials or Credentials.default(env)
        self.progress: Progress = progress or Silent()
        self._env = env
        self._policy = policy
        self._limits = limits
        self._session = Session(reference, self.credentials, env=env, policy=policy, limits=limits)

    def __enter__(self) -> Repository:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._session.close()

    def sibling(self, reference: Reference) -> Repository:
        """Another repository, with the same logins, progress and patience."""
        return Repository(
            reference,
            credentials=self.credentials,
            progress=self.progress,
            env=self._env,
            policy=self._policy,
            limits=self._limits,
        )

    def push_begins(self) -> None:
        """From here on tokens are asked for that may write, so that one is enough."""
        self._session.pushing = True

    # Reading

    def resolve(self, reference_or_digest: str = "") -> tuple[Descriptor, bytes]:
        """The manifest or index of a tag or digest, by default the reference's own; NotFound if there is none."""
        wanted = reference_or_digest or self.reference.wanted
        response = self._session.ask(
            Ask("GET", f"manifests/{wanted}", {"Accept": ", ".join(MANIFESTS)}, most=LARGEST_MANIFEST)
        )
        if response.status != 200:
            raise self._missing(response, wanted)
        content = response.content()
        self._verify(wanted, content, response)
        media_type = _media_type(content, response.headers.get("Content-Type", ""))
        if media_type not in MANIFESTS:
            raise RegistryError(
                f"{self._named(wanted)} is {media_type!r}, no image that can be read: push it again with a newer tool"
            )
        return Descriptor(media_type, digest_of(content), len(content)), content

    def has(self, digest: str) -> bool:
        """Whether the repository has this blob."""
        response = self._session.ask(Ask("HEAD", f"blobs/{digest}"))
        if response.status not in (200, 404):
            raise self._session.refused(response)
        return response.status == 200

    def fetch(self, descriptor: Descriptor, store: Store, *, stop: threading.Event | None = None) -> Path:
        """The blob's file in the store; downloaded where it is not there yet."""
        from upon_build.registry.download import Download

        if not is_digest(descriptor.digest):
            raise RegistryError(
                f"{self.reference.name} names a blob {descriptor.digest[:80]!r}: only sha256 is known here"
            )
        found = store.find(descriptor.digest, descriptor.size)
        if found is not None:
            return found
        stop = stop or threading.Event()
        return Download(self._session, descriptor, store, progress=self.progress, stop=stop).run()

    def referrers(self, digest: str) -> list[Descriptor]:
        """What refers to this manifest, by the registry's list or by the tag `sha256-<hex>` in its place."""
        listed = self._listed(digest)
        if listed is None:
            try:
                listed = _described(self.resolve(digest.replace(":", "-"))[1])
            except NotFound:
                return []
        return listed

    # Writing

    def mount(self, digest: str, source: str) -> bool:
        """Take a blob over from another repository of the same registry, unseen; False where that can't be."""
        self.push_begins()
        return mount(self._session, digest, source)

    def upload(
        self,
        descriptor: Descriptor,
        path: Path,
        mount_from: str | None = None,
        *,
        stop: threading.Event | None = None,
    ) -> int:
        """Bring a blob there; returns the bytes that were sent, 0 where it was there or could be mounted."""
        if self.has(descriptor.digest):
            return 0
        return self.place(descriptor, path, mount_from, stop=stop).bytes

    def place(
        self,
        descriptor: Descriptor,
        path: Path,
        mount_from: str | None = None,
        *,
        stop: threading.Event | None = None,
    ) -> Sent:
        """Mount or send a blob that is not there."""
        self.push_begins()
        upload = Upload(
            self._session,
            descriptor,
            path,
            progress=self.progress,
            there=self.has,
            stop=stop or threading.Event(),
        )
        return upload.run(mount_from)

    def put_manifest(self, descriptor: Descriptor, content: bytes, tag: str | None = None) -> bool:
        """Store a manifest under its tag, or under its digest alone.

        Returns whether the registry lists it with its subject by itself (the header OCI-Subject).
        """
        self.push_begins()
        if digest_of(content) != descriptor.digest:
            raise DigestMismatch(f"the manifest for {self.reference.name} is not {descriptor.digest}: build it again")
        headers = {"Content-Type": descriptor.media_type, "Content-Length": str(len(content))}
        target = f"manifests/{tag or descriptor.digest}"
        response = self._session.ask(Ask("PUT", target, headers, lambda: content))
        if response.status not in (200, 201, 202):
            raise self._session.refused(response)
        said = response.headers.get("Docker-Content-Digest", descriptor.digest)
        if said.startswith("sha256:") and said != descriptor.digest:
            raise DigestMismatch(
                f"{self.reference.registry} stored the manifest as {said}, where {descriptor.digest} was sent: do not"
                " trust what the tag names now"
            )
        return "OCI-Subject" in response.headers

    def _listed(self, digest: str) -> list[Descriptor] | None:
        """From the registry's own list; None where it has none."""
        found: list[Descriptor] = []
        target = f"referrers/{digest}"
        for _ in range(MOST_PAGES):
            response = self._session.ask(Ask("GET", target, {"Accept": INDEX}, most=LARGEST_MANIFEST))
            if response.status in (400, 404, 405) or INDEX not in response.headers.get("Content-Type", ""):
                return None
            if response.status != 200:
                raise self._session.refused(response)
            content = response.content()
            found += _described(content)
            link = response.headers.get("Link", "")
            if 'rel="next"' not in link:
                return found
            target = link.partition("<")[2].partition(">")[0]
        raise RegistryError(f"{self.reference.registry} lists more than {MOST_PAGES} pages of referrers to {digest}")

    def _verify(self, wanted: str, content: bytes, response: Response) -> None:
        digest = digest_of(content)
        said = response.headers.get("Docker-Content-Digest", "")
        for expected in (wanted, said):
            if is_digest(expected) and expected != digest:
                raise DigestMismatch(
                    f"{self._named(wanted)} came with the digest {digest}, not {expected}: the registry or a proxy"
                    " damages content: do not use it"
                )

    def _missing(self, response: Response, wanted: str) -> RegistryError:
        error = self._session.refused(response)
        if response.status != 404:
            return error
        return NotFound(
            f"there is no {self._named(wanted)}: check the name and the tag", status=response.status, code=error.code
        )

    def _named(self, wanted: str) -> str:
        return f"{self.reference.name}{'@' if is_digest(wanted) else ':'}{wanted}"


def _media_type(content: bytes, header: str) -> str:
    """A manifest's own word counts more than the header's."""
    try:
        said = json.loads(content).get("mediaType")
    except (ValueError, AttributeError):
        raise RegistryError(
            "the registry sent a manifest that is no JSON object: check that it is a registry"
        ) from None
    return said if isinstance(said, str) else header.partition(";")[0].strip()


def _described(content: bytes) -> list[Descriptor]:
    try:
        entries: list[Any] = json.loads(content).get("manifests") or []
        return [_descriptor(entry) for entry in entries]
    except (ValueError, LookupError, TypeError, AttributeError):
        raise RegistryError("the registry sent a list of referrers that can't be read: check its version") from None


def _descriptor(entry: Mapping[str, Any]) -> Descriptor:
    return Descriptor(
        str(entry["mediaType"]),
        str(entry["digest"]),
        int(entry["size"]),
        annotations=dict(entry.get("annotations") or {}),
        platform=entry.get("platform"),
        artifact_type=entry.get("artifactType"),
    )
