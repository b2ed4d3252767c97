"""The page about hosts says what is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from corral.hosts import hostsfile
from corral.hosts.hostset import expand
from corral.hosts.inventory import Settings, select

if TYPE_CHECKING:
    from tests.support.corral import Corral

PAGE = (Path(__file__).parents[2] / "docs" / "hosts.md").read_text()
ROWS = re.findall(r"^\| `(.*)` \| `(.*)` \|$", PAGE, re.MULTILINE)
(EXAMPLE,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
SHOWN = re.findall(r"^\$ corral hosts expand '(.*)'\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_has_its_tables() -> None:
    assert (len(ROWS), len(SHOWN)) == (22, 1)


@pytest.mark.parametrize(("text", "hosts"), ROWS)
def test_a_row_of_the_table_of_sets(text: str, hosts: str) -> None:
    assert [spec.name for spec in expand(text)] == hosts.split()


def test_the_example_is_a_good_file() -> None:
    known = hostsfile.load(EXAMPLE, path="hosts.toml")
    names = [spec.name for spec in select(known, where=["@slow"])]
    assert names == ["node4", "node5", "big", "me@old:2222"]


def test_every_key_and_flag_is_on_the_page(corral: Corral) -> None:
    for key in Settings.__struct_fields__:
        assert re.search(rf"^\| .*`{key}`.* \|.*\|$", PAGE, re.MULTILINE), key
    flags = re.findall(
        r"^ {2}(-\S.*?)(?:  |$)", corral("hosts", "expand", "--help").stdout, re.MULTILINE
    )
    for flag in flags:
        for word in re.findall(r"--?[a-z]+", flag):
            assert f"`{word}" in PAGE or word in ("-n", "--count", "--json", "-h", "--help"), word


@pytest.mark.parametrize(("text", "said"), SHOWN)
def test_the_error_looks_as_shown(corral: Corral, text: str, said: str) -> None:
    assert corral("hosts", "expand", text, code=2).stderr == said
