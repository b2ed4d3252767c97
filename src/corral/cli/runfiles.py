"""Reads a run file, and says all that is wrong with one, also what only this machine can tell."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from corral import toml
from corral.errors import UsageError
from corral.work import identity, runfile
from corral.work.runfile import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from corral.cli.folder import RealFolder
    from corral.model.command import Command
    from corral.work.command import Parsed
    from corral.work.runfile import RunFile


def read(path: str, folder: RealFolder) -> str:
    """Give the text of a run file; a byte order mark is not part of it.

    Raises:
        UsageError: It cannot be read, or is not UTF-8.
    """
    data = folder.read(path)
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise UsageError(
            f"{path}:{line}:{column}: is not UTF-8", hint="write it in UTF-8"
        ) from error


def check(path: str, folder: RealFolder) -> Parsed:
    """Say what a run file means.

    Raises:
        UsageError: All that is wrong with it, each with its place.
    """
    text = read(path, folder)
    folder.stdin = _stdin(text) or folder.stdin

    def more(file: RunFile, understood: Parsed | None) -> Iterator[Problem]:
        return _problems(file, understood, str(folder.root))

    return runfile.check(text, path=path, folder=folder, more=more)


def natural_name(path: str) -> str:
    """Name a run after its file."""
    return identity.safe_name(Path(path).stem)


def check_name(name: str) -> None:
    """See that a run can have this name.

    Raises:
        UsageError: It cannot.
    """
    safe = identity.safe_name(name)
    if safe != name:
        raise UsageError(
            f"--name {name}: a name has letters, digits, - and _ only", hint=f"--name {safe}"
        )


def check_collecting(rule: str, folder: str) -> None:
    """See now that results can be collected as asked, not after the last task.

    Raises:
        UsageError: They cannot.
    """
    from corral.results import program, rules  # start-up time is a budget

    meant = rules.read(rule)
    if meant.kind == "program":
        program.check_there(meant.program, folder)


def check_check(text: str, command: Command | None, folder: str) -> None:
    """See that a check can be carried out; None: what the command declares is not known.

    Raises:
        UsageError: It cannot.
    """
    from corral.master.collector import outputs_of
    from corral.results import checks, content, program

    check = checks.read(text)
    if check.kind == "program":
        program.check_there(check.text, folder)
    elif command is not None and check.of not in (content.STDOUT, content.STDERR):
        content.check_declared(outputs_of(command), check.of)


def _problems(file: RunFile, understood: Parsed | None, folder: str) -> Iterator[Problem]:
    """List what a file asks for that cannot be, beside what the grammar finds."""
    command = None if understood is None else understood.command
    if file.name is not None:
        yield from _wrong("name", partial(check_name, file.name))
    if file.collect is not None:
        yield from _wrong("collect", partial(check_collecting, file.collect, folder))
    for number, text in enumerate(file.check):
        yield from _wrong("check", partial(check_check, text, command, folder), number)


def _wrong(key: str, look: Callable[[], None], *inside: int) -> Iterator[Problem]:
    try:
        look()
    except UsageError as error:
        yield Problem((key, *inside), error.message, error.hint or "")


def _stdin(text: str) -> bytes | None:
    """Take what stands for standard input out of a file that may be wrong elsewhere."""
    try:
        said = toml.loads(text).get("stdin")
    except toml.TOMLDecodeError:
        return None  # which is told with its place
    return said.encode() if isinstance(said, str) else None
