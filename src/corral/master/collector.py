"""Writes what the user reads: a run's results, from the store, now and then while it runs."""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from corral.engine import queries
from corral.model.command import Mark, Ref
from corral.results import collect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from corral.model.attempt import Attempt
    from corral.model.command import Command
    from corral.model.run import Run
    from corral.model.task import Captured, Result, ResultFile
    from corral.store.base import Reader, Store
    from corral.store.blobs import Blobs


class RunSource:
    """A run as the results room wants to see it: see `corral.results.collect.Source`."""

    def __init__(self, reader: Reader, blobs: Blobs, run: Run, *, everything: bool = False) -> None:
        self._reader = reader
        self._blobs = blobs
        self._run = run
        self._everything = everything
        shape = queries.generation(reader, run)
        self.names = shape.names
        self.reps = run.options.reps
        self.folder = run.folder
        self.code = queries.code(reader, run)
        self.rule = run.options.collect
        self.source = queries.source(reader, run.id)
        self.outputs = outputs_of(shape.command)

    def results(self) -> Iterator[Result]:
        return queries.results(self._reader, self._run, everything=self._everything)

    def printed(self) -> Iterator[tuple[int, bytes, int, str]]:
        return queries.printed(self._reader, self._run, everything=self._everything)

    def attempts(self) -> Iterator[Attempt]:
        return queries.attempts(self._reader, self._run)

    def open(self, captured: Captured) -> BinaryIO:
        return self._blobs.open(captured.sha256)

    def open_file(self, file: ResultFile) -> BinaryIO:
        return self._blobs.open(file.sha256)

    def path(self, sha256: str) -> str:
        return str(self._blobs.path(sha256).absolute())


def collect_run(
    store: Store, blobs: Blobs, run: Run, *, everything: bool = False
) -> collect.Collected:
    """Bring a run's results folder up to date with the store."""
    with store.reader() as reader:
        source = RunSource(reader, blobs, run, everything=everything)
        return collect.collect(source, Path(run.options.out))


def outputs_of(command: Command) -> tuple[collect.OutputTemplate, ...]:
    """List what a command declares."""
    return tuple(
        collect.OutputTemplate(
            text=mark_text(mark),
            names=frozenset(part.name for part in mark.pattern if isinstance(part, Ref)),
        )
        for mark in command.marks
        if mark.kind == "out"
    )


def mark_text(mark: Mark) -> str:
    """Write a mark's pattern as it was typed, normalised as its rendered names are."""
    text = "".join(
        f"{{{part.name}}}" if isinstance(part, Ref) else part.text for part in mark.pattern
    )
    return posixpath.normpath(text)
