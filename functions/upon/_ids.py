"""Ids that follow from what they name, so that doing a thing twice gives the same id."""

from __future__ import annotations

import hashlib
import uuid

_NAMESPACE = hashlib.sha1(uuid.uuid5(uuid.NAMESPACE_OID, "upon.reply").bytes, usedforsecurity=False)


def name_id(name: str) -> str:
    """str(uuid.uuid5(...)) of a namespace of our own, for a fifth of its time, which every reply pays."""
    digest = _NAMESPACE.copy()
    digest.update(name.encode())
    h = digest.hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{'89ab'[int(h[16], 16) & 3]}{h[17:20]}-{h[20:32]}"
