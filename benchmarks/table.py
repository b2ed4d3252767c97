"""What a benchmark gives, and how it is printed."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """What a benchmark is given."""

    folder: Path  # its own, removed afterwards
    runs: int  # how often a comparison is repeated; the median counts


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    what: str
    figure: str  # the median, with its unit
    spread: str = ""  # least and most of the runs
    to: str = ""  # the floor or peer of the same run
    ratio: float | None = None  # our figure divided by theirs, both of one run; the median of runs
    aim: str = ""
    met: bool | None = None  # None: there is no aim, or no peer
    why: str = ""  # a peer is missing because …


def not_compared(what: str, to: str, why: str) -> Row:
    """Say that a peer is not there."""
    return Row(what=what, figure="", to=to, why=why)


def seconds(values: Sequence[float]) -> str:
    """Write the median of some seconds."""
    middle = statistics.median(values)
    return f"{middle * 1000:.0f} ms" if middle < 1 else f"{middle:.1f} s"


def milliseconds_range(values: Sequence[float]) -> str:
    """Write the least and the most of some seconds: how noisy it was."""
    return f"{min(values) * 1000:.0f}-{max(values) * 1000:.0f} ms"


def paired(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Give the median of the ratios of what was measured side by side."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def lines(rows: Sequence[Row]) -> list[str]:
    """Lay out the table."""
    cells = [("what", "median", "min-max", "ratio", "to", "aim", "")]
    cells += [
        (
            row.what,
            row.figure,
            row.spread,
            "" if row.ratio is None else f"{row.ratio:.2f}",
            row.to,
            row.aim,
            _verdict(row),
        )
        for row in rows
    ]
    widths = [max(len(line[n]) for line in cells) for n in range(len(cells[0]))]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def _verdict(row: Row) -> str:
    if row.why:
        return f"NOT COMPARED: {row.why}"
    return "" if row.met is None else ("met" if row.met else "MISSED")
