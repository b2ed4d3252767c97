"""Where a declared file stands: decided by the template, whatever arrives and in whatever order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.results import paths
from corral.results.paths import Layout
from tests.results.world import World

KEEP: list[Any] = [
    pytest.param("", "", 1, True, id="one task"),
    pytest.param("T", "T", 1, True, id="the axis"),
    pytest.param("", "T", 1, False, id="no axis"),
    pytest.param("T", "T L", 1, False, id="one of two axes"),
    pytest.param("L T", "T L", 1, True, id="both axes"),
    pytest.param("T", "T", 3, False, id="replicates not told apart"),
    pytest.param("T rep", "T", 3, True, id="replicates told apart"),
    pytest.param("rep", "T", 3, False, id="replicates alone"),
    pytest.param("T host", "T", 1, True, id="more than needed"),
    pytest.param("task", "T L", 5, True, id="the task's number"),
    pytest.param("task", "task L", 1, False, id="an axis called task"),
    pytest.param("rep T", "rep T", 1, True, id="an axis called rep"),
    pytest.param("rep T", "rep T", 2, False, id="an axis called rep hides replicates"),
]


@pytest.mark.parametrize(("pattern", "axes", "reps", "keeps"), KEEP)
def test_a_name_is_kept_if_it_tells_all_tasks_apart(
    pattern: str, axes: str, reps: int, keeps: bool
) -> None:
    assert paths.keeps_name(pattern.split(), axes.split(), reps) is keeps


@pytest.mark.parametrize("name", ["a", "a/b.txt", "...", "a/..b", "-x", " ", "ü", "C:\\x"])
def test_names_that_stay_inside_are_safe(name: str) -> None:
    assert paths.is_safe(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "/etc/x",
        "..",
        "../x",
        "a/../b",
        "a/..",
        "a//b",
        "a/",
        "./a",
        ".",
        "a\0b",
        "a\nb",
        "a\x7f",
    ],
)
def test_names_that_may_lead_out_are_not(name: str) -> None:
    assert not paths.is_safe(name)


def places(world: World) -> list[str]:
    """Place all files of all tasks."""
    layout = Layout(world.outputs, world.names, world.reps)
    found = []
    for result in world.tasks:
        for file in result.files:
            found.append(next(layout.places(result, file.name)))
            layout.claim(found[-1])
    return found


def test_two_templates_of_one_task_are_told_apart(world: World) -> None:
    world.names = ("T",)
    world.declares("out-{T}.txt", "log.txt")
    world.task("1", files={"out-1.txt": b"", "log.txt": b""})
    assert places(world) == ["out-1.txt", "1/log.txt"]


def test_the_very_values_tell_templates_apart(world: World) -> None:
    world.names = ("T", "s")
    world.declares("{T}-{s}.txt", "{T}.txt")
    world.task("-1", "1", files={"-1-1.txt": b"", "-1.txt": b""})
    world.task("-1", "2", files={"-1-2.txt": b"", "-1.txt": b""})
    assert places(world) == ["-1-1.txt", "1/-1.txt", "-1-2.txt", "2/-1.txt"]


def test_parts_and_formats_of_a_value_fit_too(world: World) -> None:
    world.names = ("page",)
    world.declares("{page}.png")  # typed {page.stem}.png
    world.task("pages/one two.pdf", files={"one two.png": b""})
    assert places(world) == ["one two.png"]


def test_files_of_a_glob_and_of_a_folder_follow_their_template(world: World) -> None:
    world.names = ("T",)
    world.declares("{T}/part-*.dat", "plots", "all-{T}")
    world.task("5", files={"5/part-1.dat": b"", "plots/a/b.png": b"", "all-5/x": b""})
    assert places(world) == ["5/part-1.dat", "1/plots/a/b.png", "all-5/x"]


def test_a_file_of_no_template_stands_under_its_task(world: World) -> None:
    world.declares("out.txt")
    world.task(files={"other.txt": b""})
    assert places(world) == ["1/other.txt"]


def test_the_later_of_two_tasks_that_claim_one_name_gives_way(world: World) -> None:
    world.names = ("T",)
    world.declares("{T}.txt")
    for _ in range(3):
        world.task("1", files={"1.txt": b""})
    assert places(world) == ["1.txt", "2/1.txt", "3/1.txt"]


def test_names_that_look_like_task_numbers_lose_nothing(world: World) -> None:
    world.names = ("T",)
    world.declares("{T}", "log")
    for value in ("2", "1", "2", "3/log"):
        world.task(value, files={value: b"", "log": b""})
    found = places(world)
    assert found[:4] == ["2", "1/log", "2_/1", "2_/log"]
    assert len(set(found)) == len(found) == 8


@given(
    st.lists(
        st.tuples(st.sampled_from(["1", "2", "3"]), st.sampled_from(["1", "2", "2/log", "x"])),
        max_size=8,
    )
)
def test_no_place_is_another_places_folder(values: list[tuple[str, str]]) -> None:
    world = World(blobs=None, names=("T", "L"))  # type: ignore[arg-type]  # no bytes
    world.declares("{T}/{L}", "{L}", "log")
    layout = Layout(world.outputs, world.names, 1)
    found: list[str] = []
    for first, second in values:
        result = world.task(first, second)
        for name in (f"{first}/{second}", second, "log"):
            found.append(next(layout.places(result, name)))
            layout.claim(found[-1])
    assert len(set(found)) == len(found)
    assert not [a for a in found for b in found if b.startswith(f"{a}/")]


def test_the_index_cannot_be_claimed(world: World) -> None:
    world.declares(".written.jsonl")
    world.task(files={".written.jsonl": b""})
    assert places(world) == ["1/.written.jsonl"]
