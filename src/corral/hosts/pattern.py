"""Which names does one item of a set mean: ``n[01-10/3]``, ``h{a..c}``, ``10.0.0.5..7:2222``?

An item is literal text with choices in it; it means every combination, the last choice turning
fastest. How many those are is known by arithmetic before any is made.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import TYPE_CHECKING, Literal, NoReturn

from corral.errors import UsageError
from corral.model.base import Frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TOKEN = re.compile(r"\[[^\[\]]*\]|\{[^{}]*\}|[^\[\]{}]+")
_NUMBERS = re.compile(r"([0-9]{1,100})(?:\s*-\s*([0-9]{1,100})(?:/([0-9]{1,100}))?)?")
_LETTERS = re.compile(r"([A-Za-z])(?:\s*-\s*([A-Za-z])(?:/([0-9]{1,3}))?)?")
_BRACES = re.compile(
    r"(?:([0-9]{1,100})\.\.([0-9]{1,100})|([A-Za-z])\.\.([A-Za-z]))(?:(?:\.\.|:)([0-9]{1,100}))?"
)
_ADDRESS = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
_ADDRESSES = re.compile(rf"(?<![\w.])({_ADDRESS})\.\.({_ADDRESS}|[0-9]{{1,3}})(?![\w.])")


class Span(Frozen, frozen=True, kw_only=True):
    """Numbers from ``first`` to ``last`` (which a step may miss), and how they are written."""

    first: int
    last: int
    step: int = 1  # below 0: counts down
    kind: Literal["number", "letter", "address"] = "number"
    width: int = 0  # digits that zeros fill up to

    def count(self) -> int:
        """Say how many; `len` of a range ends at 63 bits."""
        return (self.last - self.first) // self.step + 1

    def texts(self) -> Iterator[str]:
        """Write them out, in order."""
        numbers = (self.first + index * self.step for index in range(self.count()))
        match self.kind:
            case "number":
                return (str(number).zfill(self.width) for number in numbers)
            case "letter":
                return map(chr, numbers)
            case "address":
                return (
                    ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
                    for number in numbers
                )


Choice = tuple[Span | str, ...]


class Pattern(Frozen, frozen=True, kw_only=True):
    """Literal texts and choices, in turn."""

    pieces: tuple[str | Choice, ...]

    def count(self) -> int:
        """Say how many texts it means."""
        return math.prod(
            sum(1 if isinstance(part, str) else part.count() for part in piece)
            for piece in self.pieces
            if not isinstance(piece, str)
        )

    def texts(self) -> Iterator[str]:
        """Write every combination out, the last choice turning fastest."""
        columns = [(piece,) if isinstance(piece, str) else _values(piece) for piece in self.pieces]
        return map("".join, itertools.product(*columns))


def parse(item: str) -> Pattern:
    """Read an item whose brackets and braces are known to be in pairs.

    Raises:
        UsageError: A range is none; ``column`` is the place in ``item``.
    """
    pieces: list[str | Choice] = []
    for match in _TOKEN.finditer(item):
        token, start = match[0], match.start()
        if token.startswith("[") and ":" not in token:
            pieces.append(_bracket(item, token[1:-1], start + 1))
        elif token.startswith("{"):
            pieces.append(_brace(item, token[1:-1], start))
        else:
            pieces += _addresses(item, token, start)
    return Pattern(pieces=tuple(pieces))


def _values(choice: Choice) -> Sequence[str]:
    return [
        text for part in choice for text in ((part,) if isinstance(part, str) else part.texts())
    ]


def _bracket(item: str, inside: str, start: int) -> Choice:
    """Read ``1-3,07,a-c/2``."""
    spans: list[Span | str] = []
    for part in inside.split(","):
        place = start + len(part) - len(part.lstrip())
        spans.append(_span(item, part.strip(), place))
        start += len(part) + 1
    return tuple(spans)


def _span(item: str, part: str, place: int) -> Span:
    if match := _NUMBERS.fullmatch(part):
        first, last, step = match[1], match[2] or match[1], match[3] or "1"
        width = len(first) if _is_padded(first) or _is_padded(last) else 0
        if width and len(first) != len(last):
            hint = f"write {first.zfill(len(last))}-{last.zfill(len(first))}"
            _refuse(item, place, f"{part!r} mixes widths", hint)
        span = Span(first=int(first), last=int(last), step=int(step), width=width)
    elif match := _LETTERS.fullmatch(part):
        first, last, step = match[1], match[2] or match[1], match[3] or "1"
        if first.isupper() != last.isupper():
            _refuse(item, place, f"{part!r} mixes small and capital letters", "write a-c or A-C")
        span = Span(first=ord(first), last=ord(last), step=int(step), kind="letter")
    elif not part:
        _refuse(item, place, "a number is missing", "write n[1-3,7]")
    else:
        _refuse(item, place, f"{part!r} is no range", "write n[1-3], n[01-10/3] or n[a-c]")
    if span.step < 1:
        _refuse(item, place, f"{part!r}: a step of 0 never arrives", "leave /0 out")
    if span.last < span.first:
        _refuse(item, place, f"{part!r} runs backwards", f"write {last}-{first}")
    return span


def _is_padded(number: str) -> bool:
    return len(number) > 1 and number.startswith("0")


def _brace(item: str, inside: str, start: int) -> Choice:
    """Read ``1..3``, ``01..10..3``, ``a..c`` as bash does, or words: ``web,db``."""
    match = _BRACES.fullmatch(inside)
    if match is None:
        return _words(item, inside, start)
    low, high, first_letter, last_letter, step_text = match.groups()
    step = int(step_text or 1)
    if step == 0:
        _refuse(item, start, f"{{{inside}}}: a step of 0 never arrives", "leave it out for 1")
    if first_letter:
        if first_letter.isupper() != last_letter.isupper():
            _refuse(item, start, f"{{{inside}}} mixes small and capital letters", "write {a..c}")
        return (_counted(ord(first_letter), ord(last_letter), step, kind="letter"),)
    width = max(len(low), len(high)) if _is_padded(low) or _is_padded(high) else 0
    return (_counted(int(low), int(high), step, width=width),)


def _counted(
    first: int,
    last: int,
    step: int,
    *,
    width: int = 0,
    kind: Literal["number", "letter"] = "number",
) -> Span:
    """Make a span that counts down if its ends say so."""
    sign = 1 if first <= last else -1
    return Span(first=first, last=last, step=sign * step, width=width, kind=kind)


def _words(item: str, inside: str, start: int) -> Choice:
    words = inside.split(",")
    if len(words) == 1:
        _refuse(item, start, f"{{{inside}}} is no range", "write n{1..3}, n{01..10} or h{a..c}")
    if not all(words):
        _refuse(item, start, f"{{{inside}}} has an empty word", "a word on each side of a comma")
    return tuple(words)


def _addresses(item: str, literal: str, start: int) -> Iterator[str | Choice]:
    """Cut a literal at its address ranges: ``10.0.0.5..7``, ``10.0.0.250..10.0.1.5``."""
    end = 0
    for match in _ADDRESSES.finditer(literal):
        if before := literal[end : match.start()]:
            yield before
        first_text, last_text = match.groups()
        if "." not in last_text:
            last_text = f"{first_text.rpartition('.')[0]}.{last_text}"
        place = start + match.start()
        first, last = (_address(item, text, place) for text in (first_text, last_text))
        if last < first:
            _refuse(item, place, f"{match[0]} runs backwards", f"write {last_text}..{first_text}")
        yield (Span(first=first, last=last, kind="address"),)
        end = match.end()
    if rest := literal[end:]:
        yield rest


def _address(item: str, text: str, place: int) -> int:
    octets = [int(octet) for octet in text.split(".")]
    if max(octets) > 255:
        _refuse(item, place, f"{text} is no address", "each of its numbers is at most 255")
    return int.from_bytes(bytes(octets), "big")


def _refuse(item: str, place: int, message: str, hint: str) -> NoReturn:
    raise UsageError(message, hint=hint, text=item, column=place + 1)
