"""Which tasks does a command name? All combinations of its axes, computed one at a time.

The first axis turns slowest, ``rep`` fastest. Nothing here is ever a list of all tasks.
"""

from __future__ import annotations

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
        index, rep = divmod(index, self._reps)
        picked: list[int] = []
        for column in reversed(self._axes):
            index, place = divmod(index, column.length)
            picked.append(place)
        values: list[str] = []
        k = 0
        for column, place in zip(self._axes, reversed(picked), strict=True):
            values.append(column.value(place))
            k = k * column.equal(place) + column.occurrence(place)
        return Row(tuple(values), rep + 1, k)

    def __iter__(self) -> Iterator[Row]:
        return self.rows(0, self._length)

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        """Give the rows from ``start`` up to and without ``stop``."""
        reps = self._reps
        index = start
        while index < stop:
            first = self[index]
            for rep in range(first.rep, reps + 1):
                yield Row(first.values, rep, first.k)
                index += 1
                if index >= stop:
                    return


class _Column:
    """An axis with what the sweep asks of it often."""

    def __init__(self, axis: Axis) -> None:
        self.length = len(axis)
        self._axis = axis
        self._texts: dict[int, str] = {}
        self._occurrences, self._equal = _occurrences(axis)

    def value(self, index: int) -> str:
        text = self._texts.get(index)
        if text is None:
            if len(self._texts) >= KEPT:
                self._texts.clear()
            text = self._texts[index] = self._axis.value(index)
        return text

    def occurrence(self, index: int) -> int:
        """Say how often the value stood before."""
        return self._occurrences[index] if self._occurrences else 0

    def equal(self, index: int) -> int:
        """Say how often the value stands in all: so k runs from 0 without holes."""
        return self._equal[self._axis.value(index)] if self._equal else 1


KEPT = 10_000  # texts of an axis that are remembered: bounds memory where an axis is huge


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
