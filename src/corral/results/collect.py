"""Writes a run's results folder: what the user came for, from what the store accepted.

Everything is streamed in one pass over the tasks, so memory does not grow with their number. Each
file is written beside its place and renamed: whoever reads sees the old or the new one, never half.
Files in ``files/`` are ours only if our index names them; a user's own are never touched.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from typing import TYPE_CHECKING, BinaryIO, Protocol

import msgspec

from corral.errors import CorralError
from corral.model.base import Frozen
from corral.model.task import Captured
from corral.results import paths, rules, tables
from corral.results.paths import OutputTemplate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

    from corral.model.attempt import Attempt
    from corral.model.task import Result, ResultFile
    from corral.results.rules import Rule

__all__ = ["Collected", "OutputTemplate", "Refresher", "Source", "collect", "write_as"]

INDEX = ".files.json"
CHUNK = 1 << 20
EVERY_S = 5.0  # at least, between two refreshes of a running run
SHARE = 20  # … and so many times what the last one took: collecting never costs more than 5 %
TAIL = 4096  # bytes of stderr that failed.csv may quote from


class Source(Protocol):
    """A run as this room sees it."""

    names: tuple[str, ...]  # of the parameters, in the order of Result.values
    outputs: tuple[OutputTemplate, ...]
    reps: int
    rule: str  # of output.txt
    source: str  # the text of run.toml

    def results(self) -> Iterator[Result]:
        """Stream the tasks in the order of the latest command."""

    def attempts(self) -> Iterator[Attempt]:
        """Stream the attempts by task and number."""

    def open(self, captured: Captured) -> BinaryIO:
        """Open captured bytes that are not inline."""

    def open_file(self, file: ResultFile) -> BinaryIO:
        """Open a file that came home."""


class Collected(Frozen, kw_only=True):
    """What a results folder holds now."""

    done: int
    missing: int  # tasks without a result


class Refresher:
    """Says when a running run's results are due to be written again."""

    def __init__(self, now: float) -> None:
        self._last = now
        self._took = 0.0
        self._began = now

    def due(self, now: float) -> bool:
        """Say whether it is time; the caller then writes and says `done`."""
        self._began = now
        return now - self._last >= max(EVERY_S, SHARE * self._took)

    def done(self, now: float) -> None:
        """Note how long it took."""
        self._took = now - self._began
        self._last = now


def collect(source: Source, folder: Path) -> Collected:
    """Write all of a run's results folder.

    Raises:
        CorralError: The folder cannot be written; what stood there before still does.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            return _Writer(source, folder, stack).write()
    except OSError as error:
        raise CorralError(
            f"{error.filename or folder}: results cannot be written: {error.strerror}",
            hint="make room or mend the rights, then: corral collect; nothing is lost",
        ) from error


def write_as(source: Source, rule: str, to: BinaryIO) -> None:
    """Write the done tasks' stdout by a rule, for `corral collect --as`."""
    chosen = rules.rule(rule)
    for result in source.results():
        if result.state == "done":
            with _opened(source, result.stdout) as data:
                chosen(to, result, source.names, data)


class _Writer:
    """One pass over a run."""

    def __init__(self, source: Source, folder: Path, stack: contextlib.ExitStack) -> None:
        self._source = source
        self._folder = folder
        self._output = _binary(stack, folder / "output.txt")
        self._errors = _binary(stack, folder / "errors.txt")
        self._missing = _text(stack, folder / "missing.txt")
        names = source.names
        self._results = tables.Table(
            _text(stack, folder / "results.csv"), tables.result_heads(names)
        )
        self._failed = tables.Table(_text(stack, folder / "failed.csv"), tables.failed_heads(names))
        self._attempts = tables.Table(_text(stack, folder / "attempts.csv"), tables.ATTEMPTS)
        _text(stack, folder / "run.toml").write(source.source)
        self._rule: Rule = rules.rule(source.rule)
        self._files = _Files(source, folder) if source.outputs else None
        self._tried: dict[int, list[str]] = {}  # hosts of each task that failed
        self._starts: dict[int, int] = {}

    def write(self) -> Collected:
        done = missing = 0
        failed: list[Result] = []
        for result in self._source.results():
            self._results.add(tables.result_row(result))
            if result.state == "done":
                done += 1
                self._add(result)
            else:
                missing += 1
                self._missing.write(f"{result.number}\t{result.state}\n")
                if result.state == "failed":
                    self._add_errors(result)
                    self._tried[result.number] = []
                    failed.append(_without_bytes(result))
        for attempt in self._source.attempts():
            self._attempts.add(tables.attempt_row(attempt))
            if attempt.task in self._tried:
                hosts = self._tried[attempt.task]
                self._starts[attempt.task] = self._starts.get(attempt.task, 0) + 1
                if attempt.host not in hosts:
                    hosts.append(attempt.host)
        for result in failed:
            self._failed.add(
                tables.failed_row(
                    result,
                    result.stderr.inline,
                    self._tried[result.number],
                    self._starts.get(result.number, 0),
                )
            )
        if self._files is not None:
            self._files.finish()
        return Collected(done=done, missing=missing)

    def _add(self, result: Result) -> None:
        if result.stdout.size or self._rule is rules.blocks:
            with _opened(self._source, result.stdout) as data:
                self._rule(self._output, result, self._source.names, data)
        self._add_errors(result)
        if self._files is not None:
            self._files.add(result)

    def _add_errors(self, result: Result) -> None:
        if result.stderr.size:
            with _opened(self._source, result.stderr) as data:
                rules.tagged(self._errors, result, self._source.names, data)


def _without_bytes(result: Result) -> Result:
    """Keep of a failed task only what failed.csv quotes: there may be many of them."""
    tail = Captured(size=result.stderr.size, inline=result.stderr.inline[-TAIL:])
    return msgspec.structs.replace(result, stdout=Captured(), stderr=tail, files=())


class _Files:
    """The folder ``files/``: what came home, where the templates say."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._source = source
        self._root = folder / "files"
        self._index_path = folder / INDEX
        self._before = _read_index(self._index_path)
        self._now: dict[str, list[object]] = {}
        self._keep = all(
            paths.keeps_names(template, source.names, source.reps) for template in source.outputs
        )

    def add(self, result: Result) -> None:
        """Put a task's files where they belong; one that lies there unchanged costs a stat."""
        for file in result.files:
            if not paths.safe(file.name):
                raise CorralError(
                    f"task {result.number} sent a file named {file.name!r}, which is refused",
                    hint="a declared output lies in the task's own folder",
                )
            where = paths.place(file.name, result.number, keep=self._keep)
            if where in self._now:  # equal settings claim one name
                where = paths.place(file.name, result.number, keep=False)
            self._put(where, file)

    def finish(self) -> None:
        """Remove what we once wrote and is no result any more; write the index."""
        for where in self._before.keys() - self._now.keys():
            path = self._root / where
            if _inside(self._root, path):
                path.unlink(missing_ok=True)
                _remove_empty(path.parent, self._root)
        temporary = self._index_path.with_name(f"{INDEX}.{os.getpid()}")
        temporary.write_text(json.dumps(self._now))
        temporary.replace(self._index_path)

    def _put(self, where: str, file: ResultFile) -> None:
        path = self._root / where
        known = self._before.get(where)
        if known is not None and known[0] == file.sha256 and _stamp(path) == known[1]:
            self._now[where] = known
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _inside(self._root, path):
            raise CorralError(
                f"{path}: a link leads out of the results folder", hint="remove the link"
            )
        temporary = path.with_name(f".{os.getpid()}.part")
        try:
            with self._source.open_file(file) as data, temporary.open("wb") as copy:
                _copy(data, copy)
            temporary.chmod(file.mode & 0o777)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        self._now[where] = [file.sha256, _stamp(path)]


def _copy(data: BinaryIO, copy: BinaryIO) -> None:
    """Copy in the kernel where it can, sharing the blocks where the file system can."""
    try:
        while os.copy_file_range(data.fileno(), copy.fileno(), 1 << 30):
            pass
    except (AttributeError, OSError):
        data.seek(0)
        copy.seek(0)
        copy.truncate()
        shutil.copyfileobj(data, copy, CHUNK)


def _read_index(path: Path) -> dict[str, list[object]]:
    try:
        found: dict[str, list[object]] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _stamp(path: Path) -> list[int] | None:
    """Give size and time of change of a plain file, None for anything else."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns] if os.path.isfile(path) else None  # noqa: PTH113


def _inside(root: Path, path: Path) -> bool:
    """Say whether no link on the way leads out of ``root``."""
    return path.parent.resolve().is_relative_to(root.resolve())


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return  # not empty: a user's own file, or another task's
        folder = folder.parent


@contextlib.contextmanager
def _opened(source: Source, captured: Captured) -> Iterator[BinaryIO]:
    if not captured.sha256:
        yield io.BytesIO(captured.inline)
        return
    with source.open(captured) as file:
        yield file


def _binary(stack: contextlib.ExitStack, path: Path) -> BinaryIO:
    file: BinaryIO = stack.enter_context(_replacing(path, "wb"))
    return file


def _text(stack: contextlib.ExitStack, path: Path) -> TextIO:
    file: TextIO = stack.enter_context(_replacing(path, "w"))
    return file


@contextlib.contextmanager
def _replacing(path: Path, mode: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
    """Open a file that takes its place only if everything went well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    settings = {} if "b" in mode else {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
    try:
        with temporary.open(mode, **settings) as file:
            yield file
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
