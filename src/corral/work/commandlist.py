"""What does a file of commands say? Each line is a shell line and a task, ``-f cmds.txt``.

Lines are text: nothing is replaced in them but ``{task}``, ``{ticket}`` and ``{rep}``. So the list
is one axis, whose values are the lines.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from corral.errors import UsageError
from corral.model import texts
from corral.model.command import Command, Listed, Ref, Segment, Text
from corral.work import axes, programs, words
from corral.work.render import LINE_BUILT_INS, Renderer, Setting
from corral.work.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from corral.work.axes import Folder

NAME = "command"  # of the axis
MOST = 1_000_000  # lines that --axes makes of a list: these are written out
MOST_TIMES = 1_000_000_000  # of one line
KNOWN = 1_000  # words of which it is remembered whether they name a file
_COUNTED = re.compile(r"\s*(\d+)\s*[x×]\s+(.*)")


def read(path: str, folder: Folder, notes: list[str], *, counts: bool) -> Listed:
    """Read the lines of a list; blank ones and comments are left out.

    Raises:
        UsageError: It cannot be read, or there is no command in it.
    """
    lines = texts.Writer()
    times: list[int] = []
    left_out = 0
    for number, line in enumerate(axes.lines(axes.read_text(path, folder)), 1):
        text = axes.without_end(line)
        count, text = _counted(text) if counts else (1, text)
        if count > MOST_TIMES:
            raise UsageError(
                f"{path}:{number}: more than {MOST_TIMES} times", hint="write 10x ./sim"
            )
        if text.strip() and not text.lstrip().startswith("#") and count:
            lines.add((text,))
            times.append(int(count))
        elif text.strip():
            left_out += 1
    if not times:
        raise UsageError(f"{path}: holds no command", hint="one command a line")
    if left_out:
        many = "s" if left_out > 1 else ""
        notes.append(f"{path}: {left_out} line{many} left out: comments, or 0x")
    return Listed(
        name=NAME,
        text=f"@{path}",
        kind="file",
        written=lines.done(),
        counts=tuple(times) if any(count != 1 for count in times) else (),
    )


def _counted(line: str) -> tuple[float, str]:
    """Read ``10x ./sim --fast``; a line without a number stands once."""
    match = _COUNTED.fullmatch(line)
    return (float(match[1]), match[2]) if match else (1, line)


def expanded(path: str, axis: Listed, understand: Callable[[str], Command]) -> Listed:
    """Expand the braces of each line, as ``--axes`` asks.

    Raises:
        UsageError: A line cannot be meant, or they come to too many.
    """
    lines = texts.Writer()
    times: list[int] = []
    for number, line in enumerate(axis.values):
        for text in _variants(path, understand(line)):
            lines.add((text,))
            times.append(axis.counts[number] if axis.counts else 1)
        if len(times) > MOST:
            raise UsageError(f"{path}: more than {MOST} commands", hint="write one with a range")
    return Listed(
        name=NAME,
        text=axis.text,
        kind="file",
        written=lines.done(),
        counts=tuple(times) if axis.counts else (),
    )


def _variants(path: str, command: Command) -> Iterator[str]:
    """Write a line for each of its values; what is known only later stays a brace."""
    if command.marks:
        raise UsageError(
            f"{path}: {{>…}} and {{<…}} cannot stand in a list", hint="use --output and --push"
        )
    words = tuple(tuple(_later(path, command, part) for part in word) for word in command.words)
    renderer = Renderer(msgspec.structs.replace(command, words=words, simple=None))
    for row in Sweep.of(command, reps=1):
        yield renderer.text(Setting(row.values, 1, row.k, 0, "", "", 1))


def _later(path: str, command: Command, part: Segment) -> Segment:
    """Keep a built-in as the brace that the list's own lines may hold."""
    if not isinstance(part, Ref) or part.name in command.names:
        return part
    if part.name not in LINE_BUILT_INS or part.parts or part.format:
        known = " ".join(f"{{{name}}}" for name in LINE_BUILT_INS)
        raise UsageError(
            f"{path}: {{{part.name}}} cannot stand in a list like this", hint=f"lines know {known}"
        )
    return Text(text=f"{{{part.name}}}")


def shipped(
    axis: Listed, is_ours: Callable[[str], bool], notes: list[str], *, shell: str
) -> list[str]:
    """List the programs and scripts of the lines that lie in this folder; note what stays here."""
    ours = lru_cache(KNOWN)(is_ours)
    found: dict[str, None] = {}
    left: dict[str, None] = {}
    seen: set[tuple[str, ...]] = set()
    for line in axis.values:
        tokens = line.split()
        files = [at for at, token in enumerate(tokens) if ours(token.strip("'\""))]
        head = tuple(tokens[: files[-1] + 1]) if files else ()
        if not files or head in seen:
            continue
        seen.add(head)
        for path, travels in _files_of(line, ours, shell=shell):
            (found if travels and not _is_outside(path) else left)[path] = None
    notes += [f"{path}{programs.LEFT}--push {path}" for path in left if path not in found]
    return list(found)


def _files_of(
    line: str, is_ours: Callable[[str], bool], *, shell: str
) -> Iterator[tuple[str, bool]]:
    """Name the files in a line, each with whether it travels by itself."""
    by_command: dict[int, list[str]] = {}
    for word in words.read(line, shell=shell).words:
        if not word.target:
            by_command.setdefault(word.command, []).append(word.text)
        elif word.target == "<" and is_ours(word.text):
            yield word.text, False
    for spoken in by_command.values():
        travels = programs.travelling(spoken, is_ours)
        for at, text in enumerate(spoken):
            if is_ours(text):
                yield text, at in travels


def _is_outside(path: str) -> bool:
    """Say whether a file would have to stand elsewhere on the host: the line is not rewritten."""
    return path.startswith("/") or ".." in path.split("/")
