"""How the outputs of many tasks become one file: the collecting rules, each a function of one task.

``concat``: byte for byte, one after the other. ``tagged``: each line led by its task's number and a
tab. ``blocks``: a header with the parameters, then the output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from corral.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from corral.model.task import Result

    Rule = Callable[[BinaryIO, Result, Sequence[str], BinaryIO], None]
    """Write one task's output: (to, task, parameter names, its bytes)."""

CHUNK = 1 << 20


def concat(to: BinaryIO, result: Result, names: Sequence[str], data: BinaryIO) -> None:
    """Write the bytes as they are."""
    del result, names
    while piece := data.read(CHUNK):
        to.write(piece)


def tagged(to: BinaryIO, result: Result, names: Sequence[str], data: BinaryIO) -> None:
    """Write each line behind the task's number and a tab; a last line gets its newline."""
    del names
    tag = f"{result.number}\t".encode()
    ended = True
    while piece := data.readline(CHUNK):
        to.write(tag + piece if ended else piece)
        ended = piece.endswith(b"\n")
    if not ended:
        to.write(b"\n")


def blocks(to: BinaryIO, result: Result, names: Sequence[str], data: BinaryIO) -> None:
    """Write ``# task 6 a=3 b=20``, then the output; a last line gets its newline."""
    words = [f"{name}={_word(value)}" for name, value in zip(names, result.values, strict=True)]
    to.write(" ".join(["# task", str(result.number), *words]).encode() + b"\n")
    ended = True
    while piece := data.read(CHUNK):
        to.write(piece)
        ended = piece.endswith(b"\n")
    if not ended:
        to.write(b"\n")


RULES: dict[str, Rule] = {"concat": concat, "tagged": tagged, "blocks": blocks}


def rule(name: str) -> Rule:
    """Give the rule of that name.

    Raises:
        UsageError: There is none.
    """
    if name not in RULES:
        raise UsageError(f"there is no collecting rule {name!r}", hint=f"one of: {' '.join(RULES)}")
    return RULES[name]


def _word(value: str) -> str:
    """Keep a value on the header's line."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
