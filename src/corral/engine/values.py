"""Where are the values of a file while tasks are made of them? Beside the command, in pieces.

A task has its own values, so those of the command are wanted only until all tasks are in: by the next
master, if this one dies. In one text with the command a million of them would be copied for the
database, to be bound and to be written, and read again by whoever looks at the run.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

import msgspec

from corral.model.command import Listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from corral.ids import RunId
    from corral.model.command import Axis, Command
    from corral.store.base import Reader, Tx

PIECE = 64 << 10  # bytes; what is no longer stays in the command


def put_apart(tx: Tx, run: RunId, generation: int, command: Command) -> Command:
    """Store what is long of a command's values; gives the command without it."""
    drop(tx, run, generation)
    tx.change_each("axis_values_put", _pieces(run, generation, command))
    return _with_values(command, dict.fromkeys(_long(command), b"[]"))


def put_back(reader: Reader, run: RunId, generation: int, command: Command) -> Command:
    """Give a command with what was stored of its values."""
    pieces = reader.rows("axis_values", run, generation)
    by_axis = groupby(pieces, key=itemgetter(0))
    return _with_values(
        command, {axis: b"".join(piece for _, piece in rows) for axis, rows in by_axis}
    )


def drop(tx: Tx, run: RunId, generation: int) -> None:
    """Remove what was stored: all tasks are in."""
    tx.change("axis_values_drop", run, generation)


def _pieces(run: RunId, generation: int, command: Command) -> Iterator[tuple[object, ...]]:
    for axis, written in _long(command).items():
        for start in range(0, len(written), PIECE):
            yield run, generation, axis, start, written[start : start + PIECE]


def _long(command: Command) -> dict[int, memoryview]:
    """Give the values that are to stand apart, by the place of their axis."""
    lists = {
        place: memoryview(axis.written)
        for place, axis in enumerate(command.axes)
        if isinstance(axis, Listed)
    }
    return {place: written for place, written in lists.items() if len(written) > PIECE}


def _with_values(command: Command, values: dict[int, bytes]) -> Command:
    axes: list[Axis] = list(command.axes)
    for place, written in values.items():
        axes[place] = msgspec.structs.replace(axes[place], written=msgspec.Raw(written))
    return msgspec.structs.replace(command, axes=tuple(axes))
