"""Signed statements: in-toto's statement in a DSSE envelope."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from upon_build.image.oci import canonical

if TYPE_CHECKING:
    from upon_build.image.documents.keys import SigningKey, VerifyingKey

STATEMENT = "https://in-toto.io/Statement/v1"
IN_TOTO = "application/vnd.in-toto+json"
ENVELOPE = "application/vnd.dsse.envelope.v1+json"


def make_statement(name: str, digest: str, predicate_type: str, predicate: Any) -> bytes:
    """What is said of one image. name: `ghcr.io/acme/reviews`; digest: its manifest's."""
    subject = {"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}
    return canonical(
        {"_type": STATEMENT, "subject": [subject], "predicateType": predicate_type, "predicate": predicate}
    )


def predicate_type_of(statement: bytes) -> str:
    return str(json.loads(statement)["predicateType"])


def seal(statement: bytes, key: SigningKey) -> bytes:
    """The statement in an envelope with one signature."""
    signature = {"keyid": "", "sig": _text(key.sign(signed_bytes(IN_TOTO, statement)))}
    return canonical({"payloadType": IN_TOTO, "payload": _text(statement), "signatures": [signature]})


def opened(envelope: bytes, key: VerifyingKey) -> bytes | None:
    """The statement, if this key signed it; None for any other envelope, and for what is none."""
    try:
        said = json.loads(envelope)
        payload = base64.b64decode(said["payload"], validate=True)
        content = signed_bytes(str(said["payloadType"]), payload)
        signatures = [base64.b64decode(each["sig"], validate=True) for each in said["signatures"]]
    except (ValueError, LookupError, TypeError):
        return None
    fitting = isinstance(said, Mapping) and said["payloadType"] == IN_TOTO
    return payload if fitting and any(key.verifies(each, content) for each in signatures) else None


def signed_bytes(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: type and length are under the signature too."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
