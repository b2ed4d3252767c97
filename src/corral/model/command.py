"""A command as it was understood: words with the places where values go; what is needed to render it.

Stored as JSON with each generation of a run. It holds no file contents and, for ranges, no values.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from decimal import Decimal, localcontext
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

import msgspec

from corral.model.base import Frozen
from corral.model.needs import Needs
from corral.model.texts import Texts

if TYPE_CHECKING:
    from collections.abc import Callable

Place = Literal["word", "bare", "single", "double"]
"""Where a value stands: a word of a vector, or in a shell line unquoted, in '…' or in "…"."""

DIGITS = 60  # of a decimal range's arithmetic: far beyond what anybody types, so never rounded
FACTOR_DIGITS = 12  # of a value in a range that multiplies: 1.1 to the 30th has 31
PLAIN = 20  # characters; a longer number is written with an exponent
MODERATE = 10**9  # numbers below it, with so many decimal places,
MODERATE_PLACES = 8  # are written plain: sign, 10 digits, point and 8 are 20 characters


class Range(Frozen, frozen=True, kw_only=True, tag="range"):
    """Numbers or letters that are computed, so that a million of them cost nothing."""

    name: str
    text: str  # as typed, without the name
    kind: Literal["add", "multiply", "letters"]
    first: str  # decimal text, or a letter
    step: str  # decimal text: what is added, or the factor; for letters a whole number
    count: int
    width: int = 0  # zeros are put in front up to it

    def __len__(self) -> int:
        return self.count

    def value(self, index: int) -> str:
        """Give the text of value ``index``, from 0; the shortest decimal text."""
        return self.reader()(index)

    def reader(self) -> Callable[[int], str]:
        """Give `value` prepared for many calls."""
        if self.kind == "letters":
            return lambda index: chr(ord(self.first) + index * int(self.step))
        first, step = Decimal(self.first), Decimal(self.step)
        if self.kind == "add" and max(abs(first), abs(step) * self.count) < MODERATE:
            return self._sum_of_integers(first, step)
        return lambda index: self._number(first, step, index)

    def _number(self, first: Decimal, step: Decimal, index: int) -> str:
        with localcontext() as context:
            context.prec = DIGITS
            if self.kind == "add":
                return _padded(shortest(first + index * step), self.width)
            number = first * step**index
            context.prec = FACTOR_DIGITS
            return _padded(shortest(+number), self.width)

    def _sum_of_integers(self, first: Decimal, step: Decimal) -> Callable[[int], str]:
        """Count in units of the last decimal: a fifth of the time of decimals."""
        places = max(0, *(-int(number.as_tuple().exponent) for number in (first, step)))
        if places > MODERATE_PLACES:
            return lambda index: self._number(first, step, index)
        start, by, width = int(first.scaleb(places)), int(step.scaleb(places)), self.width
        if not places and not width:
            return lambda index: str(start + index * by)
        return lambda index: _padded(_with_point(start + index * by, places), width)


class Listed(Frozen, frozen=True, kw_only=True, tag="listed", dict=True):
    """Values that were written out, or found once."""

    name: str
    text: str  # as typed, without the name
    kind: Literal["list", "glob", "file"]  # a glob's values are paths, shipped to the task
    written: msgspec.Raw = msgspec.field(name="values")  # a JSON list of texts: texts.written
    counts: tuple[int, ...] = ()  # how often each value stands, from 1; () = once

    @cached_property
    def values(self) -> Texts:
        """Find where each value stands; not done for a command that is only sent or stored.

        Raises:
            UsageError: They are no texts.
        """
        return Texts(self.written)

    def __len__(self) -> int:
        return sum(self.counts) if self.counts else len(self.values)

    def value(self, index: int) -> str:
        """Give value ``index``, from 0."""
        return self.reader()(index)

    def reader(self) -> Callable[[int], str]:
        """Give `value` prepared for many calls."""
        if not self.counts:
            return self.values.__getitem__
        ends = array("Q", accumulate(self.counts))
        return lambda index: self.values[bisect_right(ends, index)]


Axis = Range | Listed


class Text(Frozen, frozen=True, kw_only=True, tag="text"):
    """Characters that stand as they are."""

    text: str


class Ref(Frozen, frozen=True, kw_only=True, tag="ref"):
    """A place for a value: of an axis or of a built-in."""

    name: str
    parts: tuple[str, ...] = ()  # of stem name dir ext noext path, applied in order
    format: str = ""  # as after the colon
    raw: bool = False  # put in without quoting
    place: Place = "word"


class Mark(Frozen, frozen=True, kw_only=True, tag="mark"):
    """An input or output file named in the command; its text holds only references."""

    kind: Literal["in", "out"]
    pattern: tuple[Text | Ref, ...]
    place: Place = "word"


class Shipped(Frozen, frozen=True, kw_only=True, tag="shipped"):
    """A path in the command that is shipped to another place in the task's folder."""

    path: str
    place: Place = "word"


class Line(Frozen, frozen=True, kw_only=True, tag="line"):
    """A place for a whole command: a line of a list, in which only {task} {ticket} {rep} count."""

    name: str  # of the axis whose values are the lines
    list: str  # the file they came from: another file is another run


Segment = Text | Ref | Mark | Shipped | Line


class Template(Frozen, frozen=True, kw_only=True):
    """An input file that is made for each task from a jinja2 template."""

    path: str  # where it stands in the task's folder
    source: str  # the template's file, as typed
    text: str  # of the template
    executable: bool = False


class Choice(Frozen, frozen=True, kw_only=True):
    """Which of all combinations are wanted, and in what order."""

    where: str = ""  # as in work.where; "" = all
    shuffle: int | None = None  # the key of the order; None = as written
    limit: int | None = None  # so many, the first ones of that order


class Command(Frozen, frozen=True, kw_only=True):
    """See the file's first line."""

    form: Literal["line", "vector"]
    shell: str = "/bin/sh"
    words: tuple[tuple[Segment, ...], ...]  # of a line: one
    simple: tuple[tuple[Segment, ...], ...] | None = None
    """A line of plain words only, split: these start the program without a shell."""
    axes: tuple[Axis, ...] = ()
    together: tuple[tuple[str, ...], ...] = ()
    """Names of axes that turn as one: columns of a table, --zip, :::+. Neighbours in ``axes``."""
    choice: Choice = Choice()
    outputs: tuple[Mark, ...] = ()  # beside the marks in the words: --output, `outputs` of a file
    templates: tuple[Template, ...] = ()
    reps: int = 1
    here: bool = False  # runs in the folder of the command
    checks: tuple[str, ...] = ()  # that a result must pass, as typed
    needs: Needs = Needs()  # of the host, for each task

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(axis.name for axis in self.axes)

    @property
    def marks(self) -> tuple[Mark, ...]:
        """All marks, those in the words first."""
        inside = (part for word in self.words for part in word if isinstance(part, Mark))
        return (*inside, *self.outputs)


def shortest(number: Decimal) -> str:
    """Write a number with the fewest characters, plain where that is not absurdly long."""
    plain = format(number.normalize(), "f")
    if plain in ("-0", ""):
        return "0"
    if len(plain) <= PLAIN:
        return plain
    return format(number.normalize(), "e").replace("e+", "e")


def _with_point(units: int, places: int) -> str:
    if not places:
        return str(units)
    digits = str(abs(units)).rjust(places + 1, "0")
    decimals = digits[-places:].rstrip("0")
    sign = "-" if units < 0 else ""
    return f"{sign}{digits[:-places]}{'.' if decimals else ''}{decimals}"


def _padded(text: str, width: int) -> str:
    if len(text) >= width:
        return text
    sign = "-" if text.startswith("-") else ""
    return sign + text[len(sign) :].rjust(width - len(sign), "0")
