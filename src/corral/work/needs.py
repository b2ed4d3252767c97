"""What do the texts of needs mean: ``cpus=2,memory=4G,gpu=1``, or the table of a run file?"""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING

from corral.errors import UsageError
from corral.model.needs import CPUS, MEMORY, MOST, PLATFORM, WORDS, Needs, is_resource
from corral.units import size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Given = int | str | tuple[str, ...]
"""A value as it stands in a run file, or as text behind ``--needs``."""

_MOST_DIGITS = 20  # more than any amount has; Python refuses thousands
_LEAST_MEMORY = 1 << 20  # bytes: no program runs in less
_ALSO = {
    "cpu": CPUS,
    "cores": CPUS,
    "mem": MEMORY,
    "ram": MEMORY,
    "tag": "tags",
    "arch": "platform",
}
_MUST = {
    CPUS: "a whole number from 1",
    MEMORY: 'a size from 1M, such as "4G"',
    "tags": 'a tag, or a list of tags: ["gpu"]',
    "platform": 'such as "linux-x86_64"',
}


def problem(name: str, value: object) -> tuple[str, str] | None:
    """Say what is wrong with a need, and the way out; None if it can be meant."""
    if name not in WORDS and not is_resource(name):
        return f"`{name}` is no name for a resource", "small letters, digits and _: gpu = 1"
    if name not in WORDS and (meant := _meant(name)):
        return f"unknown need `{name}`", f"did you mean `{meant}`?"
    if _fits(name, value):
        return None
    must = _MUST.get(name, "a whole number from 1: so many of it are taken")
    return f"`{name}` must be {must}", f"it is {json.dumps(value, default=str)}"


def typed(texts: Sequence[str]) -> dict[str, Given]:
    """Read what stands behind ``--needs``; tags may come several times.

    Raises:
        UsageError: It cannot be meant; with the column.
    """
    found: dict[str, Given] = {}
    for text in texts:
        column = 1
        for piece in text.split(","):
            _take(found, piece, text, column)
            column += len(piece) + 1
    return found


def read(given: Mapping[str, Given]) -> Needs:
    """Make needs of what was found to be right."""
    tags = given.get("tags", ())
    return Needs(
        cpus=int(str(given.get(CPUS, 1))),
        memory=size(str(given[MEMORY])) if MEMORY in given else 0,
        tags=(tags,)
        if isinstance(tags, str)
        else tuple(map(str, tags if isinstance(tags, tuple) else ())),
        platform=str(given.get("platform", "")),
        resources={
            name: int(str(value)) for name, value in sorted(given.items()) if name not in WORDS
        },
    )


def _take(found: dict[str, Given], piece: str, text: str, column: int) -> None:
    name, equals, said = (part.strip() for part in piece.partition("="))
    if not equals or not said:
        raise UsageError(
            f"--needs: {piece!r} is not NAME=VALUE",
            hint="--needs cpus=2,memory=4G,gpu=1",
            text=text,
            column=column,
        )
    is_number = said.isascii() and said.isdigit() and len(said) <= _MOST_DIGITS
    value: Given = int(said) if is_number else said
    wrong = problem(name, value)
    if wrong is not None:
        raise UsageError(f"--needs: {wrong[0]}", hint=wrong[1], text=text, column=column)
    if name == "tags":
        before = found.get(name, ())
        value = (*(before if isinstance(before, tuple) else ()), said)
    elif name in found:
        raise UsageError(
            f"--needs: {name} is given twice", hint="leave one out", text=text, column=column
        )
    found[name] = value


def _meant(name: str) -> str:
    """Give the word that a name is probably a slip of; "" if it is none."""
    near = difflib.get_close_matches(name, WORDS, n=1, cutoff=0.8)
    return _ALSO.get(name) or (near[0] if near else "")


def _fits(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return False
    match name:
        case "memory":
            return _is_memory(value)
        case "tags":
            tags = [value] if isinstance(value, str) else value
            return (
                isinstance(tags, list | tuple)
                and bool(tags)
                and all(isinstance(tag, str) and bool(tag.strip()) for tag in tags)
            )
        case "platform":
            return isinstance(value, str) and PLATFORM.fullmatch(value) is not None
        case _:
            return isinstance(value, int) and 1 <= value <= MOST


def _is_memory(value: object) -> bool:
    if not isinstance(value, int | float | str):
        return False
    try:
        return size(str(value)) >= _LEAST_MEMORY
    except UsageError:
        return False
