"""The proxy that the environment names, by the variables that every command-line tool reads."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from upon_build.registry.errors import RegistryError
from upon_build.registry.reference import is_loopback


def proxy_for(url: str, env: Mapping[str, str]) -> str:
    """The proxy's URL, or nothing; never one for this machine itself. HTTP and HTTPS proxies only."""
    where = urlsplit(url)
    host = where.hostname or ""
    if is_loopback(f"[{host}]" if ":" in host else host):
        return ""
    if _is_exempt(host, where.port, env.get("no_proxy") or env.get("NO_PROXY") or ""):
        return ""
    variable = f"{where.scheme}_proxy"
    proxy = env.get(variable) or env.get(variable.upper()) or env.get("all_proxy") or env.get("ALL_PROXY") or ""
    if proxy.startswith("socks"):
        raise RegistryError(f"a {proxy.partition(':')[0]} proxy can't be used: name an http:// proxy in {variable}")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _is_exempt(host: str, port: int | None, exempt: str) -> bool:
    """`*`, a name with all below it, or either with a port."""
    names = [name.strip().lower().lstrip(".") for name in exempt.split(",")]
    named = [host.lower()] if port is None else [host.lower(), f"{host.lower()}:{port}"]
    return "*" in names or any(one == name or one.endswith(f".{name}") for name in names if name for one in named)
