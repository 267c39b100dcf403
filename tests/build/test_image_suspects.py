"""What looks like a secret, and what only does at first sight. No test holds one: they are put together here."""

from __future__ import annotations

import json
import random
import string
import zlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from upon_build.image.files.suspects import suspect

RANDOM = random.Random(5)
LETTERS = string.ascii_letters
WORD = LETTERS + string.digits
EC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
ED = ed25519.Ed25519PrivateKey.generate()


def some(count: int, letters: str = WORD) -> str:
    return "".join(RANDOM.choice(letters) for _ in range(count))


def checked(prefix: str, body: str) -> str:
    """With GitHub's checksum."""
    rest, digits = zlib.crc32(body.encode()), ""
    base = string.digits + string.ascii_uppercase + string.ascii_lowercase
    while rest:
        rest, digit = divmod(rest, 62)
        digits = base[digit] + digits
    return f"{prefix}_{body}{digits.rjust(6, '0')}"


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, form: PrivateFormat, password: bytes = b"") -> bytes:
    return key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(password) if password else NoEncryption())


PKCS8, OPENSSH = PrivateFormat.PKCS8, PrivateFormat.OpenSSH
SERVICE = {"type": "service_account", "private_key": pem(RSA, PKCS8).decode(), "client_email": "a@b"}
OPENAI = f"sk-proj-{some(20)}T3BlbkFJ{some(20)}"
SECRETS = [
    ("server.pem", pem(RSA, PKCS8), "a private key"),
    ("server.key", pem(EC, PrivateFormat.TraditionalOpenSSL), "a private key"),
    ("notes.txt", b"see\n" + pem(RSA, PKCS8, b"password"), "a private key"),
    ("old.txt", pem(RSA, PrivateFormat.TraditionalOpenSSL, b"password"), "a private key"),
    ("deploy", pem(RSA, OPENSSH), "a private key"),
    ("code.py", b"KEY = '''" + pem(EC, PKCS8) + b"'''", "a private key"),
    ("account.json", json.dumps(SERVICE).encode(), "a private key"),
    ("key.der", RSA.private_bytes(Encoding.DER, PKCS8, NoEncryption()), "a private key"),
    ("tls.key", EC.private_bytes(Encoding.DER, PKCS8, NoEncryption()), "a private key"),
    ("id_rsa", b"anything", "an SSH key"),
    ("home/.ssh2/id_ed25519", b"anything", "an SSH key"),
    ("deploy_id_rsa.bak", b"anything", "an SSH key"),
    ("store.p12", b"\x30\x82", "a PKCS #12 key store"),
    ("store.PFX", b"", "a PKCS #12 key store"),
    ("store.jks", None, "a Java key store"),
    ("passwords.kdbx", None, "a password safe"),
    ("infra/terraform.tfstate", b"{}", "Terraform's state, which holds secrets in plain text"),
    (".git-credentials", b"https://me:word@host", "Git's credentials"),
    (".npmrc", b"//registry.npmjs.org/:_authToken=abcdef", "npm's credentials"),
    (".pypirc", b"[pypi]\nusername = __token__\npassword = abcdef\n", "PyPI's credentials"),
    (".netrc", b"machine host login me password word\n", "credentials"),
    (".htpasswd", b"me:$apr1$abc$def\n", "passwords"),
    (".kube/config", b"users:\n- user:\n    token: abcdef\n", "a kubeconfig with credentials"),
    ("cluster.yaml", b"    client-key-data: " + some(60).encode(), "a kubeconfig with credentials"),
    ("docker/config.json", b'{"auths": {"ghcr.io": {"auth": "bWU6d29yZA=="}}}', "a registry's credentials"),
    (".aws/credentials", f"[default]\naws_secret_access_key = {some(40)}\n".encode(), "AWS credentials"),
    ("credentials.json", b'{"refresh_token": "1//0abcdefghijklmnopqrst"}', "a cloud's credentials"),
    ("prod.env", b"DEBUG=1\nexport DB_PASSWORD='correct-horse'\n", "secrets in plain text"),
    ("secrets.toml", b'api_key = "abcdefghijkl"\n', "secrets in plain text"),
    ("settings.py", b"ID = 'AKIA" + some(16, string.ascii_uppercase).encode() + b"'", "an AWS access key"),
    ("app.py", checked("ghp", some(30)).encode(), "an access token"),
    ("app.py", checked("npm", some(30)).encode(), "an access token"),
    ("app.py", f"github_pat_{some(22)}_{some(59)}".encode(), "a GitHub token"),
    ("app.py", f"glpat-{some(20)}".encode(), "a GitLab token"),
    ("app.py", f"xoxb-{some(12, string.digits)}-{some(12, string.digits)}-{some(24)}".encode(), "a Slack token"),
    ("app.py", f"https://hooks.slack.com/services/T{'0A' * 4}/B{'1C' * 4}/{some(24)}".encode(), "a Slack webhook"),
    ("app.py", OPENAI.encode(), "an OpenAI key"),
    ("app.py", f"sk-ant-api03-{some(93)}AA".encode(), "an Anthropic key"),
    ("app.py", f"token='hf_{some(34, LETTERS)}'".encode(), "a Hugging Face token"),
    ("app.py", f"pypi-AgEIcHlwaS5vcmc{some(80)}".encode(), "a PyPI token"),
    ("app.py", f"sk_live_{some(24)}".encode(), "a Stripe key"),
    ("app.py", f"SG.{some(22)}.{some(43)}".encode(), "a SendGrid key"),
    ("app.py", f"GOCSPX-{some(28)}".encode(), "a Google OAuth secret"),
    ("app.py", f"dop_v1_{some(64, '0123456789abcdef')}".encode(), "a DigitalOcean token"),
    ("app.py", f"AccountName=a;AccountKey={some(86)}==;".encode(), "an Azure storage key"),
    ("key.txt", f"AGE-SECRET-KEY-1{some(58, string.ascii_uppercase)}".encode(), "an age key"),
    ("key.ppk", b"PuTTY-User-Key-File-3: ssh-rsa\nComment: x\nPrivate-Lines: 8\n", "a private key"),
]


@pytest.mark.parametrize(("path", "content", "expected"), SECRETS, ids=[f"{one[0]}-{one[2]}" for one in SECRETS])
def test_secrets(path: str, content: bytes | None, expected: str) -> None:
    assert expected == suspect(path, content)


PUBLIC = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
SSH = ED.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\n" + some(64).encode() + b"\n-----END CERTIFICATE-----\n"
INNOCENT = [
    ("public.pem", PUBLIC),
    ("public.key", PUBLIC),
    ("public.der", RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
    ("ca.pem", CERTIFICATE),
    ("id_rsa.pub", SSH),
    ("id_rsa", SSH),
    ("id_ed25519.py", b"import x"),
    ("valid_rsa.txt", b"x"),
    ("README.md", b"It begins with `-----BEGIN PRIVATE KEY-----`, then comes base64."),
    ("check.py", b"if text.startswith('-----BEGIN RSA PRIVATE KEY-----'):\n    print('a private key')"),
    ("docs.md", b"-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----"),
    ("docs.md", b"AKIA" + b"IOSFODNN7EXAMPLE wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ("docs.md", b"export GITHUB_TOKEN=ghp_" + b"x" * 36),
    ("docs.md", b"ghp_" + some(36).encode() + b" without its checksum"),
    ("docs.md", b"hf_" + b"x" * 34),
    ("docs.md", b"sk-..."),
    ("docs.md", b"glpat-xxxxxxxxxxxxxxxxxxxx"),
    ("docs.md", b"SG.xxxxxxxxxxxxxxxxxxxxxx." + b"x" * 43),
    ("azurite.py", b"AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq"
                   b"/K1SZFPTOtr/KBHBeksoGMGw==;"),
    (".npmrc", b"registry=https://registry.npmjs.org/\n//registry.npmjs.org/:_authToken=${NPM_TOKEN}\n"),
    (".pypirc", b"[distutils]\nindex-servers = pypi\n"),
    (".netrc", b"# nothing\n"),
    ("config.json", b'{"hidden_size": 768, "model_type": "bert", "auth": ""}'),
    ("tokenizer_config.json", b'{"pad_token": "[PAD]", "cls_token": "[CLS]"}'),
    ("token.json", b'{"pad_token": "[PAD]"}'),
    ("credentials.json", b'{"client_secret": "<your secret>"}'),
    ("example.env", b"DB_PASSWORD=\nAPI_KEY=${API_KEY}\nTOKEN=changeme-please\nSECRET='<here>'\nLOG_LEVEL=debugging\n"),
    ("secrets.yaml", b"token: '{{ secret:hub:token }}'\n"),
    ("secrets.py", b"import secrets\ntoken = secrets.token_hex(16)\n"),
    ("password.py", b"password = os.environ['DATABASE_PASSWORD']\n"),
    ("data.bin", b"\0" + f"glpat-{some(20)}".encode()),
    ("empty.pem", b""),
    ("key.pem", None),
    ("keys.json", b'{"key": "value"}'),
    ("func.yaml", b"run: {envs: [{name: TOKEN, value: '{{ secret:hub:token }}'}]}\n"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "content"), INNOCENT, ids=[f"{at}-{one[0]}" for at, one in enumerate(INNOCENT)])
def test_innocent_files(path: str, content: bytes | None) -> None:
    assert "" == suspect(path, content)


def test_a_published_token_of_github_has_the_checksum() -> None:
    """Which was revoked before it was published; the checksum here is GitHub's, not only ours."""
    published = "ghp_" + "zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ" + "0mLq17"
    assert "an access token" == suspect("app.py", published.encode())
    assert "" == suspect("app.py", published.replace("zQWB", "zQWC").encode())


@pytest.mark.parametrize("text", ["-----BEGIN PRIVATE KEY-----\n", "AKIA", "a: b\n", "xoxb-1", "hf_", '"auth": "'])
def test_long_texts_take_no_time(text: str) -> None:
    """No pattern goes back and forth over a file without end: the timeout of every test is the limit."""
    for name in ("x.txt", "config.json", "prod.env", "kubeconfig", ".htpasswd", "credentials"):
        assert suspect(name, (text * (2**18 // len(text))).encode()) in ("", "a private key")
