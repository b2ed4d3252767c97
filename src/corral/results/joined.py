"""The rule ``table``: values of every result, beside its parameters and how it came about.

As CSV or JSON Lines, as Parquet with the extra ``corral[table]``, or as means per group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple, Protocol

import msgspec

from corral.errors import CorralError, UsageError
from corral.results import values
from corral.results.sheet import Csv, Sheet, free
from corral.results.stats import Sample
from corral.results.table import BEFORE, NO_VALUES, megabytes, yielding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from corral.model.task import Result
    from corral.results.content import Content
    from corral.results.source import Source

Format = Literal["csv", "jsonl", "parquet"]
FORMATS: tuple[Format, ...] = ("csv", "jsonl", "parquet")
ENDINGS: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}

AFTER = ("host", "attempt", "seconds", "cpu_s", "peak_mb", "code")
CODE_LENGTH = 12  # characters of the digest that tell two programs apart


class Row(NamedTuple):
    """A row, as texts; None = there is no such thing."""

    before: tuple[str, ...]  # task, parameters, rep
    values: Mapping[str, str]
    after: tuple[str | None, ...]


class Finder:
    """Finds the values of a result."""

    def __init__(self, content: Content, form: str) -> None:
        self._content = content
        self._form = form
        self._parse = values.reader(form)

    def rows(self, result: Result) -> list[values.Values]:
        """Give one row or several, none if there are no values.

        What a task wrote to ``CORRAL_RESULT`` goes before what is found elsewhere.
        """
        said = said_by(result) if result.told else None
        if said and not self._form:
            return [said]
        found = self._parse(self._whole(result))
        if not said:
            return found
        return [row | said for row in found] or [said]

    def _whole(self, result: Result) -> bytes:
        captured = self._content.captured(result)
        if not self._content.declared and not captured.sha256:
            return captured.inline  # as nearly all are
        return values.joined(self._content.chunks(result))


def said_by(result: Result) -> values.Values:
    """Read what a task wrote to ``CORRAL_RESULT``: an object of JSON, or ``name=value``."""
    if not result.told:
        return {}
    text = result.told
    found = values.from_json(text) if text.lstrip().startswith("{") else values.pairs(text)
    return found[-1] if found else {}


def values_of(result: Result, finder: Finder | None) -> Mapping[str, str]:
    """Give the values of a task; of several rows the last one, as of several ``k=v``.

    Without a finder only what the task wrote to ``CORRAL_RESULT``.
    """
    if finder is None:
        return said_by(result)
    rows = finder.rows(result)
    return rows[-1] if rows else NO_VALUES


class Table:
    """The rows of all results, made as they are asked for."""

    def __init__(self, source: Source, finder: Finder) -> None:
        self._source = source
        self._finder = finder
        self.before = (*BEFORE, *yielding(source.names, to=(*BEFORE, "rep", *AFTER)), "rep")
        self.tasks = 0  # done
        self.without = 0  # of them, without any value

    def __iter__(self) -> Iterator[Row]:
        for result in self._source.results():
            if result.state != "done":
                continue
            found = self._finder.rows(result)
            self.tasks += 1
            self.without += not found
            before = (str(result.number), *result.values, str(result.rep))
            after = self._after(result)
            for one in found or [{}]:
                yield Row(before, one, after)

    def _after(self, result: Result) -> tuple[str | None, ...]:
        return (
            result.host,
            str(result.attempt),
            None if result.seconds is None else f"{result.seconds:.3f}",
            None if result.cpu_s is None else f"{result.cpu_s:.3f}",
            megabytes(result.peak_kb),
            self._source.code[:CODE_LENGTH],
        )


def write_csv(table: Table, out: BinaryIO, folder: Path | None) -> None:
    """Write a CSV file; ``folder`` is where its rows may lie meanwhile."""
    sheet = Sheet(out, table.before, AFTER, folder=folder)
    try:
        for row in table:
            sheet.add(*row)
        sheet.finish()
    finally:
        sheet.close()


def write_json_lines(table: Table, out: BinaryIO, folder: Path | None) -> None:
    """Write an object a row; a number is written with the digits that it came with."""
    del folder
    columns = Columns(table.before)
    encode = msgspec.json.encode
    for row in table:
        found: dict[str, object] = {}
        for name, text in columns.pairs(row):
            if text is not None:
                found[name] = (
                    msgspec.Raw(text.encode()) if values.is_plain_number(text) else _typed(text)
                )
        out.write(encode(found) + b"\n")


def write_parquet(table: Table, out: BinaryIO, folder: Path | None) -> None:
    """Write a Parquet file: whole numbers, numbers, truths, else texts, as all of a column allow.

    Raises:
        CorralError: The extra is not installed.
    """
    del folder
    polars = _polars()
    columns = Columns(table.before)
    found: dict[str, list[str | None]] = {}
    count = 0
    for row in table:
        for name, text in columns.pairs(row):
            column = found.setdefault(name, [])
            column.extend([None] * (count - len(column)))
            column.append(text)
        count += 1
    last = [name for name in (*table.before, *columns.names, *AFTER) if name in found]
    series: list[Any] = []
    for name in last:
        texts = found.pop(name)
        texts.extend([None] * (count - len(texts)))
        series.append(polars.Series(name, *_as_column(texts, polars), strict=True))
    polars.DataFrame(series).write_parquet(out)


def write_groups(table: Table, out: BinaryIO, group: Sequence[str]) -> None:
    """Write a row per group: how many numbers of each value, their mean, deviation, 95 % interval.

    Raises:
        UsageError: There is no column of that name.
    """
    columns = Columns(table.before)
    groups: dict[tuple[str, ...], dict[str, Sample]] = {}
    fixed = {name: index for index, name in enumerate((*table.before, *AFTER))}
    missing = set(group) - fixed.keys()
    for row in table:
        cells = (*row.before, *row.after)
        columns.learn(row)
        found = {columns.of[name]: text for name, text in row.values.items()}
        missing -= found.keys()
        key = tuple(
            (cells[fixed[name]] if name in fixed else found.get(name)) or "" for name in group
        )
        samples = groups.get(key)
        if samples is None:
            samples = groups[key] = {}
        for name, text in found.items():
            value = values.number(text)
            if value is not None and name not in group:
                if name not in samples:
                    samples[name] = Sample()
                samples[name].add(value)
    if missing:
        raise UsageError(
            f"--group {', '.join(sorted(missing))}: there is no such column",
            hint=f"one of: {', '.join((*table.before, *columns.names, *AFTER))}",
        )
    numeric = [
        name
        for name in columns.names
        if name not in group and any(name in samples for samples in groups.values())
    ]
    heads = [f"{name}_{what}" for name in numeric for what in ("n", "mean", "sd", "low", "high")]
    rows = Csv(out, (*group, *heads))
    for key, samples in groups.items():
        cells_of = (_summary(samples.get(name)) for name in numeric)
        rows.row((*key, *(cell for cells in cells_of for cell in cells)))


class Columns:
    """Names the columns of values beside the others, as they appear."""

    def __init__(self, before: Sequence[str]) -> None:
        self._before = before
        self.of: dict[str, str] = {}  # as the task wrote it -> the column's

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.of.values())

    def learn(self, row: Row) -> None:
        """Name the columns of values that were not seen before."""
        for name in row.values:
            if name not in self.of:
                self.of[name] = free(name, {*self._before, *AFTER, *self.of.values()})

    def pairs(self, row: Row) -> Iterator[tuple[str, str | None]]:
        """Give a row as (column, text)."""
        self.learn(row)
        yield from zip(self._before, row.before, strict=True)
        for name, text in row.values.items():
            yield self.of[name], text
        yield from zip(AFTER, row.after, strict=True)


class Write(Protocol):
    """Writes a table in some format."""

    def __call__(self, table: Table, out: BinaryIO, folder: Path | None) -> None: ...


WRITERS: dict[Format, Write] = {
    "csv": write_csv,
    "jsonl": write_json_lines,
    "parquet": write_parquet,
}


def _summary(sample: Sample | None) -> tuple[str, ...]:
    if sample is None:
        return ("0", "", "", "", "")
    interval = sample.interval
    return (
        str(sample.count),
        _short(sample.mean),
        _short(sample.deviation),
        _short(None if interval is None else interval.low),
        _short(None if interval is None else interval.high),
    )


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


def _typed(text: str) -> object:
    """Give a text that is no number as JSON would have it."""
    if text in ("true", "false"):
        return text == "true"
    return _clean(text)


def _clean(text: str) -> str:
    """Give a text that is UTF-8: a value may hold bytes that are none."""
    return (
        text if text.isascii() else text.encode("utf-8", "surrogateescape").decode(errors="replace")
    )


def _as_column(texts: list[str | None], polars: Any) -> tuple[list[Any], Any]:
    """Give a column's values and type."""
    present = [text for text in texts if text is not None]
    convert: list[tuple[Callable[[str], Any], Any]] = [
        (_whole, polars.Int64), (_real, polars.Float64), (_truth, polars.Boolean),
    ]  # fmt: skip
    for read, kind in convert:
        if present and all(read(text) is not None for text in present):
            return [None if text is None else read(text) for text in texts], kind
    return [None if text is None else _clean(text) for text in texts], polars.String


def _whole(text: str) -> int | None:
    plain = values.is_plain_number(text) and text.lstrip("-").isdigit()
    return int(text) if plain and abs(int(text)) < 2**63 else None


def _real(text: str) -> float | None:
    if values.is_plain_number(text) or text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        return float(text)
    return None


def _truth(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text)


def _polars() -> Any:
    try:
        import polars
    except ImportError as error:
        raise CorralError(
            "Parquet needs polars, which is not installed", hint="pip install 'corral[table]'"
        ) from error
    return polars
