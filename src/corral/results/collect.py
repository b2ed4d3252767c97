"""Writes ``results/NAME``: what a user reads of a run, complete or so far.

One pass over the attempts and one over the tasks, streamed: the memory grows with the number of
declared files alone (about half a KB for each).
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from corral.errors import CorralError, UsageError
from corral.model.base import Frozen
from corral.results import blocks, concat, drafts, paths, table, tagged
from corral.results.files import Files
from corral.results.index import Index, Record
from corral.results.source import OutputTemplate, Source
from corral.results.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from corral.model.task import Result

    AddResult = Callable[[BinaryIO, Source, Result], None]

__all__ = [
    "RULES", "Collected", "OutputTemplate", "Refresher", "Source", "collect", "collect_as",
    "collect_files", "remove",
]  # fmt: skip

RULES: dict[str, AddResult] = {"concat": concat.add, "tagged": tagged.add, "blocks": blocks.add}
"""The rules that make one stream of all results."""

REFRESH_MIN_S = 5.0  # between two refreshes: a person looks no more often
REFRESH_SHARE = 20.0  # times the last refresh's time: at most 5 % goes into refreshing

_FULL = "make room, then: corral collect"
_DENIED = "see whose folder it is, or choose another place with -o"
_IN_THE_WAY = "something else stands there: move it away, then: corral collect"
_HINTS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: _DENIED,
    errno.EISDIR: _IN_THE_WAY,
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
}


class Collected(Frozen, frozen=True, kw_only=True):
    """What a collection wrote."""

    tasks: int  # of the latest command
    done: int
    failed: int
    attempts: int
    output_bytes: int  # of output.txt
    files: int
    file_bytes: int
    copied: int  # of the files, those that were not there yet
    removed: int  # files of tasks that are not part of the run any more

    @property
    def missing(self) -> int:
        """Tasks without a result."""
        return self.tasks - self.done


class _Tally(NamedTuple):
    tasks: int
    done: int
    failed: int
    output_bytes: int


class Refresher:
    """Says when the results of a run that goes on are worth writing again."""

    def __init__(self, now: float) -> None:
        self._next = now + REFRESH_MIN_S
        self._begun = now

    def due(self, now: float) -> bool:
        """Say whether to refresh; a refresh begins when this is True."""
        if now < self._next:
            return False
        self._begun = now
        return True

    def done(self, now: float) -> None:
        """Note that the refresh that was due has ended."""
        self._next = now + max(REFRESH_MIN_S, REFRESH_SHARE * (now - self._begun))


def collect(source: Source, folder: Path) -> Collected:
    """Write all that a results folder holds; each file is the old or the new one, never half.

    Files in the folder that corral did not write stay as they are.

    Raises:
        UsageError: There is no such collecting rule.
        CorralError: Something cannot be written, or is in the way; old files are kept.
    """
    find_rule(source.rule)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        drafts.sweep(folder)
        tree_folder, prefix = folder / paths.FILES, f"{paths.FILES}/"
        with closing(Index(folder)) as index, closing(Tree(tree_folder, index, prefix)) as tree:
            _claim_names(index)
            with drafts.replacing(folder / paths.RUN_FILE) as file:
                file.write(source.source.encode("utf-8", "surrogateescape"))
            attempts, tried = _write_attempts(source, folder)
            files = Files(source, tree)
            tally = _write_results(source, folder, tried, files)
            files.finish()
            index.save()
    except OSError as error:
        raise _cannot_write(folder, error) from error
    files.check_refused()
    return Collected(
        tasks=tally.tasks,
        done=tally.done,
        failed=tally.failed,
        attempts=attempts,
        output_bytes=tally.output_bytes,
        files=files.count,
        file_bytes=files.size,
        copied=files.copied,
        removed=files.removed,
    )


def collect_as(source: Source, rule: str, out: BinaryIO) -> int:
    """Write the results by a rule that makes one stream of them; gives their number.

    Raises:
        UsageError: There is no such rule.
    """
    add = find_rule(rule)
    count = 0
    for result in source.results():
        if result.state == "done":
            add(out, source, result)
            count += 1
    return count


def collect_files(source: Source, folder: Path) -> int:
    """Bring all declared files into a folder of their own; gives their number.

    Raises:
        UsageError: It is a results folder.
        CorralError: Something cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        drafts.sweep(folder)
        with closing(Index(folder)) as index, closing(Tree(folder, index, prefix="")) as tree:
            if index.get(paths.RUN_FILE) is not None:
                raise UsageError(
                    f"{folder} holds a run's results already",
                    hint=f"the files are in {folder / paths.FILES}; or choose another folder",
                )
            files = Files(source, tree)
            for result in source.results():
                if result.state == "done":
                    files.add(result)
            files.finish()
            index.save()
    except OSError as error:
        raise _cannot_write(folder, error) from error
    files.check_refused()
    return files.count


def remove(folder: Path) -> None:
    """Remove what corral wrote into a results folder, and the folder if nothing else is in it.

    Raises:
        CorralError: Something cannot be removed.
    """
    if not folder.is_dir():
        return
    try:
        tree_folder, prefix = folder / paths.FILES, f"{paths.FILES}/"
        with closing(Index(folder)) as index, closing(Tree(tree_folder, index, prefix)) as tree:
            tree.remove_unwanted()
            for name in paths.WRITTEN:
                if index.get(name) is not None:
                    (folder / name).unlink(missing_ok=True)
        (folder / paths.INDEX).unlink(missing_ok=True)
        for empty in (tree_folder, folder):
            with suppress(OSError):  # a user's own file keeps it
                empty.rmdir()
    except OSError as error:
        raise _cannot_write(folder, error) from error


def find_rule(name: str) -> AddResult:
    """Find a rule that makes one stream of all results.

    Raises:
        UsageError: There is none of that name.
    """
    found = RULES.get(name)
    if found is None:
        raise UsageError(
            f"there is no collecting rule {name!r}", hint=f"one of: {', '.join(RULES)}"
        )
    return found


def _claim_names(index: Index) -> None:
    """Make the names beside ``files/`` ours, unless the user has something under one of them."""
    for name in paths.WRITTEN:
        if index.get(name) is not None:
            index.want(name)
        elif os.path.lexists(index.folder / name):
            raise CorralError(
                f"{index.folder / name} is there and not corral's, so it is not replaced",
                hint="move it away, then: corral collect (or choose another place with -o)",
            )
    for name in paths.WRITTEN:
        if index.get(name) is None:
            index.add(Record(path=name))


def _write_attempts(source: Source, folder: Path) -> tuple[int, table.HostsTried]:
    """Write ``attempts.csv``; gives how many there are and which hosts had each task."""
    tried = table.HostsTried()
    count = 0
    with drafts.replacing(folder / paths.ATTEMPTS) as file:
        rows = table.Attempts(file)
        for attempt in source.attempts():
            rows.add(attempt)
            tried.add(attempt)
            count += 1
    return count, tried


def _write_results(source: Source, folder: Path, tried: table.HostsTried, files: Files) -> _Tally:
    """Write all that is made from the tasks, in one pass over them."""
    add = find_rule(source.rule)
    tasks = done = failed = 0
    with ExitStack() as stack:
        output, errors, missing, failed_file, results_file = (
            stack.enter_context(drafts.replacing(folder / name))
            for name in (paths.OUTPUT, paths.ERRORS, paths.MISSING, paths.FAILED, paths.RESULTS)
        )
        rows = table.Results(results_file, source.names)
        failures = table.Failures(failed_file, source, tried)
        for result in source.results():
            tasks += 1
            rows.add(result)
            if result.state == "done":
                done += 1
                add(output, source, result)
                files.add(result)
            else:
                missing.write(f"{result.number}\t{result.state}\n".encode())
            if result.state == "failed":
                failed += 1
                failures.add(result)
            if result.state in ("done", "failed"):
                tagged.add_errors(errors, source, result)
        return _Tally(tasks=tasks, done=done, failed=failed, output_bytes=output.tell())


def _cannot_write(folder: Path, error: OSError) -> CorralError:
    named = [str(name) for name in (error.filename2, error.filename) if name is not None]
    inside = [name for name in named if name.startswith(str(folder)) and not name.endswith(".part")]
    shown = inside[0] if inside else folder
    return CorralError(
        f"{shown}: results cannot be written: {error.strerror or error}",
        hint=_HINTS.get(error.errno or 0),
    )
