"""Which values an axis has, which row is which task."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import UsageError
from corral.model import texts
from corral.model.command import Listed, Range, shortest
from corral.work import axes, identity
from corral.work.sweep import Sweep
from tests.grammar.test_laws import Empty

if TYPE_CHECKING:
    from decimal import Decimal

SMALL = st.decimals(min_value=-(10**6), max_value=10**6, places=3)


def values(text: str) -> list[str]:
    axis = axes.parse("x", text, Empty(), [])
    return [axis.value(index) for index in range(len(axis))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1..5", "1 2 3 4 5"),
        ("1..3:.5", "1 1.5 2 2.5 3"),
        ("0..1:.3", "0 0.3 0.6 0.9"),
        ("3..1", "3 2 1"),
        ("3..1:1", "3 2 1"),
        ("3..1:-1", "3 2 1"),
        ("1..1", "1"),
        ("-1..1", "-1 0 1"),
        ("-.5..0:.25", "-0.5 -0.25 0"),
        ("1..10..4", "1 5 9"),
        ("08..10", "08 09 10"),
        ("-01..1", "-01 000 001"),
        ("1e3..3e3:1e3", "1000 2000 3000"),
        ("1e-7..3e-7:1e-7", "0.0000001 0.0000002 0.0000003"),
        ("a..e:2", "a c e"),
        ("c..a", "c b a"),
        ("1e-4..1:*10", "0.0001 0.001 0.01 0.1 1"),
        ("1..1e-3:*.1", "1 0.1 0.01 0.001"),
        ("81..1:*3", "81 27 9 3 1"),
        ("1..100:*3", "1 3 9 27 81"),
        ("100..1:*3", "100 33.3333333333 11.1111111111 3.7037037037 1.23456790123"),
        ("1..1.4:*1.1", "1 1.1 1.21 1.331"),
    ],
)
def test_a_range_has_these_values(text: str, expected: str) -> None:
    assert values(text) == expected.split()


@pytest.mark.parametrize(
    "text",
    ["1..5:0", "1..5:-1", "5..", "..5", "1...5", "1..5:x", "1..5:*0", "1..5:*1", "1..5:*.5",
     "0..5:*2", "-1..5:*2", "a..5", "a..E", "1..1e30", "0..1e99", "1..9:1e-99", "1..1e99999999:*2"],
)  # fmt: skip
def test_what_is_no_range_is_refused_with_a_way_out(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        values(text)
    assert raised.value.hint


@given(SMALL, SMALL, SMALL.filter(lambda step: step > 0))
def test_a_range_is_exact_decimal_arithmetic(first: Decimal, last: Decimal, step: Decimal) -> None:
    last = min(max(last, first - 50 * step), first + 50 * step)
    found = values(f"{first:f}..{last:f}:{step:f}")
    direction = step if last >= first else -step
    assert found == [
        shortest(first + n * direction) for n in range(int(abs(last - first) / step) + 1)
    ]


def test_a_billion_values_cost_nothing_and_the_last_is_there() -> None:
    axis = axes.parse("x", "1..1e9", Empty(), [])
    assert isinstance(axis, Range)
    assert (len(axis), axis.value(999_999_999)) == (10**9, "1000000000")


@given(st.lists(st.lists(st.sampled_from("ab"), min_size=1, max_size=4), min_size=1, max_size=3))
def test_k_counts_equal_settings_without_holes(lists: list[list[str]]) -> None:
    """So one more equal value adds tasks and renames none."""
    listed = [
        Listed(name=f"x{n}", text="", kind="list", written=texts.written(v))
        for n, v in enumerate(lists)
    ]
    found: dict[tuple[str, ...], list[int]] = {}
    for row in Sweep(listed, 1):
        found.setdefault(row.values, []).append(row.k)
    for setting, ks in found.items():
        assert sorted(ks) == list(range(len(ks))), setting


@given(
    st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3), max_size=3),
    st.integers(1, 3),
    st.data(),
)
def test_any_part_of_a_sweep_is_the_same_part_of_the_whole(
    lists: list[list[str]], reps: int, data: st.DataObject
) -> None:
    listed = [
        Listed(name=f"x{n}", text="", kind="list", written=texts.written(v))
        for n, v in enumerate(lists)
    ]
    sweep = Sweep(listed, reps)
    start = data.draw(st.integers(0, len(sweep)))
    stop = data.draw(st.integers(0, len(sweep)))
    assert list(sweep.rows(start, stop)) == list(sweep)[start:stop]


def test_rep_turns_fastest_and_the_first_axis_slowest() -> None:
    listed = [
        Listed(name=name, text="", kind="list", written=texts.written(("1", "2"))) for name in "ab"
    ]
    rows = [(*row.values, row.rep) for row in Sweep(listed, 2)]
    assert rows == sorted(rows)
    assert Counter(rows).most_common(1)[0][1] == 1


@given(st.permutations(["a", "b", "c"]))
def test_the_order_of_axes_does_not_make_another_task(names: list[str]) -> None:
    texts = {"a": "1", "b": "2", "c": "3"}
    setting = identity.settings(names, [texts[name] for name in names])
    assert setting == identity.settings(sorted(names), ["1", "2", "3"])
