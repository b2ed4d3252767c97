"""What do a million tasks cost, and does another run notice them coming in?

The submission is that of a user: ``corral run -d``, from its start to its return, which is when
all rows are in and the run is open. Meanwhile another run is going on whose tasks are so long
that each one is asked for by an exchange of its own; the time that a slot stands empty between two of
them holds one whole exchange: report, commit, lease, start.

A range is computed; values of files are held, as bytes. So their memory is compared with that of a thousand.
"""

from __future__ import annotations

import statistics
import time
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from benchmarks import watch
from benchmarks.place import used
from benchmarks.table import Bench, Row, milliseconds_range
from benchmarks.timing import LIMIT_S

if TYPE_CHECKING:
    from benchmarks.place import Place

FEW = 100_000
MANY = 1_000_000
SHORT = 1_000  # lines of a file to compare with
BEFORE_S = 4.0  # the other run alone, for comparison
MB = 1e6
HELD = 40 * MB  # for a million values of seven characters, a column


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What one submission cost."""

    seconds: float
    together: int  # bytes; the peak of the sum of Pss of client, master, link, supervisor
    master: int  # bytes; peak RSS
    client: int
    before: list[float]  # seconds that slots stood empty
    meanwhile: list[float]


def run(bench: Bench) -> list[Row]:
    """Submit 100,000 and 1,000,000 tasks, once each: a second time would tell little more."""
    few, many = (
        _submit(bench, f"{tasks}", "", f"sleep 600 {{1..{tasks}}}") for tasks in (FEW, MANY)
    )
    growth = many.together / few.together
    return [
        Row(
            what="1,000,000 tasks submitted",
            figure=f"{many.seconds:.1f} s",
            ratio=many.seconds / few.seconds,
            to=f"100,000 tasks ({few.seconds:.1f} s)",
            aim="< 30 s",
            met=many.seconds < 30,
        ),
        Row(
            what="… peak Pss of all processes",
            figure=f"{many.together / MB:.1f} MB",
            ratio=growth,
            to=f"100,000 tasks ({few.together / MB:.1f} MB)",
            aim="<= 1.10",
            met=growth <= 1.10,
        ),
        Row(
            what="… peak RSS of the master",
            figure=f"{many.master / MB:.1f} MB",
            ratio=many.master / few.master,
            to="100,000 tasks",
            aim="< 80 MB",
            met=many.master < 80 * MB,
        ),
        Row(what="… peak RSS of the command", figure=f"{many.client / MB:.1f} MB"),
        Row(
            what="… another run's exchanges",
            figure=f"{max(many.meanwhile) * 1000:.0f} ms worst",
            spread=milliseconds_range(many.meanwhile),
            ratio=statistics.median(many.meanwhile) / statistics.median(many.before),
            to=f"undisturbed ({statistics.median(many.before) * 1000:.0f} ms)",
            aim="< 200 ms",
            met=max(many.meanwhile) < 0.2,
        ),
        *_held(bench, "lines of a file", 1, "sleep 600 {@values}"),
        *_held(bench, "rows of a table of three", 3, "--params", "values", "sleep 600 {a} {b} {c}"),
    ]


def _held(bench: Bench, what: str, columns: int, *words: str) -> list[Row]:
    """Submit as many tasks whose values stand in a file."""
    short, many = (
        _submit(bench, f"{tasks}-{columns}", _values(tasks, columns), *words)
        for tasks in (SHORT, MANY)
    )
    aim = HELD * columns
    return [
        Row(
            what=f"1,000,000 {what} submitted",
            figure=f"{many.seconds:.1f} s",
            aim="< 60 s",
            met=many.seconds < 60,
        ),
        *(
            Row(
                what=f"… peak RSS of the {process}",
                figure=f"{most / MB:.1f} MB",
                ratio=most / least,
                to=f"1,000 ({least / MB:.1f} MB)",
                aim=f"+ {aim / MB:.0f} MB",
                met=most - least <= aim,
            )
            for process, most, least in (
                ("master", many.master, short.master),
                ("command", many.client, short.client),
            )
        ),
    ]


def _values(tasks: int, columns: int) -> str:
    """Write lines of numbers of seven digits; a table has a header."""
    header = "a,b,c\n" if columns > 1 else ""
    return header + "".join(
        ",".join([str(number)] * columns) + "\n" for number in range(MANY, MANY + tasks)
    )


def _submit(bench: Bench, name: str, values: str, *words: str) -> Seen:
    with used(bench.folder / name) as place:
        (place.folder / "values").write_text(values)
        place.run("run", "-q", "-d", "-j", "2", "--name", "other", "sleep 0.3 {1..5000}")
        time.sleep(BEFORE_S)
        began = time.time()
        client = place.start("run", "-q", "-d", "-j", "2", "--yes", *words)
        with watch.peaks([client.pid, place.master(), *place.agent()]) as seen:
            try:
                code = client.wait(LIMIT_S)
            finally:
                client.kill()  # no more than a formality once it has ended
        ended = time.time()
        if code != 0:
            raise SystemExit(f"million: the submission of {name} failed")
        return Seen(
            seconds=ended - began,
            together=seen.together,
            master=seen.of[place.master()],
            client=seen.of[client.pid],
            before=_empty(place, began - BEFORE_S / 2, began),
            meanwhile=_empty(place, began, ended),
        )


def _empty(place: Place, begin: float, end: float) -> list[float]:
    """List for how long slots stood empty after tasks that ended in that time."""
    slots: dict[int, list[tuple[float, float]]] = {}
    for attempt in place.ask("attempts", "other")["attempts"]:
        if attempt["started"] is not None and attempt["seconds"] is not None:
            start = _seconds(attempt["started"])
            slots.setdefault(attempt["slot"], []).append((start, start + attempt["seconds"]))
    return [
        after[0] - before[1]
        for times in slots.values()
        for before, after in zip(sorted(times), sorted(times)[1:], strict=False)
        if begin <= before[1] <= end
    ]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
