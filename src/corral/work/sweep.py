"""Which tasks does a command name? All combinations of its axes, computed one at a time.

The first axis turns slowest, ``rep`` fastest; axes that turn together count as one. Of these rows
a `Choice` keeps some: first the order, then what is wanted, then how many. Nothing here is ever a
list of all tasks.
"""

from __future__ import annotations

from itertools import islice
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from corral.model.command import Choice, Range
from corral.work import repeats
from corral.work.shuffle import Permutation
from corral.work.where import Where

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from corral.model.command import Axis, Command
    from corral.work.repeats import Repeats


class Row(NamedTuple):
    """One set of parameters."""

    values: tuple[str, ...]  # in the order of the axes
    rep: int  # from 1
    k: int  # which of equal settings: an axis may name a value twice


class Sweep:
    """The rows of a command, by index or in order."""

    def __init__(
        self,
        axes: Sequence[Axis],
        reps: int,
        *,
        together: Sequence[Sequence[str]] = (),
        choice: Choice | None = None,
    ) -> None:
        choice = choice or Choice()
        self._dimensions = _dimensions(axes, together)
        self._reps = reps
        self._all = reps * prod(dimension.length for dimension in self._dimensions)
        self._order = None if choice.shuffle is None else Permutation(self._all, choice.shuffle)
        names = [axis.name for axis in axes]
        self._where = Where(choice.where, names) if choice.where else None
        self._limit = self._all if choice.limit is None else min(choice.limit, self._all)
        self._chosen: int | None = None if self._where else self._limit
        self._ends: dict[int, Row] = {}  # first and last row, once the expression was asked

    @classmethod
    def of(cls, command: Command, *, reps: int | None = None) -> Sweep:
        """Give the rows that a command names."""
        return cls(
            command.axes,
            command.reps if reps is None else reps,
            together=command.together,
            choice=command.choice,
        )

    @property
    def combinations(self) -> int:
        """How many rows there are before the choice."""
        return self._all

    def __len__(self) -> int:
        """Count the rows; one pass over them where only the expression can tell."""
        if self._chosen is None:
            self._chosen = 0
            last: Row | None = None
            for last in self:
                self._ends.setdefault(0, last)
                self._chosen += 1
            if last is not None:
                self._ends[self._chosen - 1] = last
        return self._chosen

    def __getitem__(self, index: int) -> Row:
        """Give a row in O(axes); with an expression in one pass up to it."""
        if self._where is not None:
            found = self._ends.get(index)
            if found is None and index >= 0:
                found = next(islice(self, index, None), None)
            if found is None:
                raise IndexError(index)
            return found
        if not 0 <= index < self._limit:
            raise IndexError(index)
        return self._row(index)

    def __iter__(self) -> Iterator[Row]:
        if self._where is None:
            return self.rows(0, self._limit)
        return islice(filter(self._where, self._rows(0, self._all)), self._limit)

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        """Give the rows from ``start`` up to and without ``stop``."""
        if self._where is not None:
            return islice(self, start, max(start, stop))
        return self._rows(start, min(stop, self._limit))

    def _rows(self, start: int, stop: int) -> Iterator[Row]:
        """Give rows in their order, wanted or not."""
        if self._order is None:
            return self._as_written(start, stop)
        return map(self._row, range(start, stop))

    def _row(self, index: int) -> Row:
        place = index if self._order is None else self._order[index]
        setting, rep = divmod(place, self._reps)
        values, k = _pick(self._dimensions, setting)
        return Row(values, rep + 1, k)

    def _as_written(self, start: int, stop: int) -> Iterator[Row]:
        if start >= stop or not self._all:
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
        if not self._dimensions:
            yield (), 0
            return
        *outer, inner = self._dimensions
        index, first = divmod(index, inner.length)
        outer_length = prod(dimension.length for dimension in outer)
        for row in range(index, outer_length):
            values, k = _pick(outer, row)
            for place in range(first, inner.length):
                own = inner.values(place)
                yield values + own, k * inner.equal(place) + inner.occurrence(place)
            first = 0


class _Dimension:
    """Axes that turn as one (mostly a single one), with what the sweep asks of them often."""

    def __init__(self, axes: Sequence[Axis]) -> None:
        self.length = len(axes[0])
        self.values = _reader(axes)
        self._repeats = self._find_repeats(axes)

    def occurrence(self, index: int) -> int:
        """Say how often the values stood before."""
        return self._repeats.before[index] if self._repeats else 0

    def equal(self, index: int) -> int:
        """Say how often the values stand in all: so k runs from 0 without holes."""
        return self._repeats.all[index] if self._repeats else 1

    def _find_repeats(self, axes: Sequence[Axis]) -> Repeats | None:
        """Count equal values; those of axes that turn together differ if those of one do."""
        found: Repeats | None = None
        for axis in axes:
            found = None if isinstance(axis, Range) else repeats.find(self.length, axis.reader())
            if found is None:
                return None
        return found if len(axes) == 1 else repeats.find(self.length, self.values)


def _reader(axes: Sequence[Axis]) -> Callable[[int], tuple[str, ...]]:
    readers = [axis.reader() for axis in axes]
    if len(readers) == 1:
        read = readers[0]
        return lambda index: (read(index),)
    return lambda index: tuple([reader(index) for reader in readers])


def _dimensions(axes: Sequence[Axis], together: Sequence[Sequence[str]]) -> list[_Dimension]:
    by_name = {axis.name: axis for axis in axes}
    groups = {names[0]: names for names in together}
    inner = {name for names in together for name in names[1:]}
    return [
        _Dimension([by_name[name] for name in groups.get(axis.name, [axis.name])])
        for axis in axes
        if axis.name not in inner
    ]


def _pick(dimensions: Sequence[_Dimension], index: int) -> tuple[tuple[str, ...], int]:
    """Give values and k of a setting by its number, the last axis turning fastest."""
    places: list[int] = []
    for dimension in reversed(dimensions):
        index, place = divmod(index, dimension.length)
        places.append(place)
    values: tuple[str, ...] = ()
    k = 0
    for dimension, place in zip(dimensions, reversed(places), strict=True):
        own = dimension.values(place)
        values += own
        k = k * dimension.equal(place) + dimension.occurrence(place)
    return values, k
