"""Where in a results folder does a thing stand? Decided from templates and names, never from a disk."""

from __future__ import annotations

import fnmatch
import glob
import re
from itertools import chain, count
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from corral.model.task import Result
    from corral.results.source import OutputTemplate

RESULTS = "results.csv"
OUTPUT = "output.txt"
ERRORS = "errors.txt"
ATTEMPTS = "attempts.csv"
FAILED = "failed.csv"
MISSING = "missing.txt"
RUN_FILE = "run.toml"
FILES = "files"
PARTS = "output"  # in place of output.txt, if the rule makes many files
REPORT = "report.html"  # on request
INDEX = ".written.jsonl"  # what corral wrote into the folder; see index.py

WRITTEN = (RUN_FILE, ATTEMPTS, RESULTS, OUTPUT, ERRORS, FAILED, MISSING)  # beside files/

UNIQUE = ("task", "ticket")  # built-ins that no two tasks share

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def keeps_name(pattern_names: Collection[str], axis_names: Collection[str], reps: int) -> bool:
    """Say whether an output's text tells all tasks apart, so that its files keep their names.

    It does if it uses every axis, and ``rep`` where there are replicates; or what no two tasks
    share. An axis that is called ``rep`` or ``task`` hides the built-in of that name.
    """
    if any(name in pattern_names and name not in axis_names for name in UNIQUE):
        return True
    if reps > 1 and "rep" in axis_names:
        return False
    needed = {*axis_names, "rep"} if reps > 1 else set(axis_names)
    return needed <= set(pattern_names)


def is_safe(name: str) -> bool:
    """Say whether a name stays inside the folder it is put in, and can be a file's."""
    steps = name.split("/")
    controls = any(character < " " or character == "\x7f" for character in name)
    return not controls and not any(step in ("", ".", "..") for step in steps)


def matches(name: str, pattern: str) -> bool:
    """Say whether a path fits a glob: ``*`` stays within one name, ``**`` crosses folders."""
    return _fits(name.split("/"), pattern.split("/"))


def known(result: Result, names: Sequence[str]) -> dict[str, str]:
    """Give all that may stand in an output's name: the task's values and what is built in."""
    built_in = {
        "rep": str(result.rep),
        "task": str(result.number),
        "host": result.host,
        "ticket": result.ticket,
    }
    return built_in | dict(zip(names, result.values, strict=True))


def filled(text: str, values: Mapping[str, str]) -> str:
    """Put values into a template, ``*`` where a value is not known; the rest stays a glob."""
    return _PLACEHOLDER.sub(
        lambda match: glob.escape(values[match[1]]) if match[1] in values else "*", text
    )


def is_of(name: str, pattern: str) -> bool:
    """Say whether a file may come from an output; values and a folder's files may hold slashes."""
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"{pattern}/*")


class Layout:
    """Gives each declared file its place under ``files/``, and each place only once.

    A kept name is the place itself, any other file stands under its task's number. Of two tasks
    that claim one place (equal settings, a format that rounds) the later one's file stands under
    its number too; should even that be taken, under ``7_``, ``7__``, …
    """

    def __init__(
        self, outputs: Sequence[OutputTemplate], names: tuple[str, ...], reps: int
    ) -> None:
        self._names = names
        patterns = [_pattern(output, names, reps) for output in outputs]
        self._patterns = sorted(patterns, key=lambda pattern: -pattern.literal)
        self._files = {INDEX}
        self._folders: set[str] = set()

    def places(self, result: Result, name: str) -> Iterator[str]:
        """Give the free places for a task's file, the right one first."""
        numbered = (f"{result.number}{'_' * n}/{name}" for n in count())
        kept = [name] if self._keeps(result, name) else []
        return (place for place in chain(kept, numbered) if self._is_free(place))

    def claim(self, place: str) -> None:
        """Take a place that `places` gave."""
        self._files.add(place)
        self._folders.update(_folders(place))

    def _is_free(self, place: str) -> bool:
        return (
            place not in self._files
            and place not in self._folders
            and not any(folder in self._files for folder in _folders(place))
        )

    def _keeps(self, result: Result, name: str) -> bool:
        """Find the template that a file comes from: the one with the most text of its own.

        Where several fit, those that fit with the task's very values go first: with T = -1,
        ``-1.txt`` is of ``{T}.txt``, not of ``{T}-{s}.txt``.
        """
        found = [pattern for pattern in self._patterns if is_of(name, pattern.loose)]
        if len(found) > 1:
            values = known(result, self._names)
            exact = [pattern for pattern in found if is_of(name, filled(pattern.text, values))]
            found = exact or found
        return bool(found) and found[0].keeps


class _Pattern(NamedTuple):
    text: str
    loose: str  # a glob that fits whatever the values are
    literal: int  # characters of its own
    keeps: bool


def _pattern(output: OutputTemplate, names: tuple[str, ...], reps: int) -> _Pattern:
    loose = filled(output.text, {})
    return _Pattern(
        text=output.text,
        loose=loose,
        literal=len(loose.replace("*", "")),
        keeps=keeps_name(output.names, names, reps),
    )


def _folders(place: str) -> list[str]:
    steps = place.split("/")
    return ["/".join(steps[:n]) for n in range(1, len(steps))]


def _fits(steps: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not steps
    if pattern[0] == "**":
        return any(_fits(steps[n:], pattern[1:]) for n in range(len(steps) + 1))
    return (
        bool(steps) and fnmatch.fnmatchcase(steps[0], pattern[0]) and _fits(steps[1:], pattern[1:])
    )
