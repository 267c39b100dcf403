"""Files that look like secrets, by name and by content, so that none gets into an image unnoticed.

A rule must be sure enough to stop a build: certificates, public keys, templates with placeholders and the examples of
documentations pass. Where a token carries a checksum, it decides. A file that is meant to be in the image all the same
is listed by its path in func.yaml's `build.allowSecretLooking`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TypeAlias

VERSION = 1  # of the rules: what an older one said of a file is not recalled
MAX_SCANNED = 2**20  # bytes; of a larger file only the name is looked at

Rule: TypeAlias = tuple[str, re.Pattern[bytes], Callable[[bytes], bool]]

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_AZURITE = b"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq"  # the storage emulator's, the same for all

_BY_NAME = {
    "*.p12": "a PKCS #12 key store",
    "*.pfx": "a PKCS #12 key store",
    "*.jks": "a Java key store",
    "*.keystore": "a key store",
    "*.kdbx": "a password safe",
    "terraform.tfstate": "Terraform's state, which holds secrets in plain text",
    "terraform.tfstate.backup": "Terraform's state, which holds secrets in plain text",
    ".git-credentials": "Git's credentials",
}
_SSH_KEY = re.compile(
    r"(?:.*[._-])?id_(?:rsa|dsa|ecdsa|ecdsa_sk|ed25519|ed25519_sk)(?:\.(?:bak|backup|old|orig|key|pem|\d+))?"
)


def suspect(path: str, content: bytes | None) -> str:
    """What secret a file seems to be or hold, or an empty text. content: None for a file over MAX_SCANNED bytes."""
    name = path.rpartition("/")[2].lower()
    said = next((what for pattern, what in _BY_NAME.items() if fnmatchcase(name, pattern)), "")
    if said or not content:
        return said
    if _SSH_KEY.fullmatch(name) and not content.lstrip().startswith((b"ssh-", b"ecdsa-", b"sk-", b"{", b"<")):
        return "an SSH key"
    if name.endswith((".key", ".der", ".p8", ".pk8")) and _DER_KEY.match(content):
        return "a private key"
    if b"\0" in content[:8192]:
        return ""
    return _in_named(path.lower(), name, content) or _in_any(content)


def _in_named(path: str, name: str, content: bytes) -> str:
    for names, what, pattern in _NAMED:
        if any(fnmatchcase(name, one) or fnmatchcase(path, one) for one in names) and pattern.search(content):
            return what
    return ""


def _in_any(content: bytes) -> str:
    for marks, what, pattern, sure in _ANY:
        if any(mark in content for mark in marks):  # a plain search is many times as fast as the pattern
            for match in pattern.finditer(content):
                if sure(match[match.lastindex or 0]):
                    return what
    return ""


def _varied(token: bytes) -> bool:
    """Not xxxxxxxx, nor 1234567812345678: placeholders repeat themselves, random texts do not."""
    body = token.rpartition(b"_")[2] if b"_" in token[:-8] else token
    return len(set(body)) >= min(10, len(body) // 2) and b"EXAMPLE" not in token.upper()


def _any(_: bytes) -> bool:
    return True


def _checked(token: bytes) -> bool:
    """GitHub's and npm's tokens end with the CRC-32 of their 30 random characters, in base 62."""
    body = token.rpartition(b"_")[2]
    rest, digits = zlib.crc32(body[:-6]), ""
    for _ in range(6):
        rest, digit = divmod(rest, 62)
        digits = _BASE62[digit] + digits
    return digits.encode() == body[-6:]


def _not_azurite(key: bytes) -> bool:
    return not key.startswith(_AZURITE) and _varied(key)


_DER_KEY = re.compile(rb"0(?:[\x00-\x7f]|\x81.|\x82..)\x02\x01[\x00\x01][\x30\x02\x04]", re.DOTALL)

# Files of known names that hold a secret only where they hold such a line: names, what it is, the line
_VALUE = rb"""[ \t]*[=:][ \t]*["']?(?![$<{%]|\*{3}|x{4}|your|change|placeholder|\.\.\.)[^\s"']{8,}"""
_ASSIGNED = re.compile(
    rb"""(?im)^\s*(?:export\s+|-\s+)?["']?[\w.-]*(?:secret|token|passw(?:or)?d|api_?key|access_?key|private_?key)"""
    rb"""[\w.-]*["']?""" + _VALUE
)
_NAMED: tuple[tuple[tuple[str, ...], str, re.Pattern[bytes]], ...] = (
    (("*.pem", "*.key", "*.p8"), "a private key", re.compile(rb"-----BEGIN [A-Z ]{0,20}PRIVATE KEY")),
    ((".npmrc",), "npm's credentials", re.compile(rb"(?m)^[^#;\n]*_(?:authToken|auth|password)\s*=\s*[^\s$]")),
    ((".pypirc",), "PyPI's credentials", re.compile(rb"(?m)^\s*password\s*[=:]\s*[^\s$%]")),
    ((".netrc", "_netrc"), "credentials", re.compile(rb"\bpassword\s+\S")),
    ((".htpasswd", "htpasswd"), "passwords", re.compile(rb"(?m)^[^\s:#]+:(?:\$|\{SHA\}|[./\w]{13}$)")),
    (
        ("kubeconfig", "*.kubeconfig", "*.kube/config", "kubeconfig.*", "*kubeconfig.y*ml"),
        "a kubeconfig with credentials",
        re.compile(rb"""(?m)^\s*-?\s*(?:client-key-data|token|password|client-key)["']?:\s*\S"""),
    ),
    (
        ("config.json", ".dockercfg", ".dockerconfigjson", "*.dockerconfigjson"),
        "a registry's credentials",
        re.compile(rb'"(?:auth|identitytoken|registrytoken)"\s*:\s*"[^"\s]{8,}"'),
    ),
    (
        ("credentials", "*.aws/config", "credentials.csv", "*.aws/credentials"),
        "AWS credentials",
        re.compile(rb"(?i)(?:aws_secret_access_key\s*=\s*|,)[\w/+]{40}\b"),
    ),
    (
        ("application_default_credentials.json", "credentials*.json", "client_secret*.json", "token.json"),
        "a cloud's credentials",
        re.compile(
            rb'"(?:client_secret|refresh_token|refreshToken|clientSecret|secret_access_key|SecretAccessKey)"'
            rb'\s*:\s*"[^"\s<$]{16,}"'
        ),
    ),
    (("*.env", "secrets.toml", "secrets.y*ml", "secrets.json", "secrets.ini"), "secrets in plain text", _ASSIGNED),
)

# What is a secret wherever it stands: texts one of which must be there, what it is, its shape, and whether it is real
_ANY: tuple[tuple[tuple[bytes, ...], str, re.Pattern[bytes], Callable[[bytes], bool]], ...] = (
    (
        (b"PRIVATE KEY",),
        "a private key",
        re.compile(
            rb"-----BEGIN [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----(?:\\r|\\n|\s){1,9}"
            rb"(?:[A-Za-z-]{1,30}: [^\n]{1,200}\s{1,9}){0,9}([A-Za-z0-9+/=]{40,})"
        ),
        _varied,
    ),
    ((b"PuTTY-User-Key-File",), "a private key", re.compile(rb"(?s)\APuTTY-User-Key-File-.*?\nPrivate-Lines:"), _any),
    ((b"AGE-SECRET-KEY-",), "an age key", re.compile(rb"\bAGE-SECRET-KEY-1[A-Z0-9]{58}\b"), _varied),
    (
        (b"AKIA", b"ASIA"),
        "an AWS access key",
        re.compile(rb"\b((?:AKIA|ASIA)[A-Z2-7]{16})\b"),
        _varied,
    ),
    (
        (b"AccountKey=",),
        "an Azure storage key",
        re.compile(rb"AccountKey=([A-Za-z0-9+/]{86}==)"),
        _not_azurite,
    ),
    (
        (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"npm_"),
        "an access token",
        re.compile(rb"\b((?:gh[pousr]|npm)_[A-Za-z0-9]{36})\b"),
        _checked,
    ),
    (
        (b"github_pat_",),
        "a GitHub token",
        re.compile(rb"\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b"),
        _varied,
    ),
    ((b"glpat-", b"gldt-", b"glrt-"), "a GitLab token", re.compile(rb"\bgl(?:pat|dt|rt)-([\w-]{20,})"), _varied),
    (
        (b"xox", b"xapp-"),
        "a Slack token",
        re.compile(rb"\b(?:xox[abeoprs](?:-\d{9,14}){1,3}|xapp-\d-[A-Z0-9]{9,14}-\d{9,14})-([0-9A-Za-z]{20,})\b"),
        _varied,
    ),
    (
        (b"hooks.slack.com",),
        "a Slack webhook",
        re.compile(rb"hooks\.slack\.com/services/T[A-Z0-9]{8,12}/B[A-Z0-9]{8,12}/([A-Za-z0-9]{24})\b"),
        _varied,
    ),
    ((b"T3BlbkFJ",), "an OpenAI key", re.compile(rb"\bsk-[\w-]{16,100}T3BlbkFJ[\w-]{16,100}"), _varied),
    ((b"sk-ant-",), "an Anthropic key", re.compile(rb"\bsk-ant-[a-z]{3,6}\d\d-([\w-]{80,120})"), _varied),
    ((b"hf_",), "a Hugging Face token", re.compile(rb"\bhf_([A-Za-z]{34})\b"), _varied),
    ((b"pypi-AgEIcHlwaS5vcmc",), "a PyPI token", re.compile(rb"\bpypi-AgEIcHlwaS5vcmc([\w-]{50,})"), _varied),
    ((b"k_live_",), "a Stripe key", re.compile(rb"\b[sr]k_live_([0-9A-Za-z]{24,})\b"), _varied),
    ((b"SG.",), "a SendGrid key", re.compile(rb"\bSG\.[\w-]{22}\.([\w-]{43})\b"), _varied),
    ((b"GOCSPX-",), "a Google OAuth secret", re.compile(rb"\bGOCSPX-([\w-]{28})\b"), _varied),
    ((b"dop_v1_",), "a DigitalOcean token", re.compile(rb"\bdop_v1_([a-f0-9]{64})\b"), _varied),
    (
        (b"client-key-data",),
        "a kubeconfig with credentials",
        re.compile(rb"(?m)^\s*client-key-data:\s*([A-Za-z0-9+/=]{40,})"),
        _varied,
    ),
)
