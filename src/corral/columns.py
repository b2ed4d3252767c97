"""How many columns of a terminal does a text take? A caret and a table must know.

Wide characters (Chinese, Japanese, Korean, most pictures) take two, marks on the letter before
them none.
"""

from __future__ import annotations

from unicodedata import category, east_asian_width

_OVER = {"Mn", "Me", "Cf"}  # stand over another character, or show nothing


def width(text: str) -> int:
    """Count the columns of a text without tabs."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def padded(text: str, columns: int) -> str:
    """Fill a text up with blanks."""
    return text + " " * (columns - width(text))


def blank(text: str) -> str:
    """Give what moves a caret as far as ``text`` does: tabs stay, all else becomes blanks."""
    return "".join("\t" if letter == "\t" else " " * _columns(letter) for letter in text)


def _columns(letter: str) -> int:
    if category(letter) in _OVER:
        return 0
    return 2 if east_asian_width(letter) in "WF" else 1
