"""Private and public keys for signatures: what cosign takes, from PEM files."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from upon import MissingExtra
from upon_build.project.problems import ProjectError, fail

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

    Private = EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey
    Public = EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey

PASSWORD = "COSIGN_PASSWORD"
BOXED = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")
MAX_FILE = 64 * 2**10
MAX_SCRYPT = 2**17 * 128 * 8  # bytes; cosign's own parameters need half
NEW_KEY = "make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem`"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key that was read. warning: what is wrong with its file, or nothing."""

    private: Private = field(repr=False)
    warning: str = ""

    @property
    def public(self) -> VerifyingKey:
        return VerifyingKey(self.private.public_key())

    def sign(self, content: bytes) -> bytes:
        """ECDSA with SHA-256 in DER, RSA PKCS#1 1.5 with SHA-256, or Ed25519, by the kind of key."""
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
        from cryptography.hazmat.primitives.hashes import SHA256

        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            return self.private.sign(content, ec.ECDSA(SHA256()))
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(content, padding.PKCS1v15(), SHA256())
        return self.private.sign(content)


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """The public half."""

    public: Public

    def verifies(self, signature: bytes, content: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
        from cryptography.hazmat.primitives.hashes import SHA256

        try:
            if isinstance(self.public, ec.EllipticCurvePublicKey):
                self.public.verify(signature, content, ec.ECDSA(SHA256()))
            elif isinstance(self.public, rsa.RSAPublicKey):
                self.public.verify(signature, content, padding.PKCS1v15(), SHA256())
            else:
                self.public.verify(signature, content)
        except InvalidSignature:
            return False
        return True

    def pem(self) -> bytes:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        return self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def read_signing_key(path: Path, env: Mapping[str, str] = os.environ) -> SigningKey:
    """A private key in PEM: plain, encrypted, or as `cosign generate-key-pair` writes it.

    An encrypted one needs its password in COSIGN_PASSWORD. ProjectError names the file, never what is in it.
    """
    content = _content(path)
    if any(f"-----BEGIN {label}-----".encode() in content for label in BOXED):
        private = _from_der(path, _unboxed(path, content, env))
    else:
        private = _from_pem(path, content, env)
    return SigningKey(_accepted(path, private), _exposed(path))


def read_verifying_key(path: Path) -> VerifyingKey:
    """A public key in PEM, as `cosign generate-key-pair` and `openssl pkey -pubout` write it."""
    serialization = _serialization()
    try:
        public = serialization.load_pem_public_key(_content(path))
    except ValueError:
        raise fail(str(path), "is no public key in PEM", "write it with `openssl pkey -in key.pem -pubout`") from None
    return VerifyingKey(_accepted(path, public))


def _content(path: Path) -> bytes:
    _serialization()
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        raise fail(str(path), f"the key can't be read: {error.strerror}", NEW_KEY) from error
    if len(content) > MAX_FILE:
        raise fail(str(path), f"is larger than {MAX_FILE} bytes, and so no key", NEW_KEY)
    return content


def _from_pem(path: Path, content: bytes, env: Mapping[str, str]) -> Any:
    password = env.get(PASSWORD)
    load = _serialization().load_pem_private_key
    encrypted = b"ENCRYPTED" in content
    if encrypted and password is None:
        raise _no_password(path)
    return _loading(path, lambda: load(content, password.encode() if encrypted and password is not None else None))


def _from_der(path: Path, der: bytes) -> Any:
    return _loading(path, lambda: _serialization().load_der_private_key(der, None))


def _loading(path: Path, load: Callable[[], Any]) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load()
    except (ValueError, TypeError, UnsupportedAlgorithm):  # their messages may hold what was in the file
        _refuse(path, "holds no private key in PEM that can be read, or the password is another one", NEW_KEY)


def _unboxed(path: Path, content: bytes, env: Mapping[str, str]) -> bytes:
    """The key in PKCS#8 that cosign sealed with a password: scrypt, then a secretbox."""
    from upon_build.image.documents.secretbox import NotOpened, open_box

    password = env.get(PASSWORD)
    if password is None:
        raise _no_password(path)
    try:
        box, nonce, salt, (n, r, p) = _sealed(content)
        key = hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=2 * MAX_SCRYPT, dklen=32)
        return open_box(box, nonce, key)
    except NotOpened as error:
        _refuse(path, str(error), f"set {PASSWORD} to the password it was made with")
    except (ValueError, KeyError, TypeError):
        _refuse(path, "is not laid out as cosign's keys are", "make a new pair with `cosign generate-key-pair`")


def _sealed(content: bytes) -> tuple[bytes, bytes, bytes, tuple[int, int, int]]:
    body = b"".join(line for line in content.splitlines() if line.strip() and not line.startswith(b"-----"))
    said = json.loads(base64.b64decode(body, validate=True))
    if (said["kdf"]["name"], said["cipher"]["name"]) != ("scrypt", "nacl/secretbox"):
        raise ValueError("another derivation or cipher")
    params = said["kdf"]["params"]
    n, r, p = (int(params[name]) for name in "Nrp")
    if not (0 < n * r * 128 <= MAX_SCRYPT and 0 < p <= 16):
        raise ValueError("scrypt's parameters")
    return _decoded(said["ciphertext"]), _decoded(said["cipher"]["nonce"]), _decoded(said["kdf"]["salt"]), (n, r, p)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None


def _accepted(path: Path, key: Any) -> Any:
    """The key, if cosign verifies signatures of its kind."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        if key.curve.name != "secp256r1":
            _refuse(path, f"is a key on the curve {key.curve.name!r}, but signatures need P-256", NEW_KEY)
    elif isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        if key.key_size < 2048:
            _refuse(path, f"is an RSA key of {key.key_size} bits, but 2048 are the least", NEW_KEY)
    elif not isinstance(key, ed25519.Ed25519PrivateKey | ed25519.Ed25519PublicKey):
        _refuse(path, f"is a key of the kind {type(key).__name__}; ECDSA P-256, RSA and Ed25519 can sign", NEW_KEY)
    return key


def _exposed(path: Path) -> str:
    """Whether others than its owner can read the key's file."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & 0o077:
        return ""
    return f"{path}: others than its owner can read this private key (mode {mode:04o}): chmod 600 {path}"


def _no_password(path: Path) -> ProjectError:
    return fail(str(path), "the key is encrypted", f"set {PASSWORD} to its password")


def _refuse(path: Path, fact: str, remedy: str) -> NoReturn:
    raise fail(str(path), fact, remedy) from None


def _serialization() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise MissingExtra("Signing an image", "deploy") from error
    return serialization
