"""What does a collecting rule mean? ``concat tagged blocks table files split=SIZE ./collect.py``."""

from __future__ import annotations

import difflib
from typing import Literal

from corral.errors import UsageError
from corral.model.base import Frozen
from corral.results import values
from corral.units import size

NAMES = ("concat", "tagged", "blocks", "table", "files", "split=SIZE", "./PROGRAM")

Kind = Literal["concat", "tagged", "blocks", "table", "files", "split", "program"]

_BARE: dict[str, Kind] = {
    "concat": "concat", "tagged": "tagged", "blocks": "blocks", "table": "table", "files": "files",
}  # fmt: skip


class Rule(Frozen, frozen=True, kw_only=True):
    """A collecting rule as it was understood."""

    kind: Kind
    size: int = 0  # bytes; of split: no part is larger, unless one result alone is
    form: str = ""  # of table: where the values are; "" = look
    program: str = ""  # of program: its path, as typed

    @property
    def makes_folder(self) -> bool:
        """Say whether it makes many files; the others make one stream."""
        return self.kind in ("files", "split")


def read(text: str) -> Rule:
    """Read a rule.

    Raises:
        UsageError: There is none of that name, or its size is none.
    """
    name, equals, value = text.partition("=")
    if name == "split" and equals:
        limit = size(value)
        if limit < 1:
            raise UsageError(f"{text}: parts of nothing", hint="write split=100M")
        return Rule(kind="split", size=limit)
    if name == "table" and value:
        values.reader(value)
        return Rule(kind="table", form=value)
    if "/" in text and not equals:
        return Rule(kind="program", program=text)
    if text in _BARE:
        return Rule(kind=_BARE[text])
    raise UsageError(f"there is no collecting rule {text!r}", hint=_hint(name))


def _hint(name: str) -> str:
    if name == "split":
        return "say how large a part may be: split=100M"
    near = difflib.get_close_matches(name, (*_BARE, "split=SIZE"), n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"one of: {', '.join(NAMES)}"
