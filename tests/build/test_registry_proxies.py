from __future__ import annotations

import pytest

from upon_build.registry.errors import RegistryError
from upon_build.registry.proxies import proxy_for

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("url", "env", "expected"),
    [
        ("https://ghcr.io/v2/", {}, ""),
        ("https://ghcr.io/v2/", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://ghcr.io/v2/", {"https_proxy": PROXY, "HTTPS_PROXY": "http://other"}, PROXY),
        ("https://ghcr.io/v2/", {"HTTP_PROXY": PROXY}, ""),
        ("https://ghcr.io/v2/", {"ALL_PROXY": "proxy.example:3128"}, PROXY),
        ("https://ghcr.io/v2/", {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, ""),
        ("https://ghcr.io/v2/", {"HTTPS_PROXY": PROXY, "NO_PROXY": "quay.io, ghcr.io"}, ""),
        ("https://pkg.ghcr.io/v2/", {"HTTPS_PROXY": PROXY, "NO_PROXY": ".ghcr.io"}, ""),
        ("https://notghcr.io/v2/", {"HTTPS_PROXY": PROXY, "NO_PROXY": "ghcr.io"}, PROXY),
        ("https://r.example:5000/v2/", {"HTTPS_PROXY": PROXY, "NO_PROXY": "r.example:5000"}, ""),
        ("https://r.example:5000/v2/", {"HTTPS_PROXY": PROXY, "NO_PROXY": "r.example:5001"}, PROXY),
        ("http://127.0.0.1:5000/v2/", {"HTTP_PROXY": PROXY}, ""),
        ("http://[::1]:5000/v2/", {"HTTP_PROXY": PROXY}, ""),
    ],
)
def test_proxies_are_named_by_the_environment(url: str, env: dict[str, str], expected: str) -> None:
    assert expected == proxy_for(url, env)


def test_socks_is_refused_with_the_variable_to_change() -> None:
    with pytest.raises(RegistryError, match="socks5 proxy can't be used: name an http:// proxy in https_proxy"):
        proxy_for("https://ghcr.io/v2/", {"ALL_PROXY": "socks5://user:s3cret@proxy.example"})
