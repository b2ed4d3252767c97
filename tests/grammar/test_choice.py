"""Which combinations are wanted: --where, --shuffle, --limit, --zip; and what they promise."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import UsageError
from corral.model import texts
from corral.model.command import Choice, Listed, Range
from corral.work import axes
from corral.work.command import parse
from corral.work.shuffle import Permutation
from corral.work.sources import Source, Ways, split
from corral.work.sweep import Row, Sweep
from corral.work.where import Where
from tests.grammar.test_laws import Empty, axes_of

LISTS = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), max_size=3)


def tells(text: str, **values: str) -> bool:
    return Where(text, list(values))(Row(tuple(values.values()), 1, 0))


@given(st.integers(0, 300), st.integers(0, 2**40))
def test_a_shuffle_is_a_permutation(length: int, key: int) -> None:
    order = Permutation(length, key)
    assert sorted(order[index] for index in range(length)) == list(range(length))


def test_a_shuffle_of_a_billion_costs_nothing_and_keys_differ() -> None:
    first = [Permutation(10**9, 1)[index] for index in range(200)]
    other = [Permutation(10**9, 2)[index] for index in range(200)]
    assert len(set(first)) == len(set(other)) == 200
    assert not set(first) & set(other)
    assert 400_000_000 < sum(first) / 200 < 600_000_000


def test_a_shuffled_order_is_the_same_for_ever() -> None:
    assert [Permutation(10, 7)[index] for index in range(10)] == [3, 5, 6, 9, 0, 4, 2, 8, 7, 1]


@pytest.mark.parametrize("length", [2, 3, 5, 10, 100])
def test_every_number_comes_to_every_place(length: int) -> None:
    """A first place that never changes would make --limit no sample at all."""
    firsts = Counter(Permutation(length, key)[0] for key in range(200 * length))
    assert len(firsts) == length
    assert max(firsts.values()) < 3 * 200


@given(LISTS, st.integers(1, 2), st.none() | st.integers(0, 9), st.none() | st.integers(1, 20))
def test_a_choice_is_a_prefix_of_an_order_of_all(
    lists: list[list[str]], reps: int, shuffle: int | None, limit: int | None
) -> None:
    everything = list(Sweep(axes_of(lists), reps))
    ordered = list(Sweep(axes_of(lists), reps, choice=Choice(shuffle=shuffle)))
    chosen = Sweep(axes_of(lists), reps, choice=Choice(shuffle=shuffle, limit=limit))
    assert sorted(ordered) == sorted(everything)
    assert list(chosen) == ordered[: limit or len(ordered)]
    assert len(chosen) == len(list(chosen))
    assert [chosen[index] for index in range(len(chosen))] == list(chosen)


@given(LISTS.filter(bool), st.integers(1, 2), st.none() | st.integers(0, 9), st.integers(1, 20))
def test_an_expression_keeps_the_order_and_comes_before_the_limit(
    lists: list[list[str]], reps: int, shuffle: int | None, limit: int
) -> None:
    ordered = Sweep(axes_of(lists), reps, choice=Choice(shuffle=shuffle))
    wanted = [row for row in ordered if row.values[0] != "b"]
    choice = Choice(where="x0 != 'b'", shuffle=shuffle, limit=limit)
    sweep = Sweep(axes_of(lists), reps, choice=choice)
    assert list(sweep) == wanted[:limit]
    assert len(sweep) == len(wanted[:limit])
    assert list(sweep.rows(1, 3)) == wanted[:limit][1:3]


def test_axes_that_turn_together_are_one_and_k_counts_equal_rows() -> None:
    columns = axes_of([["a", "a", "b"], ["1", "1", "2"]])
    rows = list(Sweep(columns, 1, together=[("x0", "x1")]))
    assert [row.values for row in rows] == [("a", "1"), ("a", "1"), ("b", "2")]
    assert [row.k for row in rows] == [0, 1, 0]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 4)), min_size=1, max_size=4))
def test_counted_values_are_the_values_so_often(counted: list[tuple[str, int]]) -> None:
    values = tuple(value for value, _ in counted)
    short = Listed(
        name="x",
        text="",
        kind="list",
        written=texts.written(values),
        counts=tuple(n for _, n in counted),
    )
    long = Listed(
        name="x",
        text="",
        kind="list",
        written=texts.written(v for v, n in counted for _ in range(n)),
    )
    assert list(Sweep([short], 2)) == list(Sweep([long], 2))


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("T*L < 100", {"T": "9.5", "L": "10"}, True),
        ("T*L < 100", {"T": "10", "L": "10"}, False),
        ("1 < T <= 3", {"T": "3"}, True),
        ("T == 0.3", {"T": "0.30"}, True),
        ("T + 0.1 == 0.4", {"T": "0.3"}, True),
        ("x == 'a' or not (x in ('b', 'c'))", {"x": "b"}, False),
        ("'deep' in path", {"path": "a/deep/b"}, True),
        ("x not in (1, 2)", {"x": "3"}, True),
        ("x != 1", {"x": "a"}, True),
        ("-7 // 2 == x and -7 % 2 == 1", {"x": "-4"}, True),
        ("abs(x) == 2 and max(x, 1, 5) == 5 and min(x, 0) == -2", {"x": "-2"}, True),
        ("int(x) == 1 and round(x) == 2 and len(y) == 3", {"x": "1.7", "y": "abc"}, True),
        ("x ** 2 == 2.25", {"x": "1.5"}, True),
        ("x == '01'", {"x": "01"}, False),  # it reads as a number
        ("rep == 1", {}, True),
        ("True", {}, True),
        (" x == 1 ", {"x": "1"}, True),
    ],
)
def test_an_expression_says(text: str, values: dict[str, str], expected: bool) -> None:
    assert tells(text, **values) is expected


@pytest.mark.parametrize(
    "text",
    ["", "x <", "y == 1", "open(x)", "x.real", "x[0]", "[v for v in x]", "lambda: x", "x if x else 1",
     "f'{x}'", "(x := 1)", "x is 1", "abs()", "max(1)", "abs(x, y=1)", "b'a' == x", "1j", "...",
     "x @ x", "x & 1", "~x", "__import__('os')", "x" * 20_000, "-" * 150 + "x", "-" * 9000 + "x"],
)  # fmt: skip
def test_what_is_no_expression_over_the_parameters_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        Where(text, ["x"])
    assert raised.value.hint


@pytest.mark.parametrize(
    "text", ["x < 1", "x + 1 == 2", "1 / n == 1", "n ** n ** n ** n > 1", "len(n) == 1", "n in 1"]
)
def test_what_cannot_be_told_is_an_error_that_names_the_values(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        Where(text, ["x", "n"])(Row(("a", "0" if "/" in text else "99"), 1, 0))
    assert "x='a'" in raised.value.message


def test_a_sweep_of_a_billion_with_a_limit_has_no_list_behind_it() -> None:
    axis = axes.parse("n", "1..1e9", Empty(), [])
    assert isinstance(axis, Range)
    sweep = Sweep([axis], 1, choice=Choice(where="n % 1000 == 0", limit=3))
    assert [row.values[0] for row in sweep] == ["1000", "2000", "3000"]


def test_sources_are_parted_from_the_command() -> None:
    words, sources = split(["x", ":::", "a", ":::+", "b", "::::", "f", "g"])
    assert words == ("x",)
    assert sources == (
        Source(values=("a",)),
        Source(values=("b",), linked=True),
        Source(file="f"),
        Source(file="g"),
    )


def test_columns_of_a_table_stand_side_by_side_with_other_axes() -> None:
    class Table(Empty):
        def read(self, path: str) -> bytes:
            assert path == "t.csv"
            return b"a,b\n1,2\n3,4\n"

    command = parse(
        ["x {a} {b} {c}"], folder=Table(), declared={"c": "1..2"}, ways=Ways(params=("t.csv",))
    ).command
    rows = [dict(zip(command.names, row.values, strict=True)) for row in Sweep.of(command)]
    assert [(row["a"], row["b"], row["c"]) for row in rows] == [
        ("1", "2", "1"), ("3", "4", "1"), ("1", "2", "2"), ("3", "4", "2"),
    ]  # fmt: skip
