"""The nearest name that Kubernetes takes, for messages that say what to write instead."""

from __future__ import annotations

import re
import unicodedata


def as_label(text: str) -> str:
    """`Ünï Service_2` -> `uni-service-2`; may be empty, or longer than a name may be."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).lstrip("-0123456789").rstrip("-")
