"""One HTML file about a run that needs nothing else: who did what, what failed and why, timings, results.

Made from the store alone, so it works when no master and no host is there any more. Attempts are read
twice (when, then who), tasks once; what is kept of them is sums.
"""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, BinaryIO

from corral.results import html, rules, values
from corral.results.content import Content
from corral.results.html import Bar, Lane
from corral.results.joined import Finder, values_of
from corral.results.stats import Sample
from corral.results.table import exit_code, last_lines, megabytes
from corral.units import show_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from corral.model.attempt import Attempt
    from corral.model.event import Event
    from corral.model.run import Run
    from corral.model.task import Result
    from corral.results.source import Source

ROWS = 500  # of the table of results; all of them stand in results.csv
REASONS = 20  # of failures, the commonest first
TASKS = 12  # that a reason names
HOSTS = 40  # that are drawn
BINS = 120  # of the time axis
TALL = 90  # the drawing that is no lane among others
OCTAVE = 2  # bars that a doubling of seconds is cut into


def write(
    out: BinaryIO, *, run: Run, source: Source, events: Sequence[Event], now: datetime
) -> None:
    """Write the page."""
    tasks = _Tasks(source)
    for result in source.results():
        tasks.add(result)
    attempts = _Attempts(now)
    for attempt in source.attempts():
        attempts.add(attempt)
    attempts.begin_placing()
    for attempt in source.attempts():
        attempts.place(attempt)
    parts = [
        html.HEAD.format(title=html.text(f"{run.name}: report")),
        _head(run, source, now),
        _tiles(run, tasks, attempts),
        _timeline(attempts),
        _hosts(attempts),
        _durations(tasks),
        _failures(tasks),
        _groups(tasks),
        _results(tasks, run),
        _events(events),
        html.TAIL,
    ]
    out.writelines(part.encode("utf-8", "replace") for part in parts)


# ------------------------------------------------------------------- what is remembered


class _Failure:
    """Tasks that failed for one reason."""

    def __init__(self, example: str) -> None:
        self.count = 0
        self.tasks: list[int] = []
        self.hosts: Counter[str] = Counter()
        self.example = example  # the end of the first one's stderr


class _Tasks:
    """Sums over all tasks, and the first of them as they are."""

    def __init__(self, source: Source) -> None:
        self._source = source
        rule = rules.read(source.rule)
        self._finder = Finder(Content(source), rule.form) if rule.kind == "table" else None
        self.count = 0
        self.seconds = Sample()
        self.octaves: Counter[int] = Counter()  # of seconds, in steps of 1 / OCTAVE
        self.failures: dict[str, _Failure] = {}
        self.rows: list[tuple[Result, dict[str, str]]] = []
        self.columns: dict[str, None] = {}  # of values, in the order in which they came
        self.grouped: dict[str, None] = {}  # of them, those that are numbers in some group
        self.groups: dict[tuple[str, ...], dict[str, Sample]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return self._source.names

    @property
    def reps(self) -> int:
        return self._source.reps

    def add(self, result: Result) -> None:
        self.count += 1
        found: dict[str, str] = {}
        if result.state == "done":
            found = dict(values_of(result, self._finder))
            self._measure(result)
            self._group(result, found)
        elif result.state in ("failed", "parked"):
            self._fail(result)
        if len(self.rows) < ROWS:
            self.rows.append((result, found))
            self.columns |= dict.fromkeys(found)

    def _measure(self, result: Result) -> None:
        if result.seconds is not None:
            self.seconds.add(result.seconds)
            octave = math.floor(OCTAVE * math.log2(max(result.seconds, 0.001)))
            self.octaves[octave] += 1

    def _group(self, result: Result, found: dict[str, str]) -> None:
        if self._source.reps < 2 or (result.values not in self.groups and len(self.groups) >= ROWS):
            return
        samples = self.groups.setdefault(result.values, {})
        for name, value in found.items():
            if (number := values.number(value)) is not None:
                samples.setdefault(name, Sample()).add(number)
                self.grouped[name] = None

    def _fail(self, result: Result) -> None:
        reason = result.reason or result.state
        failure = self.failures.get(reason)
        if failure is None:
            failure = _Failure(last_lines(self._source, result.stderr))
            self.failures[reason] = failure
        failure.count += 1
        failure.hosts[result.host] += 1
        if len(failure.tasks) < TASKS:
            failure.tasks.append(result.number)


class _Host:
    """What a host did."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.seconds = 0.0
        self.peak_kb = 0
        self.slots: set[int] = set()
        self.busy: list[float] = []  # seconds of work in each bin of the time axis
        self.bad: list[float] = []  # of them, on what came to nothing


class _Attempts:
    """Sums over all attempts, by host, and by time: `add` all, then `place` all."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self.count = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.hosts: dict[str, _Host] = {}

    @property
    def span_s(self) -> float:
        if self.first is None or self.last is None:
            return 0.0
        return max(0.001, (self.last - self.first).total_seconds())

    @property
    def seconds(self) -> float:
        return sum(host.seconds for host in self.hosts.values())

    def add(self, attempt: Attempt) -> None:
        self.count += 1
        host = self.hosts.setdefault(attempt.host, _Host())
        host.outcomes[attempt.outcome or attempt.state] += 1
        host.seconds += attempt.seconds or 0.0
        host.peak_kb = max(host.peak_kb, attempt.peak_kb or 0)
        if attempt.slot is not None:
            host.slots.add(attempt.slot)
        if attempt.started is not None:
            end = self._end(attempt, attempt.started)
            self.first = min(self.first or attempt.started, attempt.started)
            self.last = max(self.last or end, end)

    def begin_placing(self) -> None:
        for host in self.hosts.values():
            host.busy, host.bad = [0.0] * BINS, [0.0] * BINS

    def place(self, attempt: Attempt) -> None:
        """Spread an attempt's seconds over the bins in which it ran."""
        if attempt.started is None or self.first is None:
            return
        host = self.hosts[attempt.host]
        width = self.span_s / BINS
        begin = (attempt.started - self.first).total_seconds()
        end = (self._end(attempt, attempt.started) - self.first).total_seconds()
        came_to_nothing = attempt.outcome not in (None, "accepted", "superseded")
        for index in range(int(begin / width), BINS):
            share = min(end, (index + 1) * width) - max(begin, index * width)
            if share <= 0:
                return
            host.busy[index] += share
            host.bad[index] += share * came_to_nothing

    def _end(self, attempt: Attempt, started: datetime) -> datetime:
        if attempt.seconds is not None:
            return started + timedelta(seconds=attempt.seconds)
        return max(started, attempt.ended or self._now)


# ------------------------------------------------------------------- what is shown


def _head(run: Run, source: Source, now: datetime) -> str:
    code = f"; code <code>{html.text(source.code[:12])}</code>" if source.code else ""
    why = f" ({html.text(run.reason)})" if run.reason else ""
    return (
        f"<h1>{html.text(run.name)}</h1>\n"
        f"<pre>{html.text(' '.join(run.words))}</pre>\n"
        f'<p class="soft">{html.text(run.state)}{why}; in <code>{html.text(run.folder)}</code>{code};'
        f" written {_when(now)}</p>\n"
    )


def _tiles(run: Run, tasks: _Tasks, attempts: _Attempts) -> str:
    tiles = [(_plural(tasks.count, "task"), f"{tasks.count:,}", "")]
    tiles += [
        (state, f"{number:,}", {"done": "good", "failed": "bad", "parked": "bad"}.get(state, ""))
        for state, number in run.counts.items()
        if number
    ]
    tiles.append((_plural(attempts.count, "attempt"), f"{attempts.count:,}", ""))
    tiles.append((_plural(len(attempts.hosts), "host"), f"{len(attempts.hosts):,}", ""))
    if attempts.span_s:
        tiles.append(("from first start to last end", show_seconds(attempts.span_s), ""))
        tiles.append(("of work", show_seconds(attempts.seconds), ""))
    shown = "".join(
        f'<div><b class="{kind}">{html.text(number)}</b>{html.text(name)}</div>'
        for name, number, kind in tiles
    )
    return f'<div class="tiles">{shown}</div>\n'


def _timeline(attempts: _Attempts) -> str:
    if attempts.first is None or attempts.last is None:
        return ""
    named = sorted(attempts.hosts.items())
    lanes = [_lane(name, host, attempts.span_s / BINS) for name, host in named[:HOSTS]]
    left_out = _left_out(len(named) - HOSTS, "hosts", "the table below has them all")
    drawing = html.lanes(
        lanes,
        left=_when(attempts.first),
        right=_when(attempts.last),
        label="How busy each host was, over time",
    )
    return (
        "<h2>Who worked when</h2>\n"
        f'<p class="soft">Height: how many of a host\'s slots were busy. <span class="bad">Red</span>:'
        f" work that came to nothing.{left_out}</p>\n{drawing}"
    )


def _lane(name: str, host: _Host, width_s: float) -> Lane:
    room = width_s * max(1, len(host.slots))
    return Lane(
        name=name,
        bars=tuple(
            Bar(
                at=index / BINS,
                width=1 / BINS,
                height=min(1.0, busy / room),
                bad=bad / busy,
                title=f"{name}: {show_seconds(busy)} of work in {show_seconds(width_s)}",
            )
            for index, (busy, bad) in enumerate(zip(host.busy, host.bad, strict=True))
            if busy > 0
        ),
    )


def _hosts(attempts: _Attempts) -> str:
    if not attempts.hosts:
        return ""
    outcomes = dict.fromkeys(
        outcome for host in attempts.hosts.values() for outcome, _ in sorted(host.outcomes.items())
    )
    heads = ("host", "slots", *outcomes, "work", "peak MB")
    rows = (
        (
            name,
            len(host.slots) or None,
            *(host.outcomes[outcome] or None for outcome in outcomes),
            show_seconds(host.seconds),
            megabytes(host.peak_kb or None),
        )
        for name, host in sorted(attempts.hosts.items())
    )
    numbers = " ".join(("slots", *outcomes, "work"))
    return f"<h2>Who did what</h2>\n{html.table(heads, rows, numbers=numbers)}"


def _durations(tasks: _Tasks) -> str:
    if not tasks.octaves:
        return ""
    low, high = min(tasks.octaves), max(tasks.octaves)
    most = max(tasks.octaves.values())
    count = high - low + 1
    bars = tuple(
        Bar(
            at=(octave - low) / count,
            width=1 / count,
            height=number / most,
            title=f"{number:,} {_plural(number, 'task')} of {_octave(octave)} to {_octave(octave + 1)}",
        )
        for octave, number in sorted(tasks.octaves.items())
    )
    drawing = html.lanes(
        [Lane(name="tasks", bars=bars)],
        left=_octave(low),
        right=_octave(high + 1),
        label="How many tasks took how long; each bar is half a doubling",
        room=TALL,
    )
    deviation = tasks.seconds.deviation
    spread = "" if deviation is None else f", standard deviation {show_seconds(deviation)}"
    return (
        "<h2>How long tasks took</h2>\n"
        f'<p class="soft">Mean {show_seconds(tasks.seconds.mean)}{spread}.'
        f" From left to right seconds double every {OCTAVE} bars.</p>\n{drawing}"
    )


def _failures(tasks: _Tasks) -> str:
    if not tasks.failures:
        return ""
    ranked = sorted(tasks.failures.items(), key=lambda item: -item[1].count)
    parts = ["<h2>What failed, and why</h2>\n"]
    for reason, failure in ranked[:REASONS]:
        more = "" if failure.count == len(failure.tasks) else ", …"
        hosts = ", ".join(f"{host or 'no host'} ({n})" for host, n in failure.hosts.most_common(5))
        numbers = ", ".join(map(str, failure.tasks))
        parts.append(
            f'<p><b class="bad">{failure.count:,} × {html.text(reason)}</b><br>'
            f'<span class="soft">tasks {numbers}{more}; on {html.text(hosts)}</span></p>\n'
        )
        if failure.example:
            parts.append(f"<pre>{html.text(failure.example)}</pre>\n")
    left_out = _left_out(len(ranked) - REASONS, "reasons", "failed.csv has them all")
    return "".join((*parts, f'<p class="soft">{left_out}</p>\n' if left_out else ""))


def _groups(tasks: _Tasks) -> str:
    """Show means over replicates, where there are any."""
    if not tasks.grouped:
        return ""
    whats = ("n", "mean", "±")
    heads = (*tasks.names, *(f"{name} {what}" for name in tasks.grouped for what in whats))
    rows = (
        (*values_, *(cell for name in tasks.grouped for cell in _summary(samples.get(name))))
        for values_, samples in tasks.groups.items()
    )
    return (
        "<h2>Means over replicates</h2>\n"
        '<p class="soft">± is half of Student\'s 95 % interval of the mean.</p>\n'
        f"{html.table(heads, rows)}"
    )


def _summary(sample: Sample | None) -> tuple[str | None, ...]:
    if sample is None:
        return (None, None, None)
    interval = sample.interval
    half = None if interval is None else f"{(interval.high - interval.low) / 2:.3g}"
    return (str(sample.count), f"{sample.mean:.6g}", half)


def _results(tasks: _Tasks, run: Run) -> str:
    columns = tuple(tasks.columns)
    heads = ("task", *tasks.names, *(("rep",) if tasks.reps > 1 else ()), *columns, "state", "exit",
             "seconds", "host", "attempt")  # fmt: skip
    left_out = _left_out(tasks.count - ROWS, "tasks", f"all of them: {run.options.out}/results.csv")
    return (
        "<h2>Results</h2>\n"
        f"{html.table(heads, _rows(tasks, columns), numbers='task seconds exit attempt')}"
        + (f'<p class="soft">{html.text(left_out)}</p>\n' if left_out else "")
    )


def _rows(tasks: _Tasks, columns: Sequence[str]) -> Iterable[Sequence[object]]:
    for result, found in tasks.rows:
        rep = (result.rep,) if tasks.reps > 1 else ()
        seconds = None if result.seconds is None else f"{result.seconds:.3f}"
        yield (
            result.number, *result.values, *rep, *(found.get(name) for name in columns),
            result.state, exit_code(result), seconds, result.host, result.attempt or None,
        )  # fmt: skip


def _events(events: Sequence[Event]) -> str:
    if not events:
        return ""
    rows = (
        (_when(event.at), event.kind, event.host, " ".join(event.tickets[:TASKS]), event.text)
        for event in events
    )
    return (
        f"<h2>What was decided</h2>\n{html.table(('when', 'what', 'host', 'tickets', 'why'), rows)}"
    )


def _left_out(number: int, what: str, where: str) -> str:
    return f" {number:,} more {what}: {where}." if number > 0 else ""


def _plural(number: int, word: str) -> str:
    return word if number == 1 else f"{word}s"


def _octave(octave: int) -> str:
    return show_seconds(2 ** (octave / OCTAVE))


def _when(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
