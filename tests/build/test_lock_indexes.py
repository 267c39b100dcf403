from __future__ import annotations

from pathlib import Path

import pytest

from upon_build.lock.indexes import PYPI, Indexes


def read(*files: Path, **env: str) -> Indexes:
    return Indexes.from_env({"HOME": "/nonexistent", **env}, files)


def urls(indexes: Indexes) -> list[str]:
    return [index.url for index in indexes.indexes]


def conf(folder: Path, text: str, name: str = "pip.conf") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_pypi_where_nobody_says_otherwise() -> None:
    assert Indexes(read().indexes) == read()
    assert [PYPI] == urls(read())


@pytest.mark.parametrize("variable", ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"])
def test_one_variable_is_enough(variable: str) -> None:
    assert ["http://a/simple"] == urls(read(**{variable: "http://a/simple/"}))


def test_the_order_of_precedence(tmp_path: Path) -> None:
    file = conf(tmp_path, "[global]\nindex-url = http://file/\n[install]\nindex_url = http://install/\n")
    env = {"PIP_INDEX_URL": "http://pip", "UV_INDEX_URL": "http://old", "UV_DEFAULT_INDEX": "http://new"}
    assert ["http://new"] == urls(read(file, **env))
    del env["UV_DEFAULT_INDEX"]
    assert ["http://old"] == urls(read(file, **env))
    del env["UV_INDEX_URL"]
    assert ["http://pip"] == urls(read(file, **env))
    assert ["http://install"] == urls(read(file))


def test_the_last_file_of_pip_wins(tmp_path: Path) -> None:
    first = conf(tmp_path, "[global]\nindex-url = http://a\ntrusted-host = a b\n", "a.conf")
    second = conf(tmp_path, "[global]\nindex-url = http://b\nextra-index-url =\n  http://c\n  http://d\n", "b.conf")
    found = read(first, second, tmp_path / "missing.conf", conf(tmp_path, "nonsense", "c.conf"))
    assert ["http://c", "http://d", "http://b"] == urls(found)
    assert frozenset({"a", "b"}) == found.insecure


def test_pips_own_files(tmp_path: Path) -> None:
    (tmp_path / ".config" / "pip").mkdir(parents=True)
    conf(tmp_path / ".config" / "pip", "[global]\nindex-url = http://mine\n")
    chosen = conf(tmp_path, "[global]\nindex-url = http://chosen\n", "chosen.conf")
    assert ["http://mine"] == urls(Indexes.from_env({"HOME": str(tmp_path)}))
    assert ["http://chosen"] == urls(Indexes.from_env({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(chosen)}))
    assert [PYPI] == urls(Indexes.from_env({"HOME": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}))


def test_uvs_own_file(tmp_path: Path) -> None:
    text = """\
[[index]]
name = "corp"
url = "http://corp/simple"
default = true
[[index]]
url = "http://torch/cpu"
[[index]]
url = "http://only-on-request"
explicit = true
[pip]
find-links = ["/wheels"]
"""
    file = conf(tmp_path, text, "uv.toml")
    found = read(UV_CONFIG_FILE=str(file), UV_INDEX_CORP_USERNAME="me", UV_INDEX_CORP_PASSWORD="pw")
    assert ["http://torch/cpu", "http://corp/simple"] == urls(found)
    assert "http://me:pw@corp/simple" == found.indexes[-1].full_url
    assert ("/wheels",) == found.links


def test_more_indexes_come_first_as_uv_asks_them() -> None:
    found = read(UV_INDEX="x=http://x http://y", UV_EXTRA_INDEX_URL="http://z", PIP_EXTRA_INDEX_URL="http://z http://w")
    assert ["http://x", "http://y", "http://z", "http://w", PYPI] == urls(found)
    assert "x" == found.indexes[0].name


def test_no_index_and_links(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    found = read(PIP_NO_INDEX="1", PIP_FIND_LINKS=f"{tmp_path}/wheels file:{tmp_path}/gone", UV_FIND_LINKS="http://l/")
    assert () == found.indexes
    assert ("http://l/", f"{tmp_path}/wheels", f"{tmp_path}/gone") == found.links
    assert {"UV_FIND_LINKS": f"http://l/,{tmp_path}/wheels"} == found.for_uv()


def test_credentials_are_for_uv_and_nobody_else() -> None:
    found = read(UV_DEFAULT_INDEX="https://me%40corp:p%2Fw@host:8443/simple/", UV_INDEX="https://token@other/simple")
    other, host = found.indexes
    assert ("me@corp", "p/w", "host:8443", "https://host:8443/simple") == (
        host.username,
        host.password,
        host.host,
        host.url,
    )
    assert ("token", "") == (other.username, other.password)
    assert {
        "UV_DEFAULT_INDEX": "https://me%40corp:p%2Fw@host:8443/simple",
        "UV_INDEX": "https://token@other/simple",
    } == found.for_uv()
    for secret in ("p/w", "p%2Fw", "me@corp", "token"):
        assert secret not in repr(found) + found.shown


def test_a_bundle_of_authorities(tmp_path: Path) -> None:
    assert "/a.pem" == read(SSL_CERT_FILE="/a.pem", PIP_CERT="/b.pem").certificates
    assert "/b.pem" == read(PIP_CERT="/b.pem").certificates
    assert {"SSL_CERT_FILE": "/b.pem", "UV_DEFAULT_INDEX": PYPI} == read(PIP_CERT="/b.pem").for_uv()
