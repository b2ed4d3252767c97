"""The rule ``blocks``: each result under a line that names its task: ``# task 6 a=3 b=20``."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterable

    from corral.model.task import Result
    from corral.results.source import Source

_PLAIN = re.compile(r"""[^\s"'\\\x00-\x1f\x7f]+""")


def add(out: BinaryIO, source: Source, result: Result, data: Iterable[bytes]) -> None:
    """Append a block; its last line ends even if the task did not end it."""
    out.write(header(source, result).encode("utf-8", "surrogateescape"))
    last = b"\n"
    for last in data:
        out.write(last)
    if not last.endswith(b"\n"):
        out.write(b"\n")


def header(source: Source, result: Result) -> str:
    """Name a task and its parameters in one line; ``rep`` only where there are replicates."""
    pairs = list(zip(source.names, result.values, strict=True))
    if source.reps > 1:
        pairs.append(("rep", str(result.rep)))
    return " ".join([f"# task {result.number}", *(f"{n}={_word(v)}" for n, v in pairs)]) + "\n"


def _word(value: str) -> str:
    """Quote a value as in JSON if it has blanks, quotes or line ends."""
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
