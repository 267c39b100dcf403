"""Sizes as func.yaml writes them."""

from __future__ import annotations


def show_size(size: int) -> str:
    """`1.5Gi`, `340Ki`, `12 bytes`"""
    for unit, bytes_ in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if size >= bytes_:
            return f"{size / bytes_:.3g}{unit}" if size < 1000 * bytes_ else f"{size // bytes_}{unit}"
    return f"{size} bytes"
