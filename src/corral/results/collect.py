"""Writes ``results/NAME``: what a user reads of a run, complete or so far.

One pass over the attempts and one over the tasks, streamed: the memory grows with the number of
declared files alone (about half a KB for each). By another rule, `corral.results.gather`.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Self

from corral.errors import CorralError
from corral.model.base import Frozen
from corral.results import drafts, paths, rules, table, tagged
from corral.results.content import Content
from corral.results.files import Files
from corral.results.gather import STREAMS, pieces, run_program
from corral.results.index import Index, Record
from corral.results.joined import Finder, values_of
from corral.results.source import OutputTemplate, Source
from corral.results.tree import Tree

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from corral.model.task import Result
    from corral.results.gather import Pieces
    from corral.results.rules import Rule

__all__ = [
    "Collected", "OutputTemplate", "Refresher", "Source", "collect", "place_report", "remove",
]  # fmt: skip

REFRESH_MIN_S = 5.0  # between two refreshes: a person looks no more often
REFRESH_SHARE = 20.0  # times the last refresh's time: at most 5 % goes into refreshing


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
    rule = rules.read(source.rule)
    finder = Finder(Content(source), rule.form) if rule.kind == "table" else None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        drafts.sweep(folder)
        with (
            closing(Index(folder)) as index,
            closing(Tree(folder / paths.FILES, index, f"{paths.FILES}/")) as tree,
            closing(Tree(folder / paths.PARTS, index, f"{paths.PARTS}/")) as parts,
        ):
            _claim_names(index)
            with drafts.replacing(folder / paths.RUN_FILE) as file:
                file.write(source.source.encode("utf-8", "surrogateescape"))
            attempts, tried = _write_attempts(source, folder)
            files = Files(source, tree)
            with _Output(source, rule, parts, folder) as output:
                tally = _write_results(source, folder, tried, files, output, finder)
            files.finish()
            index.save()
    except OSError as error:
        raise drafts.cannot_write(folder, error) from error
    files.check_refused()
    output.check()
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


def place_report(folder: Path) -> Path:
    """Say where a run's report goes, and note that it is corral's.

    Raises:
        CorralError: Something of the user's stands there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with closing(Index(folder)) as index:
        if index.get(paths.REPORT) is None:
            _check_free(folder / paths.REPORT)
            index.add(Record(path=paths.REPORT))
    return folder / paths.REPORT


def remove(folder: Path) -> None:
    """Remove what corral wrote into a results folder, and the folder if nothing else is in it.

    Raises:
        CorralError: Something cannot be removed.
    """
    if not folder.is_dir():
        return
    try:
        with closing(Index(folder)) as index:
            for below in (paths.FILES, paths.PARTS):
                with closing(Tree(folder / below, index, f"{below}/")) as tree:
                    tree.remove_unwanted()
            for name in (*paths.WRITTEN, paths.REPORT):
                if index.get(name) is not None:
                    (folder / name).unlink(missing_ok=True)
        (folder / paths.INDEX).unlink(missing_ok=True)
        for empty in (folder / paths.FILES, folder / paths.PARTS, folder):
            with suppress(OSError):  # a user's own file keeps it
                empty.rmdir()
    except OSError as error:
        raise drafts.cannot_write(folder, error) from error


def _claim_names(index: Index) -> None:
    """Make the names beside ``files/`` ours, unless the user has something under one of them."""
    for name in paths.WRITTEN:
        if index.get(name) is not None:
            index.want(name)
        else:
            _check_free(index.folder / name)
    for name in paths.WRITTEN:
        if index.get(name) is None:
            index.add(Record(path=name))


def _check_free(path: Path) -> None:
    if os.path.lexists(path):
        raise CorralError(
            f"{path} is there and not corral's, so it is not replaced",
            hint="move it away, then: corral collect (or choose another place with -o)",
        )


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


def _write_results(
    source: Source,
    folder: Path,
    tried: table.HostsTried,
    files: Files,
    output: _Output,
    finder: Finder | None,
) -> _Tally:
    """Write all that is made from the tasks, in one pass over them."""
    tasks = done = failed = 0
    with ExitStack() as stack:
        errors, missing, failed_file, results_file = (
            stack.enter_context(drafts.replacing(folder / name))
            for name in (paths.ERRORS, paths.MISSING, paths.FAILED, paths.RESULTS)
        )
        rows = stack.enter_context(
            closing(table.Results(results_file, source.names, folder=folder))
        )
        failures = table.Failures(failed_file, source, tried)
        for result in source.results():
            tasks += 1
            if result.state == "done":
                done += 1
                rows.add(result, values_of(result, finder))
                output.add(result)
                files.add(result)
            else:
                rows.add(result)
                missing.write(f"{result.number}\t{result.state}\n".encode())
            if result.state == "failed":
                failed += 1
                failures.add(result)
            if result.state in ("done", "failed"):
                tagged.add_errors(errors, source, result)
        rows.finish()
        output.finish()
    return _Tally(tasks=tasks, done=done, failed=failed, output_bytes=output.size)


class _Output:
    """``output.txt``, or ``output/`` if the rule makes many files."""

    def __init__(self, source: Source, rule: Rule, parts: Tree, folder: Path) -> None:
        self._source = source
        self._rule = rule
        self._parts = parts
        self._path = folder / paths.OUTPUT
        self._content = Content(source)
        self._stack = ExitStack()
        self._problem: CorralError | None = None
        self._pieces: Pieces | None = None
        self._out: BinaryIO | None = None
        self.size = 0  # bytes of output.txt
        if rule.makes_folder:
            made = pieces(source, rule, parts, folder, self._content)
            self._pieces = self._stack.enter_context(closing(made))
        elif rule.kind != "program":
            self._out = self._stack.enter_context(drafts.replacing(self._path))

    def add(self, result: Result) -> None:
        """Take in the result of a done task."""
        if self._pieces is not None:
            self._pieces.add(result)
        elif self._out is not None:
            add = STREAMS.get(self._rule.kind, STREAMS["concat"])
            add(self._out, self._source, result, self._content.chunks(result))

    def finish(self) -> None:
        """Put all into its place; what an own program came to is kept for `check`."""
        if self._pieces is not None:
            self._pieces.finish()
            self._path.unlink(missing_ok=True)  # of another rule
        elif self._out is not None:
            self.size = self._out.tell()
        else:
            self._run_program()
        self._parts.remove_unwanted()

    def check(self) -> None:
        """Tell, once all else is written, what did not work.

        Raises:
            CorralError: Something did not.
        """
        if self._problem is not None:
            raise self._problem
        if self._pieces is not None:
            self._pieces.check_refused()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _run_program(self) -> None:
        try:
            with drafts.replacing(self._path) as out:
                run_program(self._source, self._rule.program, out)
                self.size = out.tell()
        except CorralError as error:
            self._problem = error  # the old output.txt stays; the rest is new
