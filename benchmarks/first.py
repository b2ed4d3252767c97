"""How soon is the first result there from a host never seen before, and does a dead host delay others?

The time of a result is that of the exchange which brings it, from the start of the command.
"""

from __future__ import annotations

import statistics
import time
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from benchmarks.place import used
from benchmarks.table import Bench, Row, milliseconds_range, not_compared, paired, seconds
from tests.support.hosts import Bed, BedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TIMES = 2  # so often per run: one host is quick, and noisy
MANY = 32
TASKS = 20 * MANY
DEAD = "h17"  # of them, in the middle
AIM_S = 1.2
FIRST = "first result of a new ssh host"
OTHERS = f"{TASKS} results of {MANY} ssh hosts, one unplugged"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """When results came, in seconds from the start of the command."""

    first: float
    last: float
    whole: float  # the command's end


def run(bench: Bench) -> list[Row]:
    """Measure one host alone, then many with and without a dead one in turn."""
    rows = []
    for what, measure in ((FIRST, _one), (OTHERS, _many)):
        try:
            rows += measure(bench)
        except BedError as error:
            rows.append(not_compared(what, "", error.message))
    return rows


def _one(bench: Bench) -> list[Row]:
    with Bed(1) as bed:
        seen = [
            _run(bench.folder / f"one-{number}", bed, "echo {1..4}")
            for number in range(bench.runs * TIMES)
        ]
    first = [one.first for one in seen]
    return [
        Row(
            what=FIRST,
            figure=seconds(first),
            spread=milliseconds_range(first),
            aim=f"< {AIM_S:.1f} s",
            met=statistics.median(first) < AIM_S,
        ),
        _whole(seen),
    ]


def _many(bench: Bench) -> list[Row]:
    """Compare pairs; which of the two is first alternates."""
    alive: list[Seen] = []
    unplugged: list[Seen] = []
    with Bed(MANY) as bed:
        for number in range(bench.runs):
            for dead in (number % 2 == 0, number % 2 == 1):
                name = f"many-{number}-{MANY - dead}"
                if dead:
                    bed[DEAD].unplug()
                seen = _run(bench.folder / name, bed, f"echo {{1..{TASKS}}}")
                if dead:
                    bed[DEAD].plug()
                (unplugged if dead else alive).append(seen)
    last, others = [one.last for one in unplugged], [one.last for one in alive]
    return [
        Row(
            what=OTHERS,
            figure=seconds(last),
            spread=milliseconds_range(last),
            ratio=paired(last, others),
            to=f"all plugged in ({seconds(others)}, {milliseconds_range(others)})",
            aim="as noisy",
            met=statistics.median(last) <= max(others),
        ),
        _whole(unplugged),
    ]


def _run(folder: Path, bed: Bed, command: str) -> Seen:
    """Run a command on hosts that have nothing of ours, and see when its results came."""
    if left := bed.left():
        raise SystemExit(f"first: the hosts are not empty: {left}")
    with used(folder, ssh=bed.ssh) as place:
        began = time.time()
        whole = place.run("run", "-q", "-w", f"h[1-{len(bed)}]", command)
        came = [
            datetime.fromisoformat(attempt["ended"]).timestamp() - began
            for attempt in place.ask("attempts")["attempts"]
        ]
        return Seen(first=min(came), last=max(came), whole=whole)


def _whole(seen: Sequence[Seen]) -> Row:
    took = [one.whole for one in seen]
    return Row(what="… the whole command", figure=seconds(took), spread=milliseconds_range(took))
