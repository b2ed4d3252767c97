"""When is a caller told the run that its command became, and what is kept of it where?"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from corral.cli.folder import RealFolder
from corral.engine import queries
from corral.engine.submit import BATCH, begin, half_written
from corral.master.submission import carry_out
from corral.model.command import Listed
from corral.model.host import LOCAL_SPEC
from corral.model.run import Options, Submission
from corral.store.sqlite import SqliteStore
from corral.work import identity
from corral.work.command import parse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from corral.ids import RunId
    from corral.model.run import Submitted


@pytest.mark.parametrize("tasks", [1, BATCH, BATCH + 1, 2 * BATCH + 1])
def test_before_any_of_its_tasks_can_be_handed_out(tmp_path: Path, tasks: int) -> None:
    store = SqliteStore.in_memory()
    told: list[RunId] = []
    open_before: list[bool] = []

    def begun(run: RunId) -> None:
        told.append(run)

    def heard(topics: frozenset[str]) -> None:  # after a commit, before its caller is answered
        if "work" in topics:
            open_before.append(not told)

    store.listen(heard)
    submitted = submit(store, tmp_path, f"echo {{1..{tasks}}}", begun=begun)
    assert submitted.tasks == tasks
    assert told == [submitted.run]
    assert open_before == [False]
    store.close()


def test_no_row_that_is_looked_at_often_holds_the_values_of_a_file(tmp_path: Path) -> None:
    # A million lines stood in the row of the generation. The foreign key of each new task looks
    # that row up, so the database read ten megabytes a task, and the submission never ended.
    values = [f"value-{number}" for number in range(BATCH + 1)]
    (tmp_path / "values.txt").write_text("\n".join(values))
    place = tmp_path / "corral.db"
    store = SqliteStore.open(place)
    submit(store, tmp_path, "echo {@values.txt}", begun=lambda run: None)
    store.close()
    with closing(sqlite3.connect(place)) as database:
        long = {table for table in _tables(database) if _longest(database, table) > len(values)}
    assert long == {"command"}


def test_what_a_master_left_half_written_is_found_with_its_command(tmp_path: Path) -> None:
    values = [f"value-{number}" for number in range(BATCH + 1)]
    (tmp_path / "values.txt").write_text("\n".join(values))
    submission = submission_of(tmp_path, "echo {@values.txt}")
    store = SqliteStore.in_memory()
    store.write(begin, submission, 0.0).result()
    with store.reader() as reader:
        left = half_written(reader)
    assert left == [submission]
    submitted = carry_out(store, left[0], lambda: 0.0, begun=lambda run: None)
    assert submitted.tasks == len(values)
    with store.reader() as reader:
        assert half_written(reader) == []
    store.close()


def test_many_values_stand_apart_until_all_tasks_are_in(tmp_path: Path) -> None:
    """Bug: a master held a million values four times, and whoever looked at the run read them all."""
    many = [f'value "{number}"' for number in range(10_000)]
    (tmp_path / "many.txt").write_text("\n".join(many))
    (tmp_path / "few.txt").write_text("x\ny")
    submission = submission_of(tmp_path, "echo {@many.txt} {1..2} {@few.txt}")
    place = tmp_path / "corral.db"
    store = SqliteStore.open(place)
    begun = store.write(begin, submission, 0.0).result()
    with closing(sqlite3.connect(place)) as database:
        assert _longest(database, "command") < 2_000
        assert 1 < _count(database, "axis_values") < 10
    with store.reader() as reader:
        [left] = half_written(reader)
    assert left == submission
    axes = left.command.axes
    assert isinstance(axes[0], Listed)
    assert list(axes[0].values) == many
    submitted = carry_out(store, left, lambda: 0.0, begun=lambda run: None)
    assert (submitted.run, submitted.tasks) == (begun.run, 40_000)
    with store.reader() as reader:
        run = queries.run(reader, begun.run)
        assert queries.generation(reader, run).command.names == submission.command.names
        assert queries.task(reader, run, 40_000).values == (many[-1], "2", "y")
    store.close()
    with closing(sqlite3.connect(place)) as database:
        assert _count(database, "axis_values") == 0


def test_a_run_that_is_removed_while_its_tasks_are_made_leaves_no_values(tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_text("\n".join(map(str, range(20_000))))
    place = tmp_path / "corral.db"
    store = SqliteStore.open(place)
    begun = store.write(begin, submission_of(tmp_path, "echo {@many.txt}"), 0.0).result()
    store.write(lambda tx: tx.change("run_delete", begun.run)).result()
    store.close()
    with closing(sqlite3.connect(place)) as database:
        assert _count(database, "axis_values") == 0


def submit(
    store: SqliteStore, folder: Path, line: str, *, begun: Callable[[RunId], None]
) -> Submitted:
    return carry_out(store, submission_of(folder, line), lambda: 0.0, begun=begun)


def submission_of(folder: Path, line: str) -> Submission:
    command = parse((line,), folder=RealFolder(folder)).command
    return Submission(
        name="echo",
        named=False,
        folder=str(folder),
        skeleton=identity.skeleton(command),
        words=(line,),
        command=command,
        options=Options(out=str(folder / "results"), out_given=False),
        hosts=(LOCAL_SPEC,),
        detached=False,
    )


def _tables(database: sqlite3.Connection) -> list[str]:
    named = database.execute("select name from sqlite_schema where type = 'table'")
    return [name for (name,) in named]


def _count(database: sqlite3.Connection, table: str) -> int:
    rows: int = database.execute(f"select count(*) from {table}").fetchone()[0]
    return rows


def _longest(database: sqlite3.Connection, table: str) -> int:
    """Give the characters in the longest row of a table."""
    rows = database.execute(f"select * from {table}")
    return max((sum(len(str(value)) for value in row) for row in rows), default=0)
