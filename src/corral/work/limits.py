"""What do the texts of limits mean: ``200%``, ``now,fail=10%``, ``1G,4G``?"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from corral.errors import UsageError
from corral.model.limits import DISK_FLOOR, OUTPUT_CAP, Halt, Limits
from corral.units import seconds, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.work.runfile import RunFile

LEAST_CAP = 1 << 10  # bytes: head, tail and the line between them are still worth reading
MOST_FAILURES = 10**9  # as many as a run has tasks at the most
LEAST_MEMORY = 1 << 20  # bytes: no program starts in less

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_HALT = re.compile(r"(soon|now),fail=(\d+|\d+(?:\.\d+)?(?=%))(%?)")


def read(file: RunFile) -> Limits:
    """Read all limits that a run file, or the options in its place, gives.

    Raises:
        UsageError: One of them cannot be meant.
    """
    timeout_s, percent = (None, None) if file.timeout is None else timeout(file.timeout)
    return Limits(
        timeout_s=timeout_s,
        timeout_percent=percent,
        run_timeout_s=None
        if file.run_timeout is None
        else seconds(file.run_timeout, option="--run-timeout"),
        halt=None if file.halt is None else halt(file.halt),
        output_cap=OUTPUT_CAP if file.output_cap is None else output_cap(file.output_cap),
        memory=memory(file.mem),
        disk_floor=DISK_FLOOR
        if file.disk_floor is None
        else size(file.disk_floor, option="--disk-floor"),
    )


def timeout(text: str) -> tuple[float | None, float | None]:
    """Read a task's limit of time: seconds, or percent of the run's median; one of them is None."""
    match = _PERCENT.fullmatch(text.strip())
    if match is None:
        return seconds(text, option="--timeout"), None
    percent = float(match[1])
    if percent <= 100:
        raise UsageError(
            f"--timeout {text}: half of all tasks take longer than the median",
            hint="more than 100%: --timeout 300%",
        )
    return None, percent


def halt(text: str) -> Halt:
    """Read after how many failed tasks a run halts, and how."""
    match = _HALT.fullmatch(text.strip())
    number = float(match[2]) if match else 0.0
    if match is None or not number or number > (100 if match[3] else MOST_FAILURES):
        raise UsageError(
            f"--halt {text}: is not WHEN,fail=NUMBER",
            hint="--halt soon,fail=10 or --halt now,fail=5%",
        )
    when: Literal["soon", "now"] = "soon" if match[1] == "soon" else "now"
    if match[3]:
        return Halt(when=when, percent=number)
    return Halt(when=when, failures=int(number))


def output_cap(text: str) -> int:
    """Read how much of a task's stdout, and of its stderr, is kept."""
    cap = size(text, option="--output-cap")
    if cap < LEAST_CAP:
        raise UsageError(
            f"--output-cap {text}: too little to keep", hint="from 1K: --output-cap 1M"
        )
    return cap


def memory(texts: Sequence[str]) -> tuple[int, ...]:
    """Read a task's memory, and what it gets after it had too little."""
    sizes = tuple(size(text, option="--memory") for text in texts)
    if any(number < LEAST_MEMORY for number in sizes):
        raise UsageError(f"--memory {','.join(texts)}: no program runs in less than 1M", hint="2G")
    if any(later <= earlier for earlier, later in pairwise(sizes)):
        raise UsageError(
            f"--memory {','.join(texts)}: each size must be above the one before",
            hint="--memory 1G,4G: 4G for what needs more than 1G",
        )
    return sizes
