from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.poly1305 import Poly1305
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from upon_build.image.documents import secretbox
from upon_build.image.documents.keys import read_signing_key, read_verifying_key
from upon_build.project.problems import ProjectError


def written(folder: Path, private: object, password: bytes | None = None, mode: int = 0o600) -> Path:
    path = folder / "key.pem"
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))  # type: ignore[attr-defined]
    path.chmod(mode)
    return path


KINDS = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_signs_and_its_public_half_verifies(kind: str, tmp_path: Path) -> None:
    key = read_signing_key(written(tmp_path, KINDS[kind]()), {})
    public = tmp_path / "key.pub"
    public.write_bytes(key.public.pem())
    signature = key.sign(b"content")
    assert read_verifying_key(public).verifies(signature, b"content")
    assert not read_verifying_key(public).verifies(signature, b"other content")
    assert not read_verifying_key(public).verifies(b"", b"content")
    assert "" == key.warning


@pytest.mark.parametrize(("kind", "more"), [("P-256", ()), ("RSA", ())])
def test_openssl_verifies_what_it_signs(kind: str, more: tuple[str, ...], tmp_path: Path) -> None:
    key = read_signing_key(written(tmp_path, KINDS[kind]()), {})
    for name, content in (("pub", key.public.pem()), ("sig", key.sign(b"content")), ("text", b"content")):
        (tmp_path / name).write_bytes(content)
    command = ["openssl", "dgst", "-sha256", "-verify", "pub", "-signature", "sig", "text"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (0, "Verified OK\n") == (done.returncode, done.stdout)


def test_a_key_of_openssl_is_read(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert read_signing_key(path, {}).public.pem().startswith(b"-----BEGIN PUBLIC KEY-----")


def test_an_encrypted_key_needs_its_password(tmp_path: Path) -> None:
    path = written(tmp_path, KINDS["P-256"](), b"correct horse")
    assert read_signing_key(path, {"COSIGN_PASSWORD": "correct horse"}).sign(b"x")
    with pytest.raises(ProjectError, match="encrypted: set COSIGN_PASSWORD"):
        read_signing_key(path, {})
    with pytest.raises(ProjectError, match="the password is another one") as caught:
        read_signing_key(path, {"COSIGN_PASSWORD": "battery staple"})
    assert "battery" not in str(caught.value)
    assert caught.value.__cause__ is None


def sealed(folder: Path, private: ec.EllipticCurvePrivateKey, password: str, label: str, n: int = 1024) -> Path:
    """A key file as `cosign generate-key-pair` writes it, but for a cheaper derivation."""
    salt, nonce = os.urandom(32), os.urandom(24)
    secret = hashlib.scrypt(password.encode(), salt=salt, n=min(n, 1024), r=8, p=1, dklen=32)
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    stream = secretbox._keystream(secret, nonce, 32 + len(der))
    cipher = bytes(a ^ b for a, b in zip(der, stream[32:], strict=True))
    box = Poly1305.generate_tag(stream[:32], cipher) + cipher
    text = {name: base64.b64encode(value).decode() for name, value in (("salt", salt), ("nonce", nonce), ("box", box))}
    kdf = {"name": "scrypt", "params": {"N": n, "r": 8, "p": 1}, "salt": text["salt"]}
    said = {"kdf": kdf, "cipher": {"name": "nacl/secretbox", "nonce": text["nonce"]}, "ciphertext": text["box"]}
    body = base64.encodebytes(json.dumps(said).encode()).decode()
    path = folder / "cosign.key"
    path.write_text(f"-----BEGIN {label}-----\n{body}-----END {label}-----\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("label", ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"])
def test_a_key_of_cosign_is_opened_with_its_password(label: str, tmp_path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    path = sealed(tmp_path, private, "correct horse", label)
    key = read_signing_key(path, {"COSIGN_PASSWORD": "correct horse"})
    assert private.private_numbers() == key.private.private_numbers()  # type: ignore[union-attr]
    with pytest.raises(ProjectError, match="encrypted: set COSIGN_PASSWORD"):
        read_signing_key(path, {})
    with pytest.raises(ProjectError, match="password is wrong") as caught:
        read_signing_key(path, {"COSIGN_PASSWORD": "battery staple"})
    assert "battery" not in str(caught.value)


def test_a_derivation_that_would_take_all_memory_is_refused(tmp_path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    path = sealed(tmp_path, private, "x", "ENCRYPTED SIGSTORE PRIVATE KEY", n=2**30)
    with pytest.raises(ProjectError, match="not laid out as cosign's"):
        read_signing_key(path, {"COSIGN_PASSWORD": "x"})


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_key_that_others_can_read_is_warned_of(mode: int, warned: bool, tmp_path: Path) -> None:
    path = written(tmp_path, KINDS["Ed25519"](), mode=mode)
    warning = read_signing_key(path, {}).warning
    assert (f"chmod 600 {path}" in warning) is warned


REFUSED = {
    "on the curve 'secp384r1'": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RSA key of 1024 bits": lambda: rsa.generate_private_key(65537, 1024),
    "kind X25519PrivateKey": x25519.X25519PrivateKey.generate,
}


@pytest.mark.parametrize("fact", REFUSED)
def test_other_keys_are_refused_with_the_command_that_makes_one(fact: str, tmp_path: Path) -> None:
    path = written(tmp_path, REFUSED[fact]())
    with pytest.raises(ProjectError, match=fact) as caught:
        read_signing_key(path, {})
    assert "openssl genpkey" in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hunter2",
        b"-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nhunter2\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
        b"hunter2" * 20_000,
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    for read in (lambda: read_signing_key(path, {"COSIGN_PASSWORD": "x"}), lambda: read_verifying_key(path)):
        with pytest.raises(ProjectError) as caught:
            read()
        assert "hunter2" not in str(caught.value)


def test_a_missing_key_names_its_file(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"none\.pem: the key can't be read: No such file"):
        read_signing_key(tmp_path / "none.pem", {})


def test_a_key_does_not_show_in_its_repr(tmp_path: Path) -> None:
    key = read_signing_key(written(tmp_path, KINDS["P-256"]()), {})
    assert "SigningKey(warning='')" == repr(key)
