"""A real Apache Kafka behind locks: SASL, TLS, client certificates and ACLs, each on a listener of its own.

Whoever comes through the plain listener is a super-user, as the brokers among themselves are: tests make topics,
users and rights there. Certificates are made by the openssl command when the broker first starts.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.brokers import OverTheNetwork, real
from support.kafka import KafkaUnavailable, RealKafka, _free_port
from upon_triggers.kafka.library import library
from upon_triggers.settings import KafkaConnection, Sasl, Tls

MECHANISMS = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
LISTENERS = {
    "SASL": "SASL_PLAINTEXT",
    "SASLTLS": "SASL_SSL",
    "TLS": "SSL",
    "MTLS": "SSL",
    "EXPIRED": "SSL",
    "OTHERHOST": "SSL",
}
CERTIFICATES = {"EXPIRED": "expired", "OTHERHOST": "otherhost"}  # else "server"
PASSWORD = "s3cret-correct-horse"
PLAIN_USERS = ("ada", "bob")


def _openssl(*arguments: str, cwd: Path) -> None:
    subprocess.run(["openssl", *arguments], cwd=cwd, check=True, capture_output=True, timeout=60)


def make_certificates(folder: Path) -> None:
    """Files NAME.pem (certificate), NAME.key and NAME.both (key, certificate and its CA, as Kafka wants them)."""
    folder.mkdir()
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for ca in ("ca", "stranger"):
        _openssl(
            "req", "-x509", *key, "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-subj", f"/CN={ca}", "-days", "3650",
            cwd=folder,
        )  # fmt: skip
    here = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    elsewhere = "subjectAltName=DNS:kafka.example.test"
    for name, alternative, days in (
        ("server", here, "3650"),
        ("expired", here, "-1"),
        ("otherhost", elsewhere, "3650"),
        ("client", "extendedKeyUsage=clientAuth", "3650"),
    ):
        (folder / "extensions").write_text(alternative)
        _openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}", cwd=folder)
        _openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", days, "-extfile", "extensions", "-out", f"{name}.pem", cwd=folder,
        )  # fmt: skip
        parts = [(folder / part).read_text() for part in (f"{name}.key", f"{name}.pem", "ca.pem")]
        (folder / f"{name}.both").write_text("".join(parts))


class SecuredKafka(RealKafka):
    """One broker with a plain listener for super-users and those of LISTENERS for everybody else."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.certificates = self.folder / "certificates"
        self._ports: dict[str, int] = {}

    def settings(self, controller_port: int) -> str:
        if not self.certificates.exists():
            make_certificates(self.certificates)
        if not self._ports:
            taken = {self.port, controller_port}
            for listener in LISTENERS:
                self._ports[listener] = next(port for port in iter(_free_port, None) if port not in taken)
                taken.add(self._ports[listener])
        return super().settings(controller_port) + "\n" + self._locks(controller_port)

    def _locks(self, controller_port: int) -> str:
        """Later lines win over those of the plain broker."""
        where = [f"PLAINTEXT://127.0.0.1:{self.port}"] + [f"{n}://127.0.0.1:{p}" for n, p in self._ports.items()]
        kinds = ["PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT"] + [f"{n}:{kind}" for n, kind in LISTENERS.items()]
        lines = [
            f"listeners={','.join(where)},CONTROLLER://127.0.0.1:{controller_port}",
            f"advertised.listeners={','.join(where)}",
            f"listener.security.protocol.map={','.join(kinds)}",
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users=User:ANONYMOUS",
            "early.start.listeners=CONTROLLER",
        ]
        for name, kind in LISTENERS.items():
            prefix = f"listener.name.{name.lower()}"
            if kind.startswith("SASL"):
                lines += _sasl(prefix)
            if kind.endswith("SSL"):
                lines += self._tls(prefix, CERTIFICATES.get(name, "server"), required=name == "MTLS")
        return "\n".join(lines) + "\n"

    def _tls(self, prefix: str, certificate: str, *, required: bool) -> list[str]:
        return [
            f"{prefix}.ssl.keystore.type=PEM",
            f"{prefix}.ssl.keystore.location={self.certificates / certificate}.both",
            f"{prefix}.ssl.truststore.type=PEM",
            f"{prefix}.ssl.truststore.location={self.certificates / 'ca.pem'}",
            f"{prefix}.ssl.client.auth={'required' if required else 'none'}",
        ]

    # How to get in

    def address(self, listener: str) -> str:
        return f"127.0.0.1:{self._ports[listener]}"

    def file(self, name: str) -> str:
        """A certificate or key, such as `ca.pem`."""
        return str(self.certificates / name)

    @property
    def ca(self) -> Tls:
        return Tls(ca=self.file("ca.pem"))

    def connection(self, listener: str, sasl: Sasl | None = None, tls: Tls | None = None) -> KafkaConnection:
        """The right one, unless something else is said."""
        kind = LISTENERS[listener]
        tls = tls if tls is not None or not kind.endswith("SSL") else self.ca
        return KafkaConnection((self.address(listener),), tls=tls, sasl=sasl)

    def plain(self) -> OverTheNetwork:
        """As a super-user."""
        return real(self)

    # Users and rights

    def admin(self) -> Any:
        return library().KafkaAdminClient(bootstrap_servers=self.bootstrap)

    def add_user(self, name: str, password: str = PASSWORD, mechanism: str = "SCRAM-SHA-512") -> Sasl:
        self._alter(library().admin.UserScramCredentialUpsertion(name, mechanism, password))
        return Sasl(mechanism, name, password)  # type: ignore[arg-type]

    def remove_user(self, name: str, mechanism: str = "SCRAM-SHA-512") -> None:
        self._alter(library().admin.UserScramCredentialDeletion(name, mechanism))

    def _alter(self, alteration: Any) -> None:
        admin = self.admin()
        assert [None] == list(admin.alter_user_scram_credentials([alteration]).values())
        admin.close()

    def allow(self, user: str, operations: str, topic: str | None = None, group: str | None = None) -> None:
        """operations: names such as "Read Describe"."""
        admin = self.admin()
        made = admin.create_acls([_acl(user, name, topic, group) for name in operations.split()])
        admin.close()
        assert [] == made["failed"]

    def withdraw(self, user: str, operations: str, topic: str | None = None, group: str | None = None) -> None:
        kinds = library().admin
        admin = self.admin()
        rights = [_acl(user, name, topic, group) for name in operations.split()]
        filters = [
            kinds.ACLFilter(
                principal=right.principal,
                host=right.host,
                operation=right.operation,
                permission_type=right.permission_type,
                resource_pattern=kinds.ResourcePatternFilter(
                    right.resource_pattern.resource_type,
                    right.resource_pattern.resource_name,
                    right.resource_pattern.pattern_type,
                ),
            )
            for right in rights
        ]
        admin.delete_acls(filters)
        admin.close()

    def allow_all(self, user: str, topic: str, group: str, *more: str) -> None:
        """Everything that a source of this topic needs; its further topics exist already or may be made."""
        self.allow(user, "Read", topic=topic)
        self.allow(user, "Read", group=group)
        for written in more:
            self.allow(user, "Write Create", topic=written)


def _sasl(prefix: str) -> list[str]:
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required "
    plain += " ".join(f'user_{name}="{PASSWORD}"' for name in PLAIN_USERS)
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    return [
        f"{prefix}.sasl.enabled.mechanisms={MECHANISMS}",
        f"{prefix}.plain.sasl.jaas.config={plain};",
        f"{prefix}.scram-sha-256.sasl.jaas.config={scram};",
        f"{prefix}.scram-sha-512.sasl.jaas.config={scram};",
    ]


def _acl(user: str, operation: str, topic: str | None, group: str | None) -> Any:
    kinds = library().admin
    of = kinds.ResourceType
    kind, name = (of.TOPIC, topic) if topic is not None else (of.GROUP, group)
    return kinds.ACL(
        principal=f"User:{user}",
        host="*",
        operation=kinds.ACLOperation[operation.upper()],
        permission_type=kinds.ACLPermissionType.ALLOW,
        resource_pattern=kinds.ResourcePattern(kind, name),
    )


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A broker that all tests share."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl for the certificates: apt-get install -y openssl")
    broker = SecuredKafka(tmp_path_factory.mktemp("secured"))
    try:
        broker.start()
    except KafkaUnavailable as error:
        pytest.skip(str(error))
    yield broker
    broker.stop()
