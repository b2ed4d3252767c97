"""Which of many values stand more than once? Asked of one part of them at a time, so that a million need little."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

PARTS = 256  # by their hashes; as many as a byte can tell apart


class Repeats(NamedTuple):
    """What there is to know of each place."""

    before: array[int]  # how often its value stood before
    all: array[int]  # how often it stands in all


def find(length: int, read: Callable[[int], Hashable]) -> Repeats | None:
    """Count the values that ``read`` gives for 0, 1, … up to ``length``; None if all differ."""
    parts = bytes(hash(read(place)) % PARTS for place in range(length))
    found = Repeats(array("I", [0]) * length, array("I", [1]) * length)
    differ = True
    for part in set(parts):
        times: dict[Hashable, int] = {}
        for place in _places(parts, part):
            value = read(place)
            found.before[place] = times.get(value, 0)
            times[value] = found.before[place] + 1
        if all(number == 1 for number in times.values()):
            continue
        differ = False
        for place in _places(parts, part):
            found.all[place] = times[read(place)]
    return None if differ else found


def _places(parts: bytes, part: int) -> Iterator[int]:
    place = parts.find(part)
    while place >= 0:
        yield place
        place = parts.find(part, place + 1)
