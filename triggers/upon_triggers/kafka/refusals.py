"""Why no broker lets us in: what happened on the wire, told in the words of func.yaml."""

from __future__ import annotations

import ssl
from typing import Any, NamedTuple

from upon_triggers.settings import KafkaConnection

EXPIRED = {9: "is not valid yet", 10: "has expired"}  # OpenSSL's verify codes
MISMATCH = {62, 64}  # host name, IP address
ALERT = "_ALERT_"
NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"}
CUT_OFF = {"UNEXPECTED_EOF_WHILE_READING"}


class Refusal(NamedTuple):
    """message: the fact, then the remedy. final: trying again won't help. telling: it knows the cause."""

    message: str
    final: bool = False
    telling: bool = True


def explain(connection: KafkaConnection, address: str, error: BaseException, *, greeted: bool) -> Refusal:
    """What a broken connection means. address: host:port. greeted: whether a Kafka broker had said hello on it."""
    name = type(error).__name__
    handshake = _ssl_error(error)
    if handshake is not None:
        return _explain_tls(connection, address, handshake)
    match name:
        case "SaslAuthenticationFailedError":
            return _explain_credentials(connection, address)
        case "UnsupportedSaslMechanismError":
            mechanism = connection.sasl.mechanism if connection.sasl else None
            remedy = "set kafka.sasl.mechanism to one that it offers"
            return Refusal(f"the broker at {address!r} does not offer the SASL mechanism {mechanism!r}: {remedy}", True)
        case "IllegalSaslStateError":
            remedy = "remove kafka.sasl, or name the port for SASL in kafka.bootstrap"
            return Refusal(f"the broker at {address!r} takes no SASL credentials: {remedy}", True)
        case "InvalidReceiveError":
            return _explain_frame(connection, address, str(error))
    if "DNS" in str(error):
        host = address.rpartition(":")[0]
        remedy = f"correct kafka.bootstrap ({address!r}), or this machine's name resolution"
        return Refusal(f"the name {host!r} can't be resolved: {remedy}")
    if greeted and "disconnected" in str(error) and connection.sasl is None:
        remedy = "it probably wants credentials: set kafka.sasl"
        return Refusal(f"the broker at {address!r} hangs up at the first request: {remedy}")
    why = "connection refused" if "ECONNREFUSED" in str(error) else _short(error)
    return Refusal(
        f"no Kafka broker answers at {address!r}: start it, or correct kafka.bootstrap ({why})",
        telling="ECONNREFUSED" in str(error),
    )


def _ssl_error(error: BaseException) -> ssl.SSLError | None:
    """kafka-python wraps it, or carries it as its argument."""
    found: list[Any] = [error, error.__context__, *error.args]
    return next((one for one in found if isinstance(one, ssl.SSLError)), None)


def _explain_tls(connection: KafkaConnection, address: str, error: ssl.SSLError) -> Refusal:
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_certificate(connection, address, error)
    if ALERT in reason:
        return _explain_alert(connection, address, reason)
    if reason in NO_TLS or reason in CUT_OFF or isinstance(error, ssl.SSLEOFError):
        remedy = "remove kafka.tls, or name the port for TLS in kafka.bootstrap"
        return Refusal(f"what listens at {address!r} does not speak TLS: {remedy}", final=reason in NO_TLS)
    return Refusal(f"no TLS connection to the broker at {address!r} ({reason or error}): check kafka.tls")


def _explain_certificate(connection: KafkaConnection, address: str, error: ssl.SSLCertVerificationError) -> Refusal:
    whose = f"the certificate of the broker at {address!r}"
    code, said = error.verify_code, error.verify_message.rstrip(".")
    if code in EXPIRED:
        return Refusal(f"{whose} {EXPIRED[code]}: renew it, or correct this machine's clock", True)
    if code in MISMATCH:
        return Refusal(f"{whose} is for another host ({said}): put a name that it holds into kafka.bootstrap", True)
    ca = connection.tls.ca if connection.tls else None
    if ca is None:
        remedy = "set kafka.tls.ca to the certificate of the authority that signed it"
    else:
        remedy = f"kafka.tls.ca ({ca!r}) must hold the certificate of the authority that signed it"
    return Refusal(f"{whose} is not trusted ({said}): {remedy}", True)


def _explain_alert(connection: KafkaConnection, address: str, reason: str) -> Refusal:
    """The broker ended the handshake; nearly always over our certificate."""
    said = reason.partition(ALERT)[2].lower().replace("_", " ")
    tls = connection.tls
    if tls is not None and tls.certificate is not None:
        remedy = "it must be signed by an authority that the broker trusts"
        return Refusal(
            f"the broker at {address!r} refuses kafka.tls.certificate ({tls.certificate!r}, {said}): {remedy}", True
        )
    remedy = "set kafka.tls.certificate and kafka.tls.key"
    return Refusal(f"the broker at {address!r} wants a client certificate ({said}): {remedy}", True)


def _explain_credentials(connection: KafkaConnection, address: str) -> Refusal:
    sasl = connection.sasl
    who = f"{sasl.username!r} with {sasl.mechanism}" if sasl is not None else "nobody"
    remedy = "correct kafka.sasl.username, kafka.sasl.password or kafka.sasl.mechanism"
    return Refusal(f"the broker at {address!r} refuses the credentials of {who}: {remedy}", True)


def _explain_frame(connection: KafkaConnection, address: str, text: str) -> Refusal:
    """Four bytes that were taken for a length tell who spoke them."""
    number = text.rpartition(" ")[2]
    first = int(number).to_bytes(4, "big", signed=True) if number.lstrip("-").isdigit() else b""
    if first[:2] == b"\x15\x03":  # a TLS alert
        return Refusal(f"the broker at {address!r} speaks TLS: set kafka.tls, or name its plain port", True)
    who = "an HTTP server" if first == b"HTTP" else "something else"
    return Refusal(f"{who} answers at {address!r}, and no Kafka broker: correct kafka.bootstrap", True)


def _short(error: BaseException) -> str:
    return str(error).removeprefix(type(error).__name__ + ": ") or type(error).__name__
