"""How long does a small command take, whole, from the shell's point of view?"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.place import used
from benchmarks.table import Bench, Row, milliseconds_range, paired, seconds

if TYPE_CHECKING:
    from collections.abc import Callable

TIMES = 5  # so often per run: these are short, and short things are noisy


def run(bench: Bench) -> list[Row]:
    """Time four echoes in a fresh folder, ``--version``, and ``status`` of a finished run."""
    fresh = (bench.folder / f"echoes-{number}" for number in range(bench.runs * TIMES))

    def echoes() -> float:
        with used(next(fresh)) as place:
            return place.run("run", "-q", "echo {1..4}")

    with used(bench.folder / "done") as place:
        place.run("run", "-q", "echo {1..4}")
        return [
            _row(bench, "four echoes", echoes, aim_s=0.6),
            _row(bench, "corral --version", lambda: place.run("--version"), aim_s=0.08),
            _row(bench, "corral status", lambda: place.run("status"), aim_s=0.25),
        ]


def _row(bench: Bench, what: str, measure: Callable[[], float], *, aim_s: float) -> Row:
    ours: list[float] = []
    floor: list[float] = []
    for _ in range(bench.runs * TIMES):
        floor.append(peers.python_start(bench.folder))
        ours.append(measure())
    return Row(
        what=what,
        figure=seconds(ours),
        spread=milliseconds_range(ours),
        ratio=paired(ours, floor),
        to=f"python -c pass ({seconds(floor)})",
        aim=f"< {aim_s * 1000:.0f} ms",
        met=statistics.median(ours) < aim_s,
    )
