"""What does a fault cost: a host that dies, is sick or slow, and a master that is killed?

Hosts are namespaces of this machine, each with its own sshd; what is lost is one of four, in the
middle of the run, and everything is at its defaults. docs/failure.md has the latest figures.
"""

from __future__ import annotations

import contextlib
import csv
import statistics
import time
from datetime import datetime
from typing import TYPE_CHECKING

from benchmarks import watch
from benchmarks.place import used
from benchmarks.table import Bench, Row, milliseconds_range, not_compared, paired, seconds
from benchmarks.timing import LIMIT_S
from corral.client import Client
from corral.errors import NotFoundError
from corral.store.folder import StateFolder
from tests.support.hosts import Bed, BedError, Host

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Generator
    from typing import Any

    from benchmarks.place import Place

HOSTS = 4
TASKS = 240
WORK = ("-r", str(TASKS), "sleep 0.25")
STRUCK = "h3"  # the host that is lost, sick or slow
LOSSES: dict[str, Callable[[Host], None]] = {
    "silent": lambda host: host.cut(),
    "loud": lambda host: host.crash(),
    "frozen": lambda host: host.freeze(),
}
LOSS_S = 12.0  # to the end of the run: six to be sure, then what the lost host had, once more
RESUME_S = 3.0
MANY = 2_000
WASTED = 20
HOLE = f'test "$(hostname)" != {STRUCK} && echo {{1..{MANY}}}'
SLOWED = f'if test "$(hostname)" = {STRUCK}; then sleep 5; else sleep 0.25; fi'
SLOWED_TASKS = 120


def run(bench: Bench) -> list[Row]:
    """Do each to a run of its own, in turn."""
    try:
        with Bed(HOSTS) as bed:
            return [
                *(row for loss in LOSSES for row in _losses(bench, bed, loss)),
                _resumes(bench, bed),
                _black_holes(bench, bed),
                _slowed(bench, bed),
            ]
    except BedError as error:
        return [not_compared("faults", "", error.message)]


# ---------------------------------------------------------------- a host is lost


def _losses(bench: Bench, bed: Bed, loss: str) -> list[Row]:
    seen = [_lose(bench, bed, f"{loss}-{number}", LOSSES[loss]) for number in range(bench.runs)]
    ends, twins = [end for end, _ in seen], [twin for _, twin in seen]
    return [
        Row(
            what=f"{loss} loss of 1 of {HOSTS} hosts to the end of {TASKS} x 0.25 s",
            figure=seconds(ends),
            spread=milliseconds_range(ends),
            aim=f"<= {LOSS_S:.0f} s",
            met=max(ends) <= LOSS_S,
        ),
        Row(
            what="… to another host's start of what it had",
            figure=seconds(twins),
            spread=milliseconds_range(twins),
        ),
    ]


def _lose(bench: Bench, bed: Bed, name: str, strike: Callable[[Host], None]) -> tuple[float, float]:
    """Lose a host; gives the seconds to the end of the run and to the first attempt for a lost one."""
    with _farm(bench, bed, name) as place:
        process = place.start("run", "-q", "-w", _all(), *WORK)
        _wait_for_half(place)
        strike(bed[STRUCK])
        began = time.time()
        _end(process)
        took = time.time() - began
        return took, _reassigned(place.ask("attempts")["attempts"], began) - began


def _reassigned(attempts: list[dict[str, Any]], lost: float) -> float:
    """Say when another host got the first of the tasks that the lost one had."""
    had = {
        attempt["task"]
        for attempt in attempts
        if attempt["host"] == STRUCK
        and _when(attempt["leased"]) <= lost
        and (attempt["ended"] is None or _when(attempt["ended"]) > lost)
    }
    return min(
        when
        for attempt in attempts
        if attempt["task"] in had and (when := _when(attempt["leased"])) > lost
    )


# ---------------------------------------------------------------- the master is killed


def _resumes(bench: Bench, bed: Bed) -> Row:
    took = [_resume(bench, bed, f"resume-{number}") for number in range(bench.runs)]
    return Row(
        what="corral resume after kill -9 of the master, to the first new lease",
        figure=seconds(took),
        spread=milliseconds_range(took),
        aim=f"<= {RESUME_S:.0f} s",
        met=max(took) <= RESUME_S,
    )


def _resume(bench: Bench, bed: Bed, name: str) -> float:
    with _farm(bench, bed, name) as place:
        process = place.start("run", "-q", "-w", _all(), *WORK)
        _wait_for_half(place)
        process.kill()
        process.wait()
        began = time.time()
        _end(place.start("resume", "-q"))
        leases = [_when(attempt["leased"]) for attempt in place.ask("attempts")["attempts"]]
        return min(lease for lease in leases if lease > began) - began


# ---------------------------------------------------------------- a host is sick, or slow


def _black_holes(bench: Bench, bed: Bed) -> Row:
    wasted = [_black_hole(bench, bed, f"hole-{number}") for number in range(bench.runs)]
    return Row(
        what=f"starts wasted on a host that fails all, of {MANY} tasks",
        figure=f"{statistics.median(wasted):.0f}",
        spread=f"{min(wasted)}-{max(wasted)}",
        aim=f"<= {WASTED}",
        met=max(wasted) <= WASTED,
    )


def _black_hole(bench: Bench, bed: Bed, name: str) -> int:
    """Count the starts on the sick host; a task that failed would fail the command."""
    with _farm(bench, bed, name) as place:
        place.run("run", "-q", "--name", "hole", "-w", _all(), HOLE)
        table = place.folder / "results" / "hole" / "attempts.csv"
        with table.open(newline="", encoding="utf-8") as text:
            return sum(row["host"] == STRUCK for row in csv.DictReader(text))


def _slowed(bench: Bench, bed: Bed) -> Row:
    """Compare pairs; which of the two is first alternates."""
    with_twins: list[float] = []
    without: list[float] = []
    for number in range(bench.runs):
        for twins in (number % 2 == 0, number % 2 == 1):
            with _farm(bench, bed, f"slow-{number}-{twins}") as place:
                flags = () if twins else ("--no-twins",)
                words = ("-r", str(SLOWED_TASKS), *flags, SLOWED)
                took = place.run("run", "-q", "-w", _all(), *words)
                (with_twins if twins else without).append(took)
    return Row(
        what=f"{SLOWED_TASKS} x 0.25 s with one of {HOSTS} hosts slowed 20 x, twins on",
        figure=seconds(with_twins),
        spread=milliseconds_range(with_twins),
        ratio=paired(with_twins, without),
        to=f"--no-twins ({seconds(without)})",
        aim="< 1",
        met=paired(with_twins, without) < 1,
    )


# ---------------------------------------------------------------- the ground


@contextlib.contextmanager
def _farm(bench: Bench, bed: Bed, name: str) -> Generator[Place]:
    """Use hosts that have nothing of ours, and make them so again."""
    with used(bench.folder / name, ssh=bed.ssh) as place:
        try:
            yield place
        finally:
            bed.clean()


def _all() -> str:
    return f"h[1-{HOSTS}]"


def _end(process: subprocess.Popen[bytes]) -> None:
    if code := process.wait(LIMIT_S):
        raise SystemExit(f"faults: a run ended with exit {code}")


def _wait_for_half(place: Place) -> None:
    watch.wait_until("half of the tasks are done", lambda: _done(place) >= TASKS // 2)


def _done(place: Place) -> int:
    state = StateFolder.find(place.folder)
    if state is None or not state.master():
        return 0
    client = Client(state)
    with contextlib.closing(client):
        try:
            return client.run("last").counts["done"]
        except NotFoundError:  # the master has just begun
            return 0


def _when(text: Any) -> float:
    return datetime.fromisoformat(text).timestamp()
