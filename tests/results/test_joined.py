"""The rule table: values beside parameters and circumstances, in each format, and per group."""

from __future__ import annotations

import csv
import io
import json
import random
import statistics
import sys
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import CorralError, UsageError
from corral.results import gather, joined, rules
from corral.results.gather import Wish
from corral.results.stats import Sample, student_t
from tests.results.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from corral.model.task import Result
    from corral.results.joined import Format


def table(world: World, rule: str = "table", *, form: Format = "csv", group: str = "") -> bytes:
    out = io.BytesIO()
    columns = tuple(group.split(",")) if group else ()
    gather.into_stream(world, rules.read(rule), out, Wish(format=form, group=columns))
    return out.getvalue()


@pytest.fixture
def sweep(world: World) -> World:
    world.names = ("T", "L")
    world.task("1.0", "016", rep=2, stdout=b"E=2.50 ok=true\n", attempt=3)
    world.task("1.5", "016", state="failed", stdout=b"E=9\n")
    world.task("2.0", "016", stdout=b"M=-1 ok=true\n", host="n2", cpu_s=None)
    return world


def test_a_row_has_parameters_values_and_circumstances(sweep: World) -> None:
    assert table(sweep).decode().splitlines() == [
        "task,T,L,rep,E,ok,M,host,attempt,seconds,cpu_s,peak_mb,code",
        "1,1.0,016,2,2.50,true,,gpu07,3,1.500,1.250,2.0,c0dec0dec0de",
        "3,2.0,016,1,,true,-1,n2,1,1.500,,2.0,c0dec0dec0de",
    ]


def test_json_lines_have_numbers_as_numbers_with_their_digits(sweep: World) -> None:
    lines = table(sweep, form="jsonl").decode().splitlines()
    assert lines[0] == (
        '{"task":1,"T":1.0,"L":"016","rep":2,"E":2.50,"ok":true,"host":"gpu07","attempt":3,'
        '"seconds":1.500,"cpu_s":1.250,"peak_mb":2.0,"code":"c0dec0dec0de"}'
    )
    assert json.loads(lines[1])["M"] == -1
    assert "cpu_s" not in json.loads(lines[1])


def test_parquet_has_types(sweep: World) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.read_parquet(io.BytesIO(table(sweep, form="parquet")))
    assert frame.columns == [
        "task", "T", "L", "rep", "E", "ok", "M", "host", "attempt", "seconds", "cpu_s", "peak_mb",
        "code",
    ]  # fmt: skip
    assert frame["T"].to_list() == [1.0, 2.0]
    assert frame["L"].to_list() == ["016", "016"]
    assert frame["E"].to_list() == [2.5, None]
    assert frame["ok"].to_list() == [True, True]
    assert frame["M"].dtype == polars.Int64


def test_without_polars_the_extra_is_named(sweep: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(CorralError) as caught:
        table(sweep, form="parquet")
    assert caught.value.hint == "pip install 'corral[table]'"


def test_several_rows_of_a_task_are_several_rows(world: World) -> None:
    world.names = ("T",)
    world.task("1", stdout=b"t,E\n0,5\n1,6\n")
    rows = list(csv.DictReader(io.StringIO(table(world).decode())))
    assert [(row["task"], row["T"], row["t"], row["E"]) for row in rows] == [
        ("1", "1", "0", "5"),
        ("1", "1", "1", "6"),
    ]


def test_values_come_from_declared_files_too(world: World) -> None:
    world.declares("out.json")
    world.task(stdout=b"talk", files={"out.json": b'{"E": 1}'})
    out = io.BytesIO()
    gather.into_stream(world, rules.read("table"), out, Wish(of="out.json"))
    assert out.getvalue().splitlines()[1].startswith(b"1,1,1,gpu07")


def test_what_a_task_said_goes_before_what_it_printed(world: World) -> None:
    world.task(stdout=b"E=1 M=2", told='{"E": 7}')
    world.task(stdout=b"E=1 M=2", told="E=8\nM=9")
    rows = list(csv.DictReader(io.StringIO(table(world).decode())))
    assert [(row["E"], row["M"]) for row in rows] == [("7", ""), ("8", "9")]
    rows = list(csv.DictReader(io.StringIO(table(world, "table=kv").decode())))
    assert [(row["E"], row["M"]) for row in rows] == [("7", "2"), ("8", "9")]


def test_a_value_gives_way_to_a_parameter_and_to_our_columns(world: World) -> None:
    world.names = ("E",)
    world.task("1", stdout=b"E=2 host=h seconds=3 E_=4")
    header, row = table(world).decode().splitlines()
    assert header.startswith("task,E,rep,E_,host_,seconds_,E__,host")
    assert row.startswith("1,1,1,2,h,3,4,gpu07")


def test_how_many_gave_no_value_is_told(world: World) -> None:
    world.task(stdout=b"E=1")
    world.task(stdout=b"nothing")
    made = gather.into_stream(world, rules.read("table"), io.BytesIO())
    assert (made.results, made.without) == (2, 1)


def test_values_may_be_long_and_hostile(world: World) -> None:
    long = "x" * 300_000
    world.task(state="active")
    world.names = ("a",)
    world.tasks.clear()
    world.task("cr\rhere", stdout=json.dumps({"a b": 'q"\n,'}).encode())
    world.task("\udcff", stdout=json.dumps({"long": long}).encode())
    rows = list(
        csv.DictReader(io.StringIO(table(world).decode(errors="surrogateescape"), newline=""))
    )
    assert [(row["a"], row["a b"], row["long"]) for row in rows] == [
        ("cr\rhere", 'q"\n,', ""),
        ("\udcff", "", long),
    ]
    assert json.loads(table(world, form="jsonl").splitlines()[1])["a"] == "\ufffd"


# ------------------------------------------------------------------- groups


def test_each_group_has_its_mean_deviation_and_interval(world: World) -> None:
    world.names = ("T", "L")
    numbers = {"1": [2.0, 4.0, 9.0], "2": [5.0]}
    for T, found in numbers.items():
        for value in found:
            world.task(T, "16", stdout=f"E={value} name=x\n".encode())
    rows = list(csv.DictReader(io.StringIO(table(world, group="T,L").decode())))
    assert list(rows[0]) == ["T", "L", "E_n", "E_mean", "E_sd", "E_low", "E_high"]
    first, second = rows
    assert (first["T"], first["L"], first["E_n"], first["E_mean"]) == ("1", "16", "3", "5")
    assert float(first["E_sd"]) == pytest.approx(statistics.stdev(numbers["1"]))
    half = 4.302652729749 * statistics.stdev(numbers["1"]) / 3**0.5
    assert float(first["E_low"]) == pytest.approx(5 - half)
    assert float(first["E_high"]) == pytest.approx(5 + half)
    assert tuple(second.values()) == ("2", "16", "1", "5", "", "", "")


def test_what_a_group_lacks_is_counted(world: World) -> None:
    world.names = ("T",)
    world.task("1", stdout=b"E=1")
    world.task("1", stdout=b"M=1")
    world.task("2", stdout=b"M=1")
    assert table(world, group="T").decode().splitlines()[1:] == [
        "1,1,1,,,,1,1,,,",
        "2,0,,,,,1,1,,,",
    ]


def test_groups_may_be_of_a_value_or_of_the_host(world: World) -> None:
    world.task(stdout=b"phase=hot E=1")
    world.task(stdout=b"phase=hot E=3")
    assert table(world, group="phase,host").decode().splitlines()[1].startswith("hot,gpu07,2,2,")


def test_an_unknown_column_is_told_with_those_there_are(world: World) -> None:
    world.names = ("T",)
    world.task("1", stdout=b"E=1")
    with pytest.raises(UsageError, match="--group X") as caught:
        table(world, group="T,X")
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("one of: task, T, rep, E, host")


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50), st.floats(-1e9, 1e9))
def test_a_sample_agrees_with_the_statistics_module(numbers: list[float], shift: float) -> None:
    shifted = [number + shift for number in numbers]
    sample = Sample()
    for number in shifted:
        sample.add(number)
    assert sample.mean == pytest.approx(statistics.fmean(shifted), rel=1e-9, abs=1e-6)
    assert sample.deviation == pytest.approx(statistics.stdev(shifted), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("freedom", "expected"),  # National Institute of Standards and Technology, e-Handbook 1.3.6.7.2
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (9, 2.262), (10, 2.228),
     (30, 2.042), (100, 1.984), (10**9, 1.960)],
)  # fmt: skip
def test_the_interval_is_students(freedom: int, expected: float) -> None:
    assert student_t(freedom) == pytest.approx(expected, abs=5e-4)


def test_quantiles_fall_without_a_jump() -> None:
    found = [student_t(freedom) for freedom in (*range(1, 60), 1999, 2000, 2001, 2002, 10**6)]
    assert found == sorted(found, reverse=True)
    assert student_t(2000) - student_t(2001) == pytest.approx(
        student_t(1999) - student_t(2000), rel=1e-3
    )


def test_ninety_five_of_a_hundred_intervals_hold_the_mean() -> None:
    chance = random.Random(5)
    held = 0
    for _ in range(2_000):
        sample = Sample()
        for _ in range(4):
            sample.add(chance.gauss(7, 3))
        interval = sample.interval
        assert interval is not None
        held += interval.low <= 7 <= interval.high
    assert 1_870 <= held <= 1_930


def test_memory_of_groups_does_not_grow_with_the_rows(world: World) -> None:
    class Many(World):
        count = 0

        def results(self) -> Iterator[Result]:
            for number in range(self.count):
                yield self.task(str(number % 3), stdout=b"E=%d" % number)
                self.tasks.clear()

    peaks = []
    for count in (1_000, 10_000):
        many = Many(world.blobs, names=("T",))
        many.count = count
        tracemalloc.start()
        table(many, group="T")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 50_000


def test_every_format_has_its_writer() -> None:
    assert set(joined.WRITERS) == set(joined.FORMATS)
