"""Collects by one rule, into a stream or a folder: whatever the rule, any time, any number of times."""

from __future__ import annotations

import io
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO, Protocol

from corral.errors import CorralError, UsageError
from corral.model.base import Frozen
from corral.model.task import Captured, ResultFile
from corral.results import blocks, concat, drafts, joined, paths, program, tagged
from corral.results.content import Content
from corral.results.files import Files
from corral.results.index import Index
from corral.results.joined import Format
from corral.results.source import chunks
from corral.results.split import Split
from corral.results.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from corral.model.task import Result
    from corral.results.rules import Rule
    from corral.results.source import Source

    AddResult = Callable[[BinaryIO, Source, Result, Iterable[bytes]], None]

STREAMS: dict[str, AddResult] = {"concat": concat.add, "tagged": tagged.add, "blocks": blocks.add}
"""The rules that put one result after the other."""

PROGRAM_LIMIT_S = 3600.0  # for the user's own collecting program: it hangs, or it wants a task

_MODE = 0o644


class Gathered(Frozen, frozen=True, kw_only=True):
    """What a rule made."""

    results: int
    files: int = 0  # in a folder
    without: int = 0  # of the results, those in which a table found no value


class Wish(Frozen, frozen=True, kw_only=True):
    """What of the results, and for a table how; None = the rule's usual."""

    of: str | None = None  # stdout, stderr, or a declared file
    format: Format = "csv"
    group: tuple[str, ...] = ()  # columns whose values make a group


USUAL = Wish()


def into_stream(
    source: Source, rule: Rule, out: BinaryIO, wish: Wish = USUAL, *, folder: Path | None = None
) -> Gathered:
    """Write the results by a rule that makes one stream of them; ``folder`` holds what is large.

    Raises:
        UsageError: The rule makes a folder, or there is nothing as wished.
        CorralError: Bytes are damaged, or the user's own program failed.
    """
    if rule.makes_folder:
        raise UsageError(
            f"{rule.kind} makes many files, so it needs a folder", hint=f"--as {rule.kind} -o DIR"
        )
    content = Content(source, wish.of or "stdout")
    if rule.kind == "table":
        return _write_table(source, rule, content, wish, out, folder)
    if rule.kind == "program":
        return Gathered(results=run_program(source, rule.program, out))
    if rule.kind == "concat" and wish.of in (None, "stdout"):
        return _concat_printed(source, out)
    add = STREAMS[rule.kind]
    count = 0
    for result in done(source):
        add(out, source, result, content.chunks(result))
        count += 1
    return Gathered(results=count)


def into_folder(source: Source, rule: Rule, folder: Path, wish: Wish = USUAL) -> Gathered:
    """Write the results by a rule that makes many files, into a folder of their own.

    What corral wrote there before and is no result any more goes; the user's own files stay.

    Raises:
        UsageError: It is a results folder, or there is nothing as wished.
        CorralError: Something cannot be written, or is in the way.
    """
    assert rule.makes_folder
    of = wish.of or ("" if rule.kind == "files" and source.outputs else "stdout")
    content = Content(source, of) if of else None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        drafts.sweep(folder)
        with closing(Index(folder)) as index, closing(Tree(folder, index, prefix="")) as tree:
            _check_not_results(index)
            with closing(pieces(source, rule, tree, folder, content)) as made:
                count = _fill(made, source)
            tree.remove_unwanted()
            index.save()
    except OSError as error:
        raise drafts.cannot_write(folder, error) from error
    made.check_refused()
    return Gathered(results=count, files=made.count)


def _check_not_results(index: Index) -> None:
    if index.get(paths.RUN_FILE) is not None:
        raise UsageError(
            f"{index.folder} holds a run's results already",
            hint=f"the files are in {index.folder / paths.FILES}; or choose another folder",
        )


def _fill(made: Pieces, source: Source) -> int:
    count = 0
    for result in done(source):
        made.add(result)
        count += 1
    made.finish()
    return count


class Pieces(Protocol):
    """Makes files of results in a tree."""

    @property
    def count(self) -> int:
        """Say how many files there are."""
        ...

    def add(self, result: Result) -> None:
        """Take in a result."""
        ...

    def finish(self) -> None:
        """Write what is left to be written."""
        ...

    def check_refused(self) -> None:
        """Tell, once all else is written, what could not be.

        Raises:
            CorralError: There was something.
        """
        ...

    def close(self) -> None:
        """Let go of what was begun."""
        ...


def pieces(source: Source, rule: Rule, tree: Tree, folder: Path, content: Content | None) -> Pieces:
    """Give what carries out ``files`` or ``split``; no content = all declared files."""
    if rule.kind == "split":
        assert content is not None
        return _Parts(content, Split(tree, folder, limit=rule.size, ending=content.ending))
    if content is None or content.declared:
        return Files(source, tree, content)
    return _Each(source, tree, content)


def run_program(source: Source, path: str, out: BinaryIO) -> int:
    """Have the user's own program make the collection; gives how many results it was told of.

    Raises:
        CorralError: It did not end well.
    """
    count = 0

    def told(desk: program.Desk) -> Iterator[bytes]:
        nonlocal count
        for result in done(source):
            yield program.line(desk.lay(result))
            count += 1

    with program.Desk(source) as desk:
        ended = program.run(
            path, folder=source.folder, feed=told(desk), out=out, limit_s=PROGRAM_LIMIT_S
        )
    if ended.how == "late":
        raise CorralError(f"{path}: took more than an hour, and was ended")
    if ended.exit != 0:
        raise CorralError(
            f"{path}: {program.show_exit(ended.exit)}{program.last_word(ended)}",
            hint="it gets a JSON line a task on its stdin: docs/results.md",
        )
    return count


def done(source: Source) -> Iterator[Result]:
    """Stream the results, in the order of the latest command."""
    return (result for result in source.results() if result.state == "done")


class _Parts:
    """The rule ``split``."""

    def __init__(self, content: Content, split: Split) -> None:
        self._content = content
        self._split = split

    @property
    def count(self) -> int:
        return self._split.count

    def add(self, result: Result) -> None:
        self._split.add(self._content.chunks(result), size=self._content.size(result))

    def finish(self) -> None:
        self._split.finish()

    def check_refused(self) -> None:
        """Nothing is: a part that cannot be written ends it."""

    def close(self) -> None:
        self._split.close()


class _Each:
    """The rule ``files`` for stdout or stderr: ``7.txt`` is what task 7 wrote."""

    def __init__(self, source: Source, tree: Tree, content: Content) -> None:
        self._source = source
        self._tree = tree
        self._content = content
        self._refused: list[str] = []
        self.count = 0

    def add(self, result: Result) -> None:
        captured = self._content.captured(result)
        name = f"{result.number}{self._content.ending}"
        file = ResultFile(
            name=name,
            size=captured.size,
            sha256=captured.sha256 or sha256(captured.inline).hexdigest(),
            mode=_MODE,
        )
        put = self._tree.put(name, file, lambda: self._open(result))
        if put == "taken":
            self._refused.append(name)
        else:
            self.count += 1

    def finish(self) -> None:
        """Nothing is left to be written."""

    def check_refused(self) -> None:
        if self._refused:
            raise CorralError(
                f"{self._refused[0]} is there and not corral's, so it is not replaced",
                hint="move it away, or choose another folder with -o",
            )

    def close(self) -> None:
        """Nothing was begun."""

    def _open(self, result: Result) -> BinaryIO:
        captured = self._content.captured(result)
        return self._source.open(captured) if captured.sha256 else io.BytesIO(captured.inline)


def _concat_printed(source: Source, out: BinaryIO) -> Gathered:
    """Concatenate stdout, by the shortest way that a million results can take."""
    count = 0
    for _, inline, size, sha256_ in source.printed():
        if sha256_:
            out.writelines(chunks(source, Captured(size=size, sha256=sha256_)))
        else:
            out.write(inline)
        count += 1
    return Gathered(results=count)


def _write_table(
    source: Source, rule: Rule, content: Content, wish: Wish, out: BinaryIO, folder: Path | None
) -> Gathered:
    table = joined.Table(source, joined.Finder(content, rule.form))
    if wish.group:
        joined.write_groups(table, out, wish.group)
    else:
        joined.WRITERS[wish.format](table, out, folder)
    return Gathered(results=table.tasks, without=table.without)
