"""Values in what tasks wrote: each form, what is mistaken for none, and no digit lost."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import UsageError
from corral.results import values

ANY: list[Any] = [
    pytest.param("E=1.50", [{"E": "1.50"}], id="a pair"),
    pytest.param("E = -1e-3, M=2;ok=yes\n", [{"E": "-1e-3", "M": "2", "ok": "yes"}], id="pairs"),
    pytest.param("step=1 E=3\nstep=2 E=4\n", [{"step": "2", "E": "4"}], id="the later one counts"),
    pytest.param("name=\"two words\" b='x y'", [{"name": "two words", "b": "x y"}], id="quotes"),
    pytest.param("if a == b: x != 3\n7", [{"value": "7"}], id="comparisons are no pairs"),
    pytest.param('{"E": 1.50, "n": 3}', [{"E": "1.50", "n": "3"}], id="json"),
    pytest.param(
        '{"a": {"b": 1, "c": {"d": true}}, "e": null, "f": [1, 2]}',
        [{"a.b": "1", "a.c.d": "true", "f": "[1, 2]"}],
        id="json inside json",
    ),
    pytest.param('{"E": NaN, "M": 0.10}', [{"E": "NaN", "M": "0.10"}], id="json with NaN"),
    pytest.param('[{"E": 1}, {"E": 2}]', [{"E": "1"}, {"E": "2"}], id="a list of objects"),
    pytest.param('{"E": 1}\n{"E": 2}\n', [{"E": "1"}, {"E": "2"}], id="JSON Lines"),
    pytest.param('{"E": 1}\nwarm-up over\n{"E": 2}', [{"E": "1"}, {"E": "2"}], id="talk between"),
    pytest.param("t,E\n0,1.0\n1,2.0\n", [{"t": "0", "E": "1.0"}, {"t": "1", "E": "2.0"}], id="csv"),
    pytest.param("t\tE\n0\t1\n", [{"t": "0", "E": "1"}], id="tabs"),
    pytest.param('name;E\n"a;b";1\n', [{"name": "a;b", "E": "1"}], id="semicolons"),
    pytest.param("1,2\n3,4\n", [{"value": "4"}], id="numbers are no header"),
    pytest.param("a,b\n1,2,3\n", [{"value": "3"}], id="a ragged table is none"),
    pytest.param("3.14159\n", [{"value": "3.14159"}], id="a number"),
    pytest.param("took 3 s\nresult: -1.5e3\n", [{"value": "-1.5e3"}], id="the last number"),
    pytest.param("v2 done x1", [], id="no number in a word"),
    pytest.param("energy nan", [{"value": "nan"}], id="not a number"),
    pytest.param("done\n", [], id="nothing"),
    pytest.param("", [], id="empty"),
]


@pytest.mark.parametrize(("text", "expected"), ANY)
def test_values_are_found(text: str, expected: list[dict[str, str]]) -> None:
    assert values.reader("")(text.encode()) == expected


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("kv", '{"E": 1}', []),
        ("json", "E=1", []),
        ("json", "3.50", [{"value": "3.50"}]),
        ("json", '"word"', [{"value": "word"}]),
        ("csv", "E\n1\n2\n", [{"E": "1"}, {"E": "2"}]),
        ("number", "E=1 M=2", [{"value": "2"}]),
        (r"E:\s*(?P<E>\S+)", "E: 1\nE: 2\n", [{"E": "2"}]),
        (r"^(?P<a>\d)(?P<b>x)?$", "7\n", [{"a": "7"}]),
        (r"(?P<E>z)", "E: 1\n", []),
    ],
)
def test_a_form_that_is_asked_for_is_the_only_one(
    form: str, text: str, expected: list[dict[str, str]]
) -> None:
    assert values.reader(form)(text.encode()) == expected


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True),
        st.floats() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
        min_size=1,
    )
)
def test_what_a_program_writes_as_json_comes_back_to_the_last_digit(found: dict[str, Any]) -> None:
    (row,) = values.reader("json")(json.dumps(found).encode())
    again = {
        name: text if isinstance(found[name], str) else json.loads(text)
        for name, text in row.items()
    }
    assert repr(again) == repr(found)


def test_bytes_that_are_no_text_do_no_harm() -> None:
    assert values.reader("")(b"\xff\xfe E=1\x00") == [{"E": "1\x00"}]


@pytest.mark.parametrize("form", ["kvs", "E=(.*)", "(?P<E>"])
def test_what_is_no_form_is_told(form: str) -> None:
    with pytest.raises(UsageError) as caught:
        values.reader(form)
    assert "(?P<E>" in (caught.value.hint or "")


@given(st.text(alphabet="0123456789.eE+-_ "))
def test_a_plain_number_is_one_that_json_writes_so(text: str) -> None:
    if values.is_plain_number(text):
        assert msgspec.json.encode(msgspec.Raw(text.encode())) == text.encode()
        assert isinstance(json.loads(text), int | float)


@pytest.mark.parametrize("text", ["007", ".5", "5.", "+1", "1_0", "", "-", "1e", "nan", "0x1"])
def test_other_numbers_are_not_plain(text: str) -> None:
    assert not values.is_plain_number(text)


def test_of_an_endless_result_the_last_lines_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "LIMIT", 10)
    pieces = [b"E=1\n"] * 100 + [b"E=2\n", b"M=3\n"]
    assert values.joined(iter(pieces)) == b"E=2\nM=3\n"
    assert values.joined([b"E=1\n", b"M=3\n"]) == b"E=1\nM=3\n"
