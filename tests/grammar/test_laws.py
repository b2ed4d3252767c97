"""What holds for every command, whatever its values."""

from __future__ import annotations

import subprocess
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.errors import UsageError
from corral.model import texts
from corral.model.command import Command, Listed
from corral.model.run import EXIT_MEANINGS
from corral.work import identity, runfile
from corral.work.command import parse
from corral.work.render import Renderer, Setting, place
from corral.work.runfile import RunFile
from corral.work.sources import Source
from corral.work.sweep import Sweep

NO_SURROGATES = st.characters(codec="utf-8", exclude_characters="\0")
VALUES = st.text(NO_SURROGATES, min_size=0, max_size=12)
SOURCES = st.lists(
    st.builds(Source, values=st.lists(VALUES, min_size=1, max_size=2).map(tuple))
    | st.builds(Source, file=VALUES.filter(bool)),
    max_size=2,
).map(tuple)
AXES = st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4), max_size=3)


class Empty:
    """A folder without files."""

    def is_file(self, path: str) -> bool:
        del path
        return False

    def glob(self, pattern: str) -> list[str]:
        del pattern
        return []

    def inside(self, path: str) -> list[str]:
        del path
        return []

    def read(self, path: str) -> bytes:
        raise UsageError(f"{path}: cannot be read")


def axes_of(values: list[list[str]]) -> list[Listed]:
    return [
        Listed(name=f"x{n}", text="", kind="list", written=texts.written(v))
        for n, v in enumerate(values)
    ]


@given(AXES, st.integers(1, 3))
def test_a_sweep_is_the_product_and_random_access_is_iteration(
    values: list[list[str]], reps: int
) -> None:
    sweep = Sweep(axes_of(values), reps)
    rows = list(sweep)
    assert len(rows) == len(sweep) == prod(len(v) for v in values) * reps
    assert rows == [sweep[i] for i in range(len(sweep))]


@given(AXES, st.integers(1, 3))
def test_no_two_rows_of_a_sweep_are_the_same_task(values: list[list[str]], reps: int) -> None:
    axes = axes_of(values)
    names = [axis.name for axis in axes]
    keys = {identity.task_key(names, row.values, row.rep, row.k) for row in Sweep(axes, reps)}
    assert len(keys) == len(Sweep(axes, reps))


@settings(max_examples=60)
@given(VALUES)
def test_a_value_arrives_byte_for_byte_in_every_place(value: str) -> None:
    line = "printf '%s\\0' {v} '{v}' \"{v}\" \"$(printf %sx {v})\" x{v}y"
    command = parse([line], folder=Empty(), declared={"v": [value]}).command
    rendered = Renderer(command).render(Setting((value,), 1, 0, 1, "t", "h", 1))
    done = subprocess.run(["/bin/sh", "-c", rendered.line or ""], capture_output=True, check=True)
    expected = [value, value, value, f"{value}x", f"x{value}y"]
    assert done.stdout.decode().split("\0")[:-1] == expected


@given(st.from_regex(r"[a-z]{3,8}", fullmatch=True))
def test_an_unknown_name_is_refused_outside_quotes_and_kept_inside(name: str) -> None:
    if name in ("rep", "seed", "ticket", "task", "host", "slot", "cpus"):
        return
    with pytest.raises(UsageError):
        parse([f"echo {{{name}}}"], folder=Empty())
    kept = parse([f"echo '{{{name}}}'"], folder=Empty()).command
    assert Renderer(kept).render(Setting((), 1, 0, 1, "t", "h", 1)).argv == ("echo", f"{{{name}}}")


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=5), st.integers(1, 4))
def test_the_skeleton_does_not_know_values_or_replicates(values: list[str], reps: int) -> None:
    one = parse(["echo {" + ",".join(values) + "} {rep}"], folder=Empty(), reps=reps).command
    other = parse(["echo {1..9} {rep}"], folder=Empty()).command
    assert identity.skeleton(one) == identity.skeleton(other)


def test_another_command_has_another_skeleton() -> None:
    lines = [
        "echo {1..2}",
        "echo -n {1..2}",
        "echo {n=1..2}",
        "echo {1..2} {>x}",
        "echo '{{1..2}}'",
    ]
    skeletons = {identity.skeleton(parse([line], folder=Empty()).command) for line in lines}
    assert len(skeletons) == len(lines)


@given(st.integers(1, 500))
def test_replicates_never_share_a_seed(reps: int) -> None:
    seeds = {identity.seed("x", rep, 0) for rep in range(1, reps + 1)}
    assert len(seeds) == reps
    assert all(0 <= seed < 2**31 for seed in seeds)


@given(
    st.builds(
        RunFile,
        run=st.tuples(VALUES.filter(bool), st.lists(VALUES, max_size=3)).map(
            lambda words: (words[0], *words[1])
        ),
        reps=st.integers(1, 9),
        sweep=st.dictionaries(
            st.from_regex(r"[A-Za-z_]\w{0,5}", fullmatch=True).filter(str.isascii),
            st.lists(VALUES, min_size=1, max_size=3).map(tuple),
            max_size=3,
        ),
        push=st.lists(VALUES.filter(bool), max_size=2).map(tuple),
        retries=st.none() | st.integers(0, 9),
        timeout=st.sampled_from([None, "5m", "90", "250%"]),
        run_timeout=st.sampled_from([None, "2h"]),
        halt=st.sampled_from([None, "soon,fail=3", "now,fail=2.5%"]),
        output_cap=st.sampled_from([None, "10M", "4096"]),
        mem=st.sampled_from([(), ("2G",), ("1G", "4G")]),
        disk_floor=st.sampled_from([None, "0", "1G"]),
        here=st.booleans(),
        params=st.lists(VALUES.filter(bool), max_size=2).map(tuple),
        source=SOURCES,
        zip=st.booleans(),
        where=st.none() | VALUES.filter(bool),
        shuffle=st.none() | st.integers(0, 99),
        limit=st.none() | st.integers(1, 99),
        mark=st.none() | VALUES.filter(bool),
        stdin=st.none() | VALUES,
        env=st.dictionaries(
            st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True),
            st.just(True) | VALUES,
            max_size=2,
        ),
        exit_codes=st.dictionaries(st.integers(1, 255), st.sampled_from(EXIT_MEANINGS), max_size=2),
    )
)
def test_a_run_file_reads_back_as_it_was_written(file: RunFile) -> None:
    assert runfile.load(runfile.dump(file), path="run.toml") == file


def test_all_errors_of_a_run_file_come_at_once_with_line_and_hint() -> None:
    text = 'run = "echo"\nrpes = 3\nretries = "three"\n[sweep]\nT = true\n"a b" = 1\n'
    with pytest.raises(UsageError) as raised:
        runfile.load(text, path="job.toml")
    assert "job.toml:2:1: unknown key `rpes`" in raised.value.message
    assert "did you mean `reps`?" in raised.value.message
    assert "job.toml:3:1: `retries` must be a whole number" in raised.value.message
    assert "job.toml:5:1: `T` in [sweep]" in raised.value.message
    assert "job.toml:6:2: 'a b' is no name for a parameter" in raised.value.message
    assert raised.value.hint == "4 errors; nothing was started"


@pytest.mark.parametrize(
    ("path", "stands"),
    [
        ("sim.py", "sim.py"),
        ("./sim", "./sim"),
        ("a/b.txt", "a/b.txt"),
        ("../bin/sim", "in/bin/sim"),
        ("/data/x.csv", "in/data/x.csv"),
        ("a/../../x", "in/x"),
    ],
)
def test_where_a_shipped_path_stands(path: str, stands: str) -> None:
    assert place(path) == stands


def test_a_million_rows_cost_no_memory() -> None:
    command = parse(["echo {1..1000000}"], folder=Empty()).command
    assert isinstance(command, Command)
    sweep = Sweep(command.axes, 1)
    assert (len(sweep), sweep[999_999].values) == (1_000_000, ("1000000",))
