"""Registries behind locks: one with TLS and passwords, one that sends its clients to a token server of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.certificates import make_certificate
from support.registry import RealRegistry, started
from support.tokens import TokenServer

USER = "ada"
PASSWORD = "correct-horse-s3cret"
HASHED = "$2b$04$abcdefghijklmnopqrstuuc.TMUVSscoiFriq2LLB775SOVSNyDMm"


class PasswordRegistry(RealRegistry):
    """TLS with a certificate that nobody knows (`certificate` is its file), and USER with PASSWORD."""

    scheme = "https"

    def __init__(self, folder: Path) -> None:
        self.certificate, key = make_certificate(folder)
        passwords = folder / "htpasswd"
        passwords.write_text(f"{USER}:{HASHED}\n")
        super().__init__(
            folder,
            http={"tls": {"certificate": str(self.certificate), "key": str(key)}},
            auth={"htpasswd": {"realm": "the tests", "path": str(passwords)}},
        )


class BearerRegistry(RealRegistry):
    """Tokens of `tokens`, which knows USER with PASSWORD; without them only `public/...` may be pulled."""

    def __init__(self, folder: Path) -> None:
        certificate, key = make_certificate(folder)
        self.tokens = TokenServer(certificate, key, {USER: PASSWORD})
        said = {
            "realm": f"{self.tokens.url}/token",
            "service": self.tokens.service,
            "issuer": self.tokens.issuer,
            "rootcertbundle": str(certificate),
        }
        super().__init__(folder, auth={"token": said})

    def start(self) -> None:
        self.tokens.start()
        super().start()

    def stop(self, *arguments: Any) -> None:
        super().stop(*arguments)
        self.tokens.stop()


def docker_config(folder: Path, host: str, **entry: str) -> Path:
    """A folder for DOCKER_CONFIG that knows the host."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {host: entry}}))
    return folder


@pytest.fixture(scope="session")
def registry_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """TLS and a password; shared: take a repository name of your own."""
    yield from started(tmp_path_factory, PasswordRegistry, "registry-tls")


@pytest.fixture(scope="session")
def registry_bearer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """Bearer tokens; shared: take a repository name of your own."""
    yield from started(tmp_path_factory, BearerRegistry, "registry-bearer")
