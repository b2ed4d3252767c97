"""The folder as a whole: what is in it, and what is not lost whatever happens meanwhile."""

from __future__ import annotations

import os
import resource
import signal
import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import CorralError, UsageError
from corral.results import collect as room
from corral.results import drafts
from corral.results.collect import Refresher, collect
from tests.results.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from corral.model.task import Result

VISIBLE = [
    "attempts.csv", "errors.txt", "failed.csv", "missing.txt", "output.txt", "results.csv", "run.toml",
]  # fmt: skip


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def killed(work: Callable[[], object]) -> None:
    """Do it in a process of its own that must die of SIGKILL meanwhile."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


class Dying(World):
    """A run whose reader is killed after the first task."""

    def results(self) -> Iterator[Result]:
        for result in super().results():
            yield result
            os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """Have the system refuse to write more, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_run_without_anything_has_all_files(world: World, folder: Path) -> None:
    done = collect(world, folder)
    assert names(folder) == [".written.jsonl", *VISIBLE]
    assert (folder / "run.toml").read_text() == 'run = "./sim"\n'
    assert [(folder / name).read_bytes() for name in ("output.txt", "errors.txt", "missing.txt")] == [
        b"", b"", b"",
    ]  # fmt: skip
    assert (done.tasks, done.missing, done.files) == (0, 0, 0)


def test_each_task_is_where_it_belongs(world: World, folder: Path) -> None:
    world.task(stdout=b"one\n", stderr=b"hm")
    world.task(stdout=b"half", stderr=b"bad\nworse\n", state="failed", exit=1)
    world.task(stdout=b"so far", stderr=b"so far", state="active", exit=None)
    world.task(stdout=b"four\n")
    world.attempt(1, "n1")
    done = collect(world, folder)
    assert (folder / "output.txt").read_bytes() == b"one\nfour\n"
    assert (folder / "errors.txt").read_bytes() == b"1\thm\n2\tbad\n2\tworse\n"
    assert (folder / "missing.txt").read_text() == "2\tfailed\n3\tactive\n"
    assert len((folder / "results.csv").read_text().splitlines()) == 5
    assert (done.tasks, done.done, done.failed, done.missing) == (4, 2, 1, 2)
    assert (done.attempts, done.output_bytes) == (1, 9)


def test_the_runs_rule_makes_output_txt(world: World, folder: Path) -> None:
    world.rule = "tagged"
    world.task(stdout=b"x")
    collect(world, folder)
    assert (folder / "output.txt").read_bytes() == b"1\tx\n"


def test_an_unknown_rule_writes_nothing(world: World, folder: Path) -> None:
    world.rule = "zip"
    with pytest.raises(UsageError):
        collect(world, folder)
    assert not folder.exists()


@given(
    tasks=st.lists(
        st.tuples(st.binary(max_size=9), st.sampled_from(["done", "failed", "active", "parked"]))
    )
)
def test_no_holes_and_none_lost(
    tasks: list[tuple[bytes, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.getbasetemp()
    world = World(base / "blobs")
    for stdout, state in tasks:
        world.task(stdout=stdout, state=state)
    collect(world, base / "holes")
    results = [stdout for stdout, state in tasks if state == "done"]
    without = [number for number, (_, state) in enumerate(tasks, 1) if state != "done"]
    assert (base / "holes" / "output.txt").read_bytes() == b"".join(results)
    missing = (base / "holes" / "missing.txt").read_text().splitlines()
    assert [int(line.split("\t")[0]) for line in missing] == without


def test_large_output_comes_home_whole(world: World, folder: Path) -> None:
    large = os.urandom(3 << 20)
    world.task(stdout=large, stderr=large)
    collect(world, folder)
    assert (folder / "output.txt").read_bytes() == large
    tagged = (folder / "errors.txt").read_bytes()
    assert len(tagged) >= len(large)


def test_a_crash_leaves_the_old_files_whole(world: World, folder: Path, tmp_path: Path) -> None:
    world.task(stdout=b"old\n")
    collect(world, folder)
    before = {name: (folder / name).read_bytes() for name in VISIBLE}
    dying = Dying(tmp_path / "blobs")
    dying.task(stdout=b"new\n" * 100_000)
    dying.task(stdout=b"new\n")
    killed(lambda: collect(dying, folder))
    assert {name: (folder / name).read_bytes() for name in VISIBLE} == before
    assert [name for name in names(folder) if name.endswith(".part")]
    collect(world, folder)
    assert names(folder) == [".written.jsonl", *VISIBLE]


def test_another_living_collectors_draft_stays(world: World, folder: Path) -> None:
    folder.mkdir(parents=True)
    living = folder / f".output.txt.{os.getppid()}.part"
    living.touch()
    dead = folder / ".output.txt.999999999.part"
    dead.touch()
    mine = folder / ".notes.999999999.part"
    mine.touch()
    drafts.sweep(folder)
    assert names(folder) == sorted([living.name, mine.name])


def test_a_full_disk_is_told_and_keeps_the_old_files(world: World, folder: Path) -> None:
    world.task(stdout=b"old\n")
    collect(world, folder)
    world.task(stdout=os.urandom(3 << 20))
    with files_no_longer_than(1 << 20), pytest.raises(CorralError) as caught:
        collect(world, folder)
    assert str(caught.value) == f"{folder}: results cannot be written: File too large"
    assert (folder / "output.txt").read_bytes() == b"old\n"
    assert names(folder) == [".written.jsonl", *VISIBLE]


def test_a_failing_source_keeps_the_old_files(world: World, folder: Path) -> None:
    world.task(stdout=b"old\n")
    collect(world, folder)
    lost = world.task(stdout=b"x" * 100_000)
    (world.blobs / lost.stdout.sha256).write_bytes(b"")
    with pytest.raises(CorralError, match="damaged"):
        collect(world, folder)
    assert (folder / "output.txt").read_bytes() == b"old\n"
    assert names(folder) == [".written.jsonl", *VISIBLE]


def test_a_folder_in_place_of_a_file_is_told(world: World, folder: Path) -> None:
    collect(world, folder)
    (folder / "results.csv").unlink()
    (folder / "results.csv").mkdir()
    (folder / "results.csv" / "mine").touch()
    with pytest.raises(CorralError) as caught:
        collect(world, folder)
    assert str(caught.value) == f"{folder}/results.csv: results cannot be written: Is a directory"
    assert "move it away" in (caught.value.hint or "")
    assert (folder / "results.csv" / "mine").exists()


def test_a_file_in_place_of_the_folder_is_told(world: World, folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("mine")
    with pytest.raises(CorralError, match="File exists") as caught:
        collect(world, folder)
    assert "move it away" in (caught.value.hint or "")
    assert folder.read_text() == "mine"


@pytest.mark.parametrize("name", VISIBLE)
def test_a_users_own_file_under_a_name_of_ours_is_not_replaced(
    world: World, folder: Path, name: str
) -> None:
    folder.mkdir(parents=True)
    (folder / name).write_text("mine")
    with pytest.raises(CorralError, match="not corral's"):
        collect(world, folder)
    assert names(folder) == [name]
    assert (folder / name).read_text() == "mine"


def test_other_files_of_the_user_stay(world: World, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    (folder / ".hidden.1.part").write_text("mine")
    for _ in range(2):
        collect(world, folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / ".hidden.1.part").read_text() == "mine"


def test_a_link_in_place_of_a_file_of_ours_is_replaced_not_followed(
    world: World, folder: Path, tmp_path: Path
) -> None:
    collect(world, folder)
    target = tmp_path / "precious"
    target.write_text("precious")
    (folder / "output.txt").unlink()
    (folder / "output.txt").symlink_to(target)
    world.task(stdout=b"new\n")
    collect(world, folder)
    assert target.read_text() == "precious"
    assert (folder / "output.txt").read_bytes() == b"new\n"


def test_remove_takes_only_what_corral_wrote(world: World, folder: Path) -> None:
    world.declares("out.txt")
    world.task(files={"out.txt": b"x"})
    collect(world, folder)
    (folder / "mine.txt").write_text("mine")
    room.remove(folder)
    assert names(folder) == ["mine.txt"]
    (folder / "mine.txt").unlink()
    collect(world, folder)
    room.remove(folder)
    assert not folder.exists()
    room.remove(folder)


def test_memory_does_not_grow_with_the_tasks(world: World, folder: Path) -> None:
    class Many(World):
        count = 0

        def results(self) -> Iterator[Result]:
            for _ in range(self.count):
                yield self.task("1", stdout=b"x\n")
                self.tasks.clear()

    peaks = []
    for count in (2_000, 20_000):
        many = Many(world.blobs, names=("T",))
        many.count = count
        tracemalloc.start()
        collect(many, folder)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000


def test_refreshes_come_no_more_often_than_every_five_seconds() -> None:
    refresher = Refresher(100.0)
    assert not refresher.due(104.9)
    assert refresher.due(105.0)
    refresher.done(105.1)
    assert not refresher.due(110.0)
    assert refresher.due(110.1)


def test_a_slow_refresh_is_followed_by_a_pause_of_twenty_times_its_length() -> None:
    refresher = Refresher(0.0)
    assert refresher.due(5.0)
    refresher.done(8.0)
    assert not refresher.due(67.9)
    assert refresher.due(68.0)
