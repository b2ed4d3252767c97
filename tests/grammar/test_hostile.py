"""Every hostile value arrives byte for byte, by every way to say it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.grammar import hostile

if TYPE_CHECKING:
    from tests.support.corral import Corral

CASES = list(hostile.cases())


def test_the_table_is_wide_and_every_value_is_in_it() -> None:
    assert sum(len(case.values) for case in CASES) >= 200
    assert all(len(case.values) <= hostile.PER_FORM for case in CASES)
    assert len({case.form.name for case in CASES}) == len(CASES)
    assert {value for case in CASES for value in case.values} == set(hostile.VALUES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.form.name)
def test_values_arrive_byte_for_byte(corral: Corral, case: hostile.Case) -> None:
    corral.write("args", hostile.ARGS, executable=True)
    for name, text in case.files.items():
        corral.write(name, text)
    corral("run", "-q", "--name", "it", *case.words, stdin=case.stdin)
    found = hostile.understood((corral.results("it") / "output.txt").read_bytes())
    expected = case.expected()
    for number, words in enumerate(expected, 1):
        expected[number - 1] = [str(number) if word == "#" else word for word in words]
    if not case.form.ordered:
        found, expected = sorted(found), sorted(expected)
    assert found == expected
    assert not (corral.folder / "pwned").exists()


@pytest.mark.parametrize(
    ("words", "files", "stdin"),
    [
        (["./args {@list.txt}"], {"list.txt": "a\0b\n"}, ""),
        (["./args", "::::", "list.txt"], {"list.txt": "a\0b\n"}, ""),
        (["--arg-file", "list.txt", "./args"], {"list.txt": "a\0b\n"}, ""),
        (["./args {@-}"], {}, "a\0b\n"),
        (["--params", "t.csv", "./args {v}"], {"t.csv": "v\na\0b\n"}, ""),
        (["--params", "t.jsonl", "./args {v}"], {"t.jsonl": '{"v": "a\\u0000b"}\n'}, ""),
        (["-f", "cmds.txt"], {"cmds.txt": "./args a\0b\n"}, ""),
        (["job.toml"], {"job.toml": 'run = "./args {v}"\nsweep.v = ["a\\u0000b"]\n'}, ""),
    ],
    ids=["@file", "::::", "--arg-file", "@-", "csv", "jsonl", "-f", "toml"],
)
def test_a_nul_byte_is_refused_before_anything_starts(
    corral: Corral, words: list[str], files: dict[str, str], stdin: str
) -> None:
    corral.write("args", hostile.ARGS, executable=True)
    for name, text in files.items():
        corral.write(name, text)
    assert "NUL" in corral("run", *words, code=2, stdin=stdin).stderr
    assert not (corral.folder / ".corral").exists()
