"""Ids that follow from what they name, so that doing a thing twice gives the same id."""

from __future__ import annotations

from functools import cache
from typing import Any

_NAMESPACE = bytes.fromhex("1fa6083fc4c9515e84db38b89595c816")  # uuid5 of "upon.reply" in the OID namespace


@cache
def _hash() -> Any:
    import hashlib  # OpenSSL takes a few milliseconds to load, and `import upon` does not need it

    return hashlib.sha1(_NAMESPACE, usedforsecurity=False)


def name_id(name: str) -> str:
    """str(uuid.uuid5(...)) of a namespace of our own, for a fifth of its time, which every reply pays."""
    digest = _hash().copy()
    digest.update(name.encode())
    h = digest.hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{'89ab'[int(h[16], 16) & 3]}{h[17:20]}-{h[20:32]}"
