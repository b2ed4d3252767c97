"""Which tasks does a command name? All combinations of its axes, computed one at a time.

The first axis turns slowest, ``rep`` fastest. Nothing here is ever a list of all tasks.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

from corral.model.command import Listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from corral.model.command import Axis


class Row(NamedTuple):
    """One set of parameters."""

    values: tuple[str, ...]  # in the order of the axes
    rep: int  # from 1
    k: int  # which of equal settings: an axis may name a value twice


class Sweep:
    """The rows of a command, by index or in order."""

    def __init__(self, axes: Sequence[Axis], reps: int) -> None:
        self._axes = [_Column(axis) for axis in axes]
        self._reps = reps
        self._length = reps
        for column in self._axes:
            self._length *= column.length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Row:
        """Give a row in O(axes)."""
        if not 0 <= index < self._length:
            raise IndexError(index)
        setting, rep = divmod(index, self._reps)
        values, k = _pick(self._axes, setting)
        return Row(values, rep + 1, k)

    def __iter__(self) -> Iterator[Row]:
        return self.rows(0, self._length)

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        """Give the rows from ``start`` up to and without ``stop``."""
        if start >= stop or not self._length:
            return
        setting, rep = divmod(start, self._reps)
        left = stop - start
        for values, k in self._settings_from(setting):
            for number in range(rep + 1, self._reps + 1):
                yield Row(values, number, k)
                left -= 1
                if not left:
                    return
            rep = 0

    def _settings_from(self, index: int) -> Iterator[tuple[tuple[str, ...], int]]:
        """Give values and k of setting ``index`` and all after it; only the last axis turns fast."""
        if not self._axes:
            yield (), 0
            return
        *outer, inner = self._axes
        index, first = divmod(index, inner.length)
        outer_length = prod(column.length for column in outer)
        for row in range(index, outer_length):
            values, k = _pick(outer, row)
            for place in range(first, inner.length):
                text = inner.value(place)
                yield (*values, text), k * inner.equal(text) + inner.occurrence(place)
            first = 0


class _Column:
    """An axis with what the sweep asks of it often."""

    def __init__(self, axis: Axis) -> None:
        self.length = len(axis)
        self.value = axis.reader()
        self._occurrences, self._equal = _occurrences(axis)

    def occurrence(self, index: int) -> int:
        """Say how often the value stood before."""
        return self._occurrences[index] if self._occurrences else 0

    def equal(self, text: str) -> int:
        """Say how often a value stands in all: so k runs from 0 without holes."""
        return self._equal[text] if self._equal else 1


def _pick(columns: Sequence[_Column], index: int) -> tuple[tuple[str, ...], int]:
    """Give values and k of a setting by its number, the last axis turning fastest."""
    places: list[int] = []
    for column in reversed(columns):
        index, place = divmod(index, column.length)
        places.append(place)
    values: list[str] = []
    k = 0
    for column, place in zip(columns, reversed(places), strict=True):
        text = column.value(place)
        values.append(text)
        k = k * column.equal(text) + column.occurrence(place)
    return tuple(values), k


def _occurrences(axis: Axis) -> tuple[list[int], dict[str, int]]:
    """Say of each value how often it stood before, and in all; empty where all differ."""
    values = axis.values if isinstance(axis, Listed) else ()
    if len(set(values)) == len(values):
        return [], {}
    seen: dict[str, int] = {}
    found: list[int] = []
    for value in values:
        found.append(seen.get(value, 0))
        seen[value] = found[-1] + 1
    return found, seen
