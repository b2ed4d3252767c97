"""Where in ``files/`` does a declared output lie, and may its name be trusted?"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from corral.model.base import Frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

DIRECTORY, PATTERN = "/", "*?["
EVERY = frozenset({"task", "ticket"})  # references that no two tasks share


class OutputTemplate(Frozen, kw_only=True):
    """A declared output as it was typed: what tells whether its names can be kept."""

    text: str
    names: frozenset[str]  # of the axes and built-ins that it uses


def keeps_names(template: OutputTemplate, names: Sequence[str], reps: int) -> bool:
    """Say whether the template alone keeps the files of any two tasks apart.

    Decided from the template, never from what arrives: so that the same file lies in the same
    place whichever tasks are done.
    """
    needed = {*names, *(["rep"] if reps > 1 else [])}
    return bool(template.names & EVERY) or needed <= template.names


def place(name: str, task: int, *, keep: bool) -> str:
    """Say where below ``files/`` a task's file lies."""
    return name if keep else f"{task}/{name}"


def safe(name: str) -> bool:
    """Say whether a name that came from a host stays below the folder it is put in."""
    steps = name.split("/")
    return (
        bool(name)
        and "\0" not in name
        and not name.startswith("/")
        and all(step not in ("", ".", "..") for step in steps)
        and posixpath.normpath(name) == name
    )
