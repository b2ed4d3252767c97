"""Which files a command ships, where they stand, what the preview says of the others."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from corral.cli.folder import RealFolder
from corral.errors import UsageError
from corral.work.command import Parsed, parse
from corral.work.render import Rendered, Renderer, Setting, value_inputs

if TYPE_CHECKING:
    from pathlib import Path

FILES = ("sim", "sim.py", "run.sh", "my sim.py", "a.jar", "data.csv", "tools/gen.py", "-n.py", "1")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    (tmp_path / "above.sh").write_text('#!/bin/sh\necho "$0 $1"\n')
    (tmp_path / "above.sh").chmod(0o755)
    return folder


def read(here: Path, *typed: str, no_shipping: bool = False) -> Parsed:
    return parse(typed, folder=RealFolder(here), here=no_shipping)


def first(parsed: Parsed) -> Rendered:
    values = tuple(axis.value(0) for axis in parsed.command.axes)
    return Renderer(parsed.command).render(Setting(values, 1, 0, 1, "t", "h", 1))


@pytest.mark.parametrize(
    ("line", "ships"),
    [
        ("./sim 1", "./sim"),
        ("sim 1", ""),
        ("A=1 B=2 ./sim", "./sim"),
        ("python3 sim.py", "sim.py"),
        ("python3.11 -u -W ignore -X dev sim.py data.csv", "sim.py"),
        ("python3 -Werror::DeprecationWarning sim.py", "sim.py"),
        ("python3 -c 'x' sim.py", ""),
        ("python3 -Ic 'x' sim.py", ""),
        ("python3 -m sim sim.py", ""),
        ("python3 - sim.py", ""),
        ("python3 -- -n.py", "-n.py"),
        ("python3 /usr/lib/x.py data.csv", ""),
        ("python3 'my sim.py'", "my sim.py"),
        ('python3 "my sim.py"', "my sim.py"),
        ("python3 my\\ sim.py", "my sim.py"),
        ("/usr/bin/python3 sim.py", "sim.py"),
        ("sh run.sh", "run.sh"),
        ("bash -e run.sh", "run.sh"),
        ("bash -o pipefail +x run.sh", "run.sh"),
        ("bash -lc run.sh", ""),
        (". ./run.sh", "./run.sh"),
        ("source run.sh", "run.sh"),
        ("perl -I lib -w sim.py", "sim.py"),
        ("perl -lane x sim.py", ""),
        ("perl -MList::Util sim.py", "sim.py"),
        ("ruby -r json sim.py", "sim.py"),
        ("node --require x sim.py", "sim.py"),
        ("node --eval x sim.py", ""),
        ("julia -t 4 --project=. sim.py", "sim.py"),
        ("lua -e 'x=1' sim.py", "sim.py"),
        ("Rscript --vanilla sim.py", "sim.py"),
        ("octave -q sim.py", "sim.py"),
        ("java -Xmx1g -jar a.jar data.csv", "a.jar"),
        ("java -cp a.jar Main", ""),
        ("nice -n 5 ./sim", "./sim"),
        ("env A=1 nice timeout 5 python3 sim.py data.csv", "sim.py"),
        ("mpirun -n 4 ./sim", "./sim"),
        ("true && ./sim || python3 sim.py; sh run.sh | tee x", "./sim sim.py run.sh"),
        ("if ./sim; then sh run.sh; fi", "./sim run.sh"),
        ("for i in 1 2; do ./sim; done", "./sim"),
        ("! ./sim", "./sim"),
        ("(python3 sim.py)", "sim.py"),
        ("x=$(python3 sim.py)", "sim.py"),
        ('echo "$(python3 sim.py)"', "sim.py"),
        ("echo `python3 sim.py`", "sim.py"),
        ("{ ./sim; }", "./sim"),
        ("python3 < data.csv sim.py", "sim.py"),
        ("2> err ./sim", "./sim"),
        ("./sim > data.csv 2>&1", "./sim"),
        ("echo ./sim", ""),
        ("# ./sim", ""),
        ("cat <<E\n./sim\nE", ""),
        ("echo '; ./sim'", ""),
        ("python3 $x sim.py", ""),
        ("python3 {s=*.py} sim.py", ""),
        ("python3 {s=x,y}.py sim.py", ""),
        ("./sim &> err data.csv", "./sim"),
        ("$x ./sim", ""),
    ],
)
def test_what_travels_with_a_line(here: Path, line: str, ships: str) -> None:
    expected = [ships] if ships in FILES else ships.split()
    assert sorted(read(here, line).ship) == sorted(expected)


@pytest.mark.parametrize(
    ("line", "noted"),
    [
        ("cat data.csv", ["data.csv"]),
        ("./sim --conf=data.csv", ["data.csv"]),
        ("dd if=data.csv", ["data.csv"]),
        ("(cat 'data.csv')", ["data.csv"]),
        ("cat data.csv data.csv; cat data.csv", ["data.csv"]),
        ("python3 sim.py sim.py", []),
        ("cat < data.csv", ["data.csv"]),
        ("cat $x data.csv", ["data.csv"]),
        ("echo > data.csv", []),
        ("echo >> data.csv", []),
        ("echo 1>&2", []),
        ("cat {<data.csv}", []),
        ("cat /etc/passwd", []),
    ],
)
def test_a_file_that_stays_is_named(here: Path, line: str, noted: list[str]) -> None:
    notes = read(here, line).notes
    assert notes == tuple(
        f"{path} is here and not shipped: {{<{path}}} or --push {path}" for path in noted
    )


def test_nothing_ships_and_nothing_is_noted_where_tasks_run_here(here: Path) -> None:
    parsed = read(here, "./sim {<data.csv} tools/gen.py {f=*.csv}", no_shipping=True)
    assert (parsed.ship, parsed.notes) == ((), ())
    assert first(parsed).inputs == ()
    with pytest.raises(UsageError, match="no such file"):
        read(here, "cat {<nosuch}", no_shipping=True)


@pytest.mark.parametrize(
    "typed",
    [
        ["../above.sh {1..2}"],
        ["'../above.sh' {1..2}"],
        ["sh ../above.sh {1..2}"],
        ["true; nice ../above.sh {1..2}"],
        ["../above.sh", "{1..2}"],
        ["sh", "{<../above.sh}", "{1..2}"],
        ["sh {p=../*.sh} 1"],
    ],
)
def test_what_comes_from_above_is_found_under_in(
    here: Path, tmp_path: Path, typed: list[str]
) -> None:
    parsed = read(here, *typed)
    made = first(parsed)
    task = tmp_path / "task"
    (task / "in").mkdir(parents=True)
    assert {*parsed.ship, *(file.source for file in made.inputs)} == {"../above.sh"}
    (task / "in" / "above.sh").write_bytes((tmp_path / "above.sh").read_bytes())
    (task / "in" / "above.sh").chmod(0o755)
    argv = made.argv or ("/bin/sh", "-c", made.line or "")
    done = subprocess.run(argv, cwd=task, capture_output=True, text=True, check=True)
    assert done.stdout == "in/above.sh 1\n"


def test_an_absolute_program_is_rewritten_to_its_place(here: Path, tmp_path: Path) -> None:
    parsed = read(here, f"{tmp_path}/above.sh {{1..2}}")
    assert parsed.ship == (f"{tmp_path}/above.sh",)
    assert first(parsed).argv == (f"in{tmp_path}/above.sh", "1")


def test_folders_of_a_pattern_ship_what_is_in_them_to_every_task(here: Path) -> None:
    for name in ("runs/a/x/1", "runs/b/2", "runs/b/.hidden", "runs/[c]/3", "runs/file"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("")
    parsed = read(here, "ls {d=runs/*/}")
    assert parsed.command.axes[0].value(0) == "runs/[c]/"
    assert sorted(parsed.ship) == ["runs/[c]/3", "runs/a/x/1", "runs/b/2"]
    assert list(value_inputs(parsed.command)) == []


def test_inputs_of_values_are_listed_once_and_not_as_a_product(here: Path) -> None:
    for n in range(40):
        (here / f"x{n}.dat").write_text("")
    command = read(here, "cat {a=x*.dat} {b=x*.dat} {<{c}.csv} {c=data,1}").command
    sources = [file.source for file in value_inputs(command)]
    assert len(sources) == len(set(sources)) == 42
    assert {"data.csv", "1.csv"} < set(sources)


def test_an_output_is_a_pattern_by_its_text_and_never_by_a_value(here: Path) -> None:
    (here / "a[1].pdf").write_text("")
    made = first(
        read(here, "gs {p=*.pdf} {>{p.stem}.png} {>{p.stem}-*.png} {>{p.stem}/} {>{p.stem}.png}")
    )
    assert [(output.name, output.kind) for output in made.outputs] == [
        ("a[1].png", "file"),
        ("a[[]1]-*.png", "glob"),
        ("a[1]", "dir"),
    ]
    assert made.argv is not None
    assert made.argv[2:] == ("a[1].png", "a[1]-*.png", "a[1]/", "a[1].png")


def test_an_output_named_after_an_input_from_above_stays_inside(here: Path, tmp_path: Path) -> None:
    (tmp_path / "p.pdf").write_text("")
    made = first(read(here, "gs {p=../*.pdf} {>{p.noext}.png}"))
    assert made.argv == ("gs", "in/p.pdf", "in/p.png")
    assert [output.name for output in made.outputs] == ["in/p.png"]


@pytest.mark.parametrize("value", ["../x", "/x", "a/../../x", ".."])
def test_no_value_names_an_output_outside(here: Path, value: str) -> None:
    with pytest.raises(UsageError, match="own folder"):
        parse(["echo {>{v}}"], folder=RealFolder(here), declared={"v": ["ok", value]})


def test_a_file_whose_name_is_no_text_is_refused(here: Path) -> None:
    bad = str(here).encode() + b"/bad\xff.dat"
    with open(bad, "wb"):
        pass
    with pytest.raises(UsageError, match="not UTF-8"):
        read(here, "cat {*.dat}")
