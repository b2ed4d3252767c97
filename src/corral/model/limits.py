"""How much a run may use: of time, failures, output, memory and disk; None or () = no limit."""

from __future__ import annotations

from typing import Literal

from corral.model.base import Frozen

OUTPUT_CAP = 1 << 30  # bytes of a task's stdout, and as many of its stderr
DISK_FLOOR = 256 << 20  # bytes free on a host, below which it starts nothing


class Halt(Frozen, frozen=True, kw_only=True):
    """After so many failed tasks the run halts; one of the two numbers is given."""

    when: Literal["soon", "now"]  # soon: what runs may finish; now: it is killed
    failures: int | None = None
    percent: float | None = None  # of the tasks that have ended


class Limits(Frozen, frozen=True, kw_only=True):
    """The limits of one run."""

    timeout_s: float | None = None  # of a task
    timeout_percent: float | None = None  # of a task: so much of the run's median
    run_timeout_s: float | None = None  # of the run, while it is served
    halt: Halt | None = None
    output_cap: int = OUTPUT_CAP  # bytes of each stream of a task
    memory: tuple[int, ...] = ()  # bytes of a task; the next one after each time it had too little
    disk_floor: int = DISK_FLOOR
