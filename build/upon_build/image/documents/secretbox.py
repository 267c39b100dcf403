"""Opening NaCl's secretbox (XSalsa20-Poly1305), in which cosign keeps its private keys.

cryptography has Poly1305 but no Salsa20, whose keystream is made here. It is for a key file's few hundred bytes, read
on the machine of whoever owns it; nothing of it is fast, or hides its timing.
"""

from __future__ import annotations

import struct

from upon import UponError

CONSTANTS = struct.unpack("<4I", b"expand 32-byte k")
MASK = 0xFFFFFFFF
ROUND = (  # Salsa20's double round: columns, then rows; each line is (target, left, right, rotation)
    *((4, 0, 12, 7), (8, 4, 0, 9), (12, 8, 4, 13), (0, 12, 8, 18)),
    *((9, 5, 1, 7), (13, 9, 5, 9), (1, 13, 9, 13), (5, 1, 13, 18)),
    *((14, 10, 6, 7), (2, 14, 10, 9), (6, 2, 14, 13), (10, 6, 2, 18)),
    *((3, 15, 11, 7), (7, 3, 15, 9), (11, 7, 3, 13), (15, 11, 7, 18)),
    *((1, 0, 3, 7), (2, 1, 0, 9), (3, 2, 1, 13), (0, 3, 2, 18)),
    *((6, 5, 4, 7), (7, 6, 5, 9), (4, 7, 6, 13), (5, 4, 7, 18)),
    *((11, 10, 9, 7), (8, 11, 10, 9), (9, 8, 11, 13), (10, 9, 8, 18)),
    *((12, 15, 14, 7), (13, 12, 15, 9), (14, 13, 12, 13), (15, 14, 13, 18)),
)


class NotOpened(UponError):
    """The password is wrong, or the box was changed."""


def open_box(box: bytes, nonce: bytes, key: bytes) -> bytes:
    """The message in a box (16 bytes of tag, then the cipher text). nonce: 24 bytes; key: 32 bytes."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.poly1305 import Poly1305

    if len(key) != 32 or len(nonce) != 24 or len(box) < 16:
        raise NotOpened("a secretbox has a key of 32, a nonce of 24 and a tag of 16 bytes: this one is damaged")
    tag, sealed = box[:16], box[16:]
    stream = _keystream(key, nonce, 32 + len(sealed))
    try:
        Poly1305.verify_tag(stream[:32], sealed, tag)
    except InvalidSignature:
        raise NotOpened("the password is wrong, or the key's file was changed") from None
    return bytes(a ^ b for a, b in zip(sealed, stream[32:], strict=True))


def _keystream(key: bytes, nonce: bytes, size: int) -> bytes:
    inner = _hsalsa20(key, nonce[:16])
    blocks = (_salsa20(inner, nonce[16:], number) for number in range(-(-size // 64)))
    return b"".join(blocks)[:size]


def _hsalsa20(key: bytes, nonce: bytes) -> bytes:
    mixed = _rounds(_state(key, nonce))
    return struct.pack("<8I", *(mixed[at] for at in (0, 5, 10, 15, 6, 7, 8, 9)))


def _salsa20(key: bytes, nonce: bytes, block: int) -> bytes:
    state = _state(key, nonce + struct.pack("<Q", block))
    return struct.pack("<16I", *((a + b) & MASK for a, b in zip(_rounds(state), state, strict=True)))


def _state(key: bytes, middle: bytes) -> list[int]:
    k, n, c = struct.unpack("<8I", key), struct.unpack("<4I", middle), CONSTANTS
    return [c[0], *k[:4], c[1], *n, c[2], *k[4:], c[3]]


def _rounds(state: list[int]) -> list[int]:
    x = list(state)
    for _ in range(10):
        for target, left, right, by in ROUND:
            total = (x[left] + x[right]) & MASK
            x[target] ^= ((total << by) | (total >> (32 - by))) & MASK
    return x
