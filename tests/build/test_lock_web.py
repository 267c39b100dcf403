from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.certificates import make_certificate
from support.package_index import PackageIndex, package_index
from upon_build.lock.indexes import Indexes
from upon_build.lock.web import IndexFault, IndexUnavailable, Web


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with package_index() as found:
        yield found


def web(index: PackageIndex | None = None, **env: str) -> Web:
    """backoff: short, so that a test need not wait."""
    address = {"UV_DEFAULT_INDEX": index.url} if index else {}
    env = {"HOME": "/nonexistent", **address, **env}
    return Web(Indexes.from_env(env, []), env, backoff=0.01)


@contextmanager
def behind_tls(index: PackageIndex, certificate: Path, key: Path) -> Iterator[str]:
    """The same pages over https; gives their URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with package_index(tls=context, files=index.files) as found:
        yield found.url.replace("http:", "https:")


def test_an_answer_as_a_whole(index: PackageIndex) -> None:
    index.add("a", "1")
    answer = web(index).read(f"{index.url}/a/", {}, 10_000)
    assert answer is not None
    assert ("application/vnd.pypi.simple.v1+json", f"{index.url}/a/") == (answer.kind, answer.url)
    assert web(index).read(f"{index.url}/b/", {}, 10_000) is None


def test_an_answer_that_is_too_large(index: PackageIndex) -> None:
    index.add("a", "1")
    with pytest.raises(IndexFault, match=rf"{index.address}'s answer to /simple/a/ is larger than 10 bytes"):
        web(index).read(f"{index.url}/a/", {}, 10)


def test_the_proxy_is_asked_unless_the_host_is_named(index: PackageIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("http_proxy", f"http://me:secret@{index.address}")
    index.add("a", "1")
    assert web().read("http://far.example/simple/a/", {}, 10_000) is None  # the double knows no such path
    assert ["http://far.example/simple/a/"] == index.asked
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert web().read(f"{index.url}/a/", {}, 10_000) is not None
    assert "/simple/a/" == index.asked[-1]


def test_credentials_go_to_their_own_origin_alone(index: PackageIndex) -> None:
    with package_index(user="me:pw") as other:
        other.add("a", "1")
        mine = {"UV_DEFAULT_INDEX": index.url.replace("//", "//me:pw@")}
        with pytest.raises(IndexUnavailable, match="answers 401"):
            web(**mine).get(f"{other.url}/a/")
        mine["UV_INDEX"] = other.url.replace("//", "//me:pw@")
        assert 200 == web(**mine).get(f"{other.url}/a/").status


def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(IndexUnavailable, match=r"nothing\.invalid can't be reached: .*; check the network"):
        web(no_proxy="*").get("http://me:secret@nothing.invalid/simple/")


def test_an_unknown_authority(index: PackageIndex, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    index.add("a", "1")
    with behind_tls(index, certificate, key) as url:
        with pytest.raises(IndexUnavailable, match="its certificate is not signed by a known authority"):
            web(SSL_CERT_FILE="").get(f"{url}/a/")
        assert 200 == web(PIP_CERT=str(certificate)).get(f"{url}/a/").status
        assert 200 == web(UV_INSECURE_HOST="127.0.0.1").get(f"{url}/a/").status


def test_no_tls_at_all(index: PackageIndex) -> None:
    with pytest.raises(IndexUnavailable, match=f"{index.address} can't be reached: there is no TLS connection to it"):
        web().get(f"https://{index.address}/simple/a/")


def test_waiting_grows_up_to_a_limit() -> None:
    one = Web(Indexes(()), {})
    waits = [one.wait(tries) for tries in range(30)]
    assert max(waits) <= 20
    assert 0.15 <= waits[0] <= 0.3
    assert waits[29] >= 10
