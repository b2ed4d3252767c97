"""What is the shortest set that means these hosts: ``n1 n2 n3 n7`` is ``n[1-3,7]``?

Names that differ only in numbers form a family. Each starts as a box of one number per place;
boxes that differ in one place are joined, place by place, until none can be.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Box = tuple[frozenset[str], ...]  # numbers as written, for each place

_NUMBER = re.compile(r"([0-9]+)")
_ADDRESS = re.compile(r"\[[^\]]*\]")  # of IPv6: its digits are no numbers


def fold(names: Iterable[str]) -> str:
    """Write a set that means exactly ``names``, which are hosts' names, each in its canonical text.

    Families stand in the order of their first name, numbers by size; no name at all gives no text.
    """
    families: dict[tuple[str, ...], list[Box]] = {}
    for name in dict.fromkeys(names):
        texts, numbers = _split(name)
        families.setdefault(texts, []).append(tuple(frozenset((one,)) for one in numbers))
    return ",".join(
        _write(texts, box) for texts, boxes in families.items() for box in _joined(boxes)
    )


def _split(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Cut a name into its texts and the numbers between them."""
    address = _ADDRESS.search(name)
    if address is None:
        pieces = _NUMBER.split(name)
        return tuple(pieces[::2]), tuple(pieces[1::2])
    before, after = _NUMBER.split(name[: address.start()]), _NUMBER.split(name[address.end() :])
    middle = before[-1] + address[0] + after[0]
    pieces = [*before[:-1], middle, *after[1:]]
    return tuple(pieces[::2]), tuple(pieces[1::2])


def _joined(boxes: Sequence[Box]) -> list[Box]:
    """Join boxes, the last place first or the first place first, whichever leaves fewer."""
    places = range(len(boxes[0]))
    return min(_join(boxes, reversed(places)), _join(boxes, places), key=len)


def _join(boxes: Sequence[Box], places: Iterable[int]) -> list[Box]:
    order, left = list(places), list(boxes)
    while True:
        before = len(left)
        for place in order:
            left = _join_place(left, place)
        if len(left) == before:
            return left


def _join_place(boxes: Sequence[Box], place: int) -> list[Box]:
    """Join the boxes that differ in one place only."""
    numbers: dict[Box, set[str]] = {}
    for box in boxes:
        rest = (*box[:place], *box[place + 1 :])
        numbers.setdefault(rest, set()).update(box[place])
    return [(*rest[:place], frozenset(found), *rest[place:]) for rest, found in numbers.items()]


def _write(texts: Sequence[str], box: Box) -> str:
    written = [texts[0]]
    for numbers, text in zip(box, texts[1:], strict=True):
        ranges = list(_ranges(sorted(numbers, key=lambda one: (len(one), one))))
        single = len(numbers) == 1
        written += [ranges[0] if single else f"[{','.join(ranges)}]", text]
    return "".join(written)


def _ranges(numbers: Sequence[str]) -> Iterator[str]:
    """Write sorted numbers as ranges; a range of padded ones keeps to its width."""
    first = last = numbers[0]
    for number in (*numbers[1:], ""):
        if number and number == _next(last) and not (first[0] == "0" and len(number) > len(first)):
            last = number
            continue
        yield first if first == last else f"{first}-{last}"
        first = last = number


def _next(number: str) -> str:
    return str(int(number) + 1).zfill(len(number))
