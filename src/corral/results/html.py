"""Pieces of a page that stands alone: text made harmless, tables, and bars drawn as SVG."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from corral.model.base import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_STEERING = dict.fromkeys(
    (
        *range(9), 11, 12, *range(14, 32), *range(127, 160),  # control characters
        *range(0x202A, 0x202F), *range(0x2066, 0x206A),  # what turns the direction of writing
        *range(0xD800, 0xE000),  # bytes that are no text
    ),
    "\ufffd",
)  # fmt: skip

WIDTH = 900  # of a drawing, in its own units: it scales with the page
LABEL = 150  # of them, for the names on the left
LANE = 22
LABEL_CHARS = 20

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ --ink: #1c2430; --soft: #5b6676; --paper: #fff; --line: #dde2ea; --band: #f5f7fa;
  --good: #2f7d5b; --bad: #c2452d; --draw: #3c6fb4; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e4e8ee; --soft: #9aa6b6; --paper: #15191f;
  --line: #303947; --band: #1d232c; --good: #58b88d; --bad: #ee7f66; --draw: #7aa7e6; }} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 64rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.6rem; margin: 0 0 .25rem; }}
h2 {{ font-size: 1.1rem; margin: 2.5rem 0 .6rem; }}
code, pre, td.code {{ font: 13px/1.5 ui-monospace, monospace; }}
pre {{ background: var(--band); border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0;
  padding: .6rem .8rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }}
.soft {{ color: var(--soft); }}
.good {{ color: var(--good); }}
.bad {{ color: var(--bad); }}
.tiles {{ display: flex; flex-wrap: wrap; gap: .6rem; margin: 1.2rem 0; }}
.tiles div {{ background: var(--band); border: 1px solid var(--line); border-radius: 6px;
  padding: .45rem .9rem; min-width: 7rem; }}
.tiles b {{ display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: .28rem .7rem .28rem 0; vertical-align: top;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }}
th {{ color: var(--soft); font-weight: 600; white-space: nowrap; }}
td.number, th.number {{ text-align: right; padding-right: 1.4rem; white-space: nowrap; }}
svg {{ display: block; width: 100%; height: auto; }}
svg text {{ fill: var(--soft); font: 12px system-ui, sans-serif; }}
svg .axis {{ stroke: var(--line); }}
svg .draw {{ fill: var(--draw); }}
svg .bad {{ fill: var(--bad); }}
@media print {{ body {{ max-width: none; }} }}
</style></head><body>
"""
TAIL = "</body></html>\n"


class Bar(Frozen, frozen=True, kw_only=True):
    """A bar of a drawing: where it stands, how high it is, what of it went wrong."""

    at: float  # 0 to 1, from left to right
    width: float  # of the same
    height: float  # 0 to 1
    bad: float = 0.0  # of the height, from below
    title: str  # what a pointer that rests on it is told


class Lane(Frozen, frozen=True, kw_only=True):
    """Bars beside a name."""

    name: str
    bars: tuple[Bar, ...]


def text(value: object) -> str:
    """Write a value as text of a page: nothing in it can be a tag or steer anything."""
    return html.escape(str(value).translate(_STEERING))


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: str = "") -> str:
    """Write a table; ``numbers`` names the columns that hold numbers, between blanks."""
    kinds = [' class="number"' if head in numbers.split() else "" for head in heads]
    top = "".join(f"<th{kind}>{text(head)}</th>" for head, kind in zip(heads, kinds, strict=True))
    body = "\n".join(
        "<tr>"
        + "".join(
            f"<td{kind}>{'' if cell is None else text(cell)}</td>"
            for cell, kind in zip(row, kinds, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table></div>\n'


def lanes(found: Sequence[Lane], *, left: str, right: str, label: str, room: int = LANE) -> str:
    """Draw bars in lanes over one axis, whose ends are called ``left`` and ``right``.

    ``room`` is the height of a lane.
    """
    height = room * len(found) + 20
    parts = [_open(height, label)]
    for index, lane in enumerate(found):
        base = room * (index + 1)
        name = lane.name if len(lane.name) <= LABEL_CHARS else f"{lane.name[: LABEL_CHARS - 1]}…"
        parts.append(f'<text x="0" y="{base - 6}">{text(name)}</text>')
        parts.append(_line(base))
        parts += [_bar(bar, base, room - 4) for bar in lane.bars]
    return "".join((*parts, _ends(height, left, right), "</svg>\n"))


def _open(height: int, label: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{text(label)}">'


def _line(base: int) -> str:
    return f'<line class="axis" x1="{LABEL}" y1="{base}" x2="{WIDTH}" y2="{base}"/>'


def _bar(bar: Bar, base: int, room: int) -> str:
    x = LABEL + bar.at * (WIDTH - LABEL)
    width = max(1.0, bar.width * (WIDTH - LABEL) - 0.5)
    high = bar.height * room
    parts = [f"<g><title>{text(bar.title)}</title>"]
    low = high * bar.bad
    if low:
        parts.append(_rect("bad", x, base - low, width, low))
    if high > low:
        parts.append(_rect("draw", x, base - high, width, high - low))
    return "".join((*parts, "</g>"))


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
    )


def _ends(height: int, left: str, right: str) -> str:
    y = height - 5
    return (
        f'<text x="{LABEL}" y="{y}">{text(left)}</text>'
        f'<text x="{WIDTH}" y="{y}" text-anchor="end">{text(right)}</text>'
    )
