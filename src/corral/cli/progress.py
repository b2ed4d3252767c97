"""Shows how a run goes: one moving line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

from corral.cli import streams
from corral.units import show_seconds

if TYPE_CHECKING:
    from corral.model.run import Run

FIRST_S, LONGEST_S = 10.0, 60.0  # between plain lines; doubles
WINDOW_S = 30.0  # of finished tasks that the rate is measured over
DRAW_S = 0.1


class Progress:
    """Told of the run's state again and again; draws what is worth drawing."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.live = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not quiet
        self._quiet = quiet
        self._began = time.monotonic()
        self._last_drawn = 0.0
        self._next_line = self._began + FIRST_S
        self._gap = FIRST_S
        self._seen: deque[tuple[float, int]] = deque([(self._began, 0)])
        self._drawn = False

    def due(self) -> bool:
        """Say whether there is anything to draw now: looking costs the master a query."""
        now = time.monotonic()
        if self.live:
            return now - self._last_drawn >= DRAW_S
        return not self._quiet and now >= self._next_line

    def show(self, run: Run, *, hosts: str = "", note: str = "") -> None:
        """Take in the state of now, and draw it."""
        now = time.monotonic()
        ended = run.counts["done"] + run.counts["failed"]
        self._seen.append((now, ended))
        while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        if self.live:
            self._last_drawn = now
            words = plain_line(run, self._rate(), hosts=hosts, note=note)
            self._draw(line(run, words, width=_width()))
        else:
            self._gap = min(LONGEST_S, self._gap * 2)
            self._next_line = now + self._gap
            words = plain_line(run, self._rate(), hosts=hosts, note=note)
            streams.say(words)

    def clear(self) -> None:
        """Take the moving line away, before something else is printed."""
        if self._drawn:
            streams.say("\r\x1b[K", end="")
            self._drawn = False

    def _draw(self, text: str) -> None:
        streams.say(f"\r{text}\x1b[K", end="")
        self._drawn = True

    def _rate(self) -> float:
        """Tasks ended per second, lately; 0 when that cannot be told."""
        if len(self._seen) < 2:
            return 0.0
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return (after - before) / (last - first) if last > first else 0.0


def line(run: Run, words: str, *, width: int) -> str:
    """Write the moving line; never wider than the terminal."""
    room = width - len(words) - 4
    if room < 10:
        return words[: width - 1]
    ended = run.counts["done"] + run.counts["failed"]
    length = min(room, 30)
    filled = length * ended // max(1, run.tasks)
    return f"[{'=' * filled}{' ' * (length - filled)}] {words}"


def plain_line(run: Run, rate: float, *, hosts: str = "", note: str = "") -> str:
    """Write how the run stands in words: states, rate, time left as a range, hosts."""
    counts = run.counts
    parts = [f"{run.name}: {counts['done']}/{run.tasks} done"]
    parts += [
        f"{counts[state]} {word}"
        for state, word in (("failed", "failed"), ("active", "running"), ("cancelled", "cancelled"))
        if counts[state]
    ]
    left = counts["waiting"] + counts["active"]
    if run.state != "open":
        parts.append(run.state + (f": {run.reason}" if run.reason else ""))
    elif rate > 0 and left:
        parts.append(f"{rate:.3g}/s")
        parts.append(f"{_range(left, rate)} left")
    parts += [text for text in (hosts, note) if text]
    return ", ".join(parts)


def _range(left: int, rate: float) -> str:
    """Guess the time left; the fewer tasks are behind the guess, the wider it is."""
    middle = left / rate
    spread = 0.15 if rate * WINDOW_S > 50 else 0.4
    low, high = show_seconds(middle * (1 - spread)), show_seconds(middle * (1 + spread))
    return low if low == high else f"{low} to {high}"


def _width() -> int:
    return shutil.get_terminal_size((80, 24)).columns
