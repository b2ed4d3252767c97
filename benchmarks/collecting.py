"""What does it cost to collect, beside reading the same rows and doing nothing with them?

The runs are made ready in the database, as a farm would have left them: one result a task, a line of two
values. The floor of a stream is a program that reads the same bytes from the same rows in the same order and
writes them, ``cat`` for rows; that of ``cat`` itself over one file is printed beside it.
"""

from __future__ import annotations

import resource
import sqlite3
import statistics
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.place import used
from benchmarks.table import Bench, Row, milliseconds_range, paired, seconds
from benchmarks.timing import timed
from corral.cli.folder import RealFolder
from corral.master.submission import carry_out
from corral.model.run import Options, Submission
from corral.store.folder import StateFolder
from corral.work import identity
from corral.work.command import parse

if TYPE_CHECKING:
    from benchmarks.place import Place

MANY = 1_000_000
FEW = 100_000
PER_SETTING = 10
FLOOR = """
import sqlite3, sys
rows = sqlite3.connect(sys.argv[1]).execute(
    "select o.stdout from task t join output o on o.attempt_id = t.accepted"
    " where t.run_id = 1 and t.generation = 1 and t.position is not null order by t.position")
with open(sys.argv[2], "wb", 1 << 18) as out:
    out.writelines(row[0] for row in rows)
"""
FILL = (
    "insert into agent (incarnation, host_id, state, started) values ('a', 1, 'ended', 0)",
    """insert into attempt (id, ticket, task_id, number, epoch, reason, incarnation, host_id,
        granted_by, state, outcome, digest, slot, exit, leased, started, ended, seconds, cpu_s, peak_kb)
    select id, '1-1-' || number || '-1', id, 1, 0, 'first', 'a', 1, 1, 'ended', 'accepted', 'd', 0, 0,
        1e9, 1e9, 1e9, 1.5, 1.25, 20480 from task""",
    """insert into output (attempt_id, stdout, stdout_size)
    select id, cast(text as blob), length(text)
    from (select id, printf('E=%.6f M=%.4f' || char(10), id * 0.37 + rep, rep * 0.1) as text from task)""",
    "update task set state = 'done', accepted = id, attempts = 1",
    "update run set state = 'done', ended = 1e9",
)


def run(bench: Bench) -> list[Row]:
    """Collect a million results as a stream, a hundred thousand as tables."""
    return [*_streams(bench), *_tables(bench)]


def _streams(bench: Bench) -> list[Row]:
    with used(bench.folder / "many") as place:
        _fill(place, MANY)
        floor, cat, ours = [], [], []
        for _ in range(bench.runs):
            floor.append(_floor(place))
            cat.append(timed(["cp", "floor", "copy"], place.folder))
            ours.append(place.run("collect", "--as", "concat", "-o", "ours"))
        if (place.folder / "floor").read_bytes() != (place.folder / "ours").read_bytes():
            raise SystemExit("collecting: floor and ours differ")
        ratio = paired(ours, floor)
        return [
            Row(
                what="1,000,000 small results, concat",
                figure=seconds(ours),
                spread=milliseconds_range(ours),
                to=f"cat by rows ({seconds(floor)})",
                ratio=ratio,
                aim="<= 3",
                met=ratio <= 3,
            ),
            Row(
                what="… beside the same bytes in one file",
                figure="",
                to=f"cp ({seconds(cat)})",
                ratio=paired(ours, cat),
            ),
        ]


def _tables(bench: Bench) -> list[Row]:
    with used(bench.folder / "few") as place:
        _fill(place, FEW)
        floor = [_floor(place) for _ in range(bench.runs)]
        rows = []
        for what, aim_s, words in (
            ("table of 100,000 rows", 2.0, ("-o", "table.csv")),
            ("… as JSON Lines", None, ("-o", "table.jsonl")),
            ("… means of 10,000 groups", None, ("--group", "a", "-o", "groups.csv")),
        ):
            before = _core_seconds()
            ours = [place.run("collect", "--as", "table", *words) for _ in range(bench.runs)]
            cores = (_core_seconds() - before) / bench.runs
            rows.append(
                Row(
                    what=f"{what} ({cores:.1f} core-seconds)",
                    figure=seconds(ours),
                    spread=milliseconds_range(ours),
                    to=f"cat by rows ({seconds(floor)})",
                    ratio=paired(ours, floor),
                    aim="" if aim_s is None else f"< {aim_s:.0f} s",
                    met=None if aim_s is None else statistics.median(ours) < aim_s,
                )
            )
        return rows


def _core_seconds() -> float:
    """Give the processor time of all commands so far: other work changes it less than the seconds."""
    used_up = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used_up.ru_utime + used_up.ru_stime


def _floor(place: Place) -> float:
    database = StateFolder(place.folder / ".corral").database
    return timed([sys.executable, "-c", FLOOR, str(database), "floor"], place.folder)


def _fill(place: Place, tasks: int) -> None:
    """Write a run whose tasks are all done."""
    state = StateFolder.find_or_make(place.folder)
    words = [f"./sim {{a=1..{tasks // PER_SETTING}}}"]
    command = parse(words, folder=RealFolder(place.folder), reps=PER_SETTING).command
    submission = Submission(
        name="sim",
        folder=str(place.folder),
        skeleton=identity.skeleton(command),
        words=tuple(words),
        command=command,
        options=Options(reps=PER_SETTING, out=str(place.folder / "results" / "sim")),
    )
    store = state.open_store()
    carry_out(store, submission, time.time, begun=lambda _: None)
    store.close()
    connection = sqlite3.connect(state.database)
    connection.execute("drop trigger task_counted")  # the counters are written at once below
    for statement in FILL:
        connection.execute(statement)
    connection.execute("update run_count set state = 'done'")
    connection.commit()
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    if place.ask("status")["run"]["counts"]["done"] != tasks:
        raise SystemExit("collecting: the run is not as it should be")
