"""Times and sizes as people write them: ``2s 5m 1h``, ``64K 100M 1G``."""

from __future__ import annotations

import re
from math import inf

from corral.errors import UsageError

_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
MOST = 1 << 62  # bytes; what a database can hold
_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_PIECE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-zA-Z]*)")


def seconds(text: str, *, option: str = "") -> float:
    """Read a span: ``90``, ``90s``, ``1h30m``, ``1.5h``, ``00:10:00``; a bare number is seconds.

    ``option`` is what it was given to, for the error.

    Raises:
        UsageError: It is none, or not above zero.
    """
    cleaned = text.strip()
    found = _clock(cleaned) if ":" in cleaned else _pieces(cleaned)
    if found is None or found <= 0 or found == inf:
        raise UsageError(f"{_named(option, text)} is no time", hint="write 30s, 5m, 1h or 1h30m")
    return found


def size(text: str, *, option: str = "") -> int:
    """Read a number of bytes: ``4096``, ``64K``, ``1.5G``, ``2GiB``; powers of 1024.

    ``option`` is what it was given to, for the error.

    Raises:
        UsageError: It is none.
    """
    match = _PIECE.fullmatch(text.strip())
    unit = match[2].upper().removesuffix("IB").removesuffix("B") if match else ""
    bytes_ = float(match[1]) * _BYTES[unit] if match and unit in _BYTES else inf
    if bytes_ > MOST:
        raise UsageError(f"{_named(option, text)} is no size", hint="write 4096, 64K, 100M or 1G")
    return int(bytes_)


def show_seconds(value: float) -> str:
    """Write a span for people: ``0.42 s``, ``12 s``, ``3:05``, ``2:10:00``, ``3 d 4 h``."""
    if value < 10:
        return f"{value:.2g} s" if value < 1 else f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def show_size(value: float) -> str:
    """Write bytes for people: ``512 B``, ``1.5 KB``, ``20 MB``."""
    unit = "B"
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if value < 1024 or unit == "TB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"


def _named(option: str, text: str) -> str:
    return f"{option} {text}:" if option else repr(text)


def _clock(text: str) -> float | None:
    fields = text.split(":")
    if len(fields) not in (2, 3) or not all(
        field.isascii() and field.isdigit() for field in fields
    ):
        return None
    total = 0.0
    for field in fields:
        total = total * 60 + float(field)
    return total


def _pieces(text: str) -> float | None:
    total, end = 0.0, 0
    for match in _PIECE.finditer(text):
        if text[end : match.start()].strip() or match[2].lower() not in _SECONDS:
            return None
        total += float(match[1]) * _SECONDS[match[2].lower()]
        end = match.end()
    return None if end == 0 or text[end:].strip() else total
