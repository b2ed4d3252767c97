"""The folder files/: each result file in its place, once, and nothing of the user's harmed."""

from __future__ import annotations

import io
import os
import shutil
import signal
from typing import TYPE_CHECKING, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.errors import CorralError, UsageError
from corral.results import gather, rules
from corral.results.collect import collect
from tests.results.test_collect import killed
from tests.results.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from corral.model.task import ResultFile


def collect_files(world: World, folder: Path) -> int:
    return gather.into_folder(world, rules.read("files"), folder).files


def found(folder: Path) -> dict[str, bytes]:
    """Read all of files/."""
    root = folder / "files"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


@pytest.fixture
def sweep(world: World) -> World:
    """Two tasks with a file of a kept name and one of a common name."""
    world.names = ("T",)
    world.declares("out-{T}.txt", "log.txt")
    for value in ("1", "2"):
        world.task(
            value, files={f"out-{value}.txt": value.encode(), "log.txt": b"log " + value.encode()}
        )
    return world


EXPECTED = {"out-1.txt": b"1", "1/log.txt": b"log 1", "out-2.txt": b"2", "2/log.txt": b"log 2"}


def test_each_file_is_in_its_place(sweep: World, folder: Path) -> None:
    done = collect(sweep, folder)
    assert found(folder) == EXPECTED
    assert (done.files, done.file_bytes, done.copied, done.removed) == (4, 12, 4, 0)


def test_only_done_tasks_have_result_files(world: World, folder: Path) -> None:
    world.declares("out.txt")
    world.task(files={"out.txt": b"half"}, state="failed")
    collect(world, folder)
    assert not (folder / "files").exists()


@pytest.mark.parametrize("mode", [0o644, 0o755, 0o400, 0o600])
def test_a_file_keeps_its_mode(world: World, folder: Path, mode: int) -> None:
    world.declares("sim")
    world.task(files={"sim": b"x"}, mode=mode | 0o4000)
    collect(world, folder)
    assert (folder / "files" / "sim").stat().st_mode & 0o7777 == mode


@pytest.mark.parametrize("size", [0, 1, 3 << 20])
def test_all_bytes_come(world: World, folder: Path, size: int) -> None:
    world.declares("data")
    data = os.urandom(size)
    world.task(files={"data": data})
    collect(world, folder)
    assert found(folder) == {"data": data}


def test_a_file_that_comes_as_a_stream_is_copied_too(world: World, folder: Path) -> None:
    class Streamed(World):
        def open_file(self, file: ResultFile) -> BinaryIO:
            return io.BytesIO((self.blobs / file.sha256).read_bytes())

    streamed = Streamed(world.blobs).declares("data")
    streamed.task(files={"data": b"x" * 2_000_000})
    collect(streamed, folder)
    assert found(folder) == {"data": b"x" * 2_000_000}


@pytest.mark.parametrize("error", [OSError(18, "other disk"), OSError(95, "not supported")])
def test_where_the_kernel_cannot_copy_we_do(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def refuse(*_: object) -> int:
        raise error

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    world.declares("data")
    world.task(files={"data": b"x" * 2_000_000})
    collect(world, folder)
    assert found(folder) == {"data": b"x" * 2_000_000}


def test_a_refresh_copies_only_what_is_new(sweep: World, folder: Path) -> None:
    collect(sweep, folder)
    before = {name: (folder / "files" / name).stat() for name in EXPECTED}
    sweep.opened.clear()
    sweep.task("3", files={"out-3.txt": b"3"})
    done = collect(sweep, folder)
    assert sweep.opened == ["out-3.txt"]
    assert (done.files, done.copied) == (5, 1)
    assert {name: (folder / "files" / name).stat() for name in EXPECTED} == before


def test_what_was_changed_or_deleted_is_written_again(sweep: World, folder: Path) -> None:
    collect(sweep, folder)
    (folder / "files" / "out-1.txt").write_bytes(b"edited")
    (folder / "files" / "out-2.txt").unlink()
    shutil.rmtree(folder / "files" / "2")
    assert collect(sweep, folder).copied == 3
    assert found(folder) == EXPECTED


def test_other_bytes_or_another_mode_replace_the_file(world: World, folder: Path) -> None:
    world.declares("out")
    for data, mode in [(b"a", 0o644), (b"b", 0o644), (b"b", 0o755)]:
        world.tasks.clear()
        world.task(files={"out": data}, mode=mode)
        assert collect(world, folder).copied == 1
        assert found(folder) == {"out": data}
        assert (folder / "files" / "out").stat().st_mode & 0o777 == mode


def test_files_of_tasks_that_are_no_part_any_more_go(sweep: World, folder: Path) -> None:
    collect(sweep, folder)
    del sweep.tasks[1]
    done = collect(sweep, folder)
    assert found(folder) == {"out-1.txt": b"1", "1/log.txt": b"log 1"}
    assert done.removed == 2
    assert not (folder / "files" / "2").exists()


def test_the_users_own_files_stay(sweep: World, folder: Path) -> None:
    collect(sweep, folder)
    (folder / "files" / "2" / "mine.txt").write_text("mine")
    (folder / "files" / "mine.txt").write_text("mine")
    (folder / "files" / "empty").mkdir()
    sweep.tasks.clear()
    collect(sweep, folder)
    assert found(folder) == {"2/mine.txt": b"mine", "mine.txt": b"mine"}
    assert (folder / "files" / "empty").is_dir()


def test_a_file_that_the_user_changed_is_not_removed(sweep: World, folder: Path) -> None:
    collect(sweep, folder)
    (folder / "files" / "out-1.txt").write_bytes(b"my notes on it")
    sweep.tasks.clear()
    collect(sweep, folder)
    assert found(folder) == {"out-1.txt": b"my notes on it"}


def test_a_users_own_file_in_a_place_makes_the_result_step_aside(
    sweep: World, folder: Path
) -> None:
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "out-1.txt").write_text("mine")
    (folder / "files" / "2").write_text("mine")
    for _ in range(2):
        collect(sweep, folder)
        assert found(folder) == {
            "out-1.txt": b"mine", "1/out-1.txt": b"1", "1/log.txt": b"log 1",
            "2": b"mine", "out-2.txt": b"2", "2_/log.txt": b"log 2",
        }  # fmt: skip


def test_without_its_index_nothing_is_doubled_or_taken_for_ours(sweep: World, folder: Path) -> None:
    collect_files(sweep, folder)
    (folder / ".written.jsonl").unlink()
    sweep.opened.clear()
    collect_files(sweep, folder)
    assert sweep.opened == []
    sweep.tasks.clear()
    collect_files(sweep, folder)
    assert (folder / "out-1.txt").exists()


def test_a_torn_index_is_read_as_far_as_it_goes(sweep: World, folder: Path) -> None:
    collect(sweep, folder)
    with (folder / ".written.jsonl").open("ab") as index:
        index.write(b'\n{"path":"files/out-1.txt","si')
    sweep.opened.clear()
    sweep.task("3", files={"out-3.txt": b"3"})
    collect(sweep, folder)
    assert sweep.opened == ["out-3.txt"]
    assert found(folder) == EXPECTED | {"out-3.txt": b"3"}


def test_an_index_that_names_files_elsewhere_removes_nothing_there(
    world: World, folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    status = target.stat()
    folder.mkdir(parents=True)
    (folder / "files").mkdir()
    (folder / ".written.jsonl").write_text(
        f'{{"path":"files/../../../precious","size":{status.st_size},"mtime_ns":{status.st_mtime_ns}}}\n'
    )
    collect(world, folder)
    assert target.read_text() == "precious"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_the_rename_leaves_no_file_of_ours_unknown(
    sweep: World, folder: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    rename = os.rename

    def dying(*args: str, dst_dir_fd: int) -> None:
        if moment == "after":
            rename(*args, dst_dir_fd=dst_dir_fd)
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", dying)
        killed(lambda: collect(sweep, folder))
    assert found(folder) == ({} if moment == "before" else {"out-1.txt": b"1"})
    collect(sweep, folder)
    assert found(folder) == EXPECTED
    sweep.tasks.clear()
    collect(sweep, folder)
    assert found(folder) == {}
    assert not [path for path in folder.iterdir() if path.name.endswith(".part")]


def test_a_crash_after_a_crash_that_tore_the_index_loses_no_line(
    sweep: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect(sweep, folder)
    with (folder / ".written.jsonl").open("ab") as index:
        index.write(b'{"path":"files/out-9.t')
    sweep.task("3", files={"out-3.txt": b"3"})
    rename = os.rename

    def dying(*args: str, dst_dir_fd: int) -> None:
        rename(*args, dst_dir_fd=dst_dir_fd)
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", dying)
        killed(lambda: collect(sweep, folder))
    assert found(folder) == EXPECTED | {"out-3.txt": b"3"}
    del sweep.tasks[2]
    assert collect(sweep, folder).removed == 1
    assert found(folder) == EXPECTED


# ---------------------------------------------------------------- attacks


@pytest.mark.parametrize("name", ["../out", "/tmp/corral-out", "a/../../out", "a\0b", ""])
def test_a_name_that_leads_out_is_refused_and_all_else_is_written(
    sweep: World, folder: Path, tmp_path: Path, name: str
) -> None:
    sweep.task("3", files={name: b"evil", "out-3.txt": b"3"})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CorralError, match="of task 3"):
        collect(sweep, folder)
    outside = [path for path in sorted(tmp_path.rglob("*")) if folder not in (path, *path.parents)]
    assert set(outside) - set(before) == {folder.parent} - set(before)
    assert found(folder) == EXPECTED | {"out-3.txt": b"3"}
    assert len((folder / "results.csv").read_text().splitlines()) == 4


def test_no_link_is_followed_out_of_the_folder(sweep: World, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "log.txt").write_text("precious")
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "1").symlink_to(outside)
    (folder / "files" / "out-1.txt").symlink_to(outside / "log.txt")
    (folder / "files" / "out-2.txt").symlink_to(outside / "new.txt")
    collect(sweep, folder)
    assert [(p.name, p.read_text()) for p in outside.iterdir()] == [("log.txt", "precious")]
    assert found(folder) == {
        "1_/out-1.txt": b"1", "1_/log.txt": b"log 1", "2/out-2.txt": b"2", "2/log.txt": b"log 2",
    }  # fmt: skip


def test_a_folder_of_ours_that_became_a_link_is_not_followed(
    sweep: World, folder: Path, tmp_path: Path
) -> None:
    collect(sweep, folder)
    outside = tmp_path / "outside"
    shutil.move(folder / "files" / "1", outside)
    (folder / "files" / "1").symlink_to(outside)
    sweep.tasks.clear()
    collect(sweep, folder)
    assert (outside / "log.txt").read_bytes() == b"log 1"


def test_a_link_in_place_of_files_itself_is_told(
    sweep: World, folder: Path, tmp_path: Path
) -> None:
    folder.mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (folder / "files").symlink_to(tmp_path / "outside")
    with pytest.raises(CorralError, match="files: a link stands") as caught:
        collect(sweep, folder)
    assert "move it away" in (caught.value.hint or "")
    assert not list((tmp_path / "outside").iterdir())


def test_a_file_in_place_of_files_is_told(sweep: World, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "files").write_text("mine")
    with pytest.raises(CorralError, match="files: results cannot be written: File exists"):
        collect(sweep, folder)
    assert (folder / "files").read_text() == "mine"


def test_a_damaged_file_replaces_nothing(sweep: World, folder: Path) -> None:
    collect(sweep, folder)
    sweep.tasks.clear()
    result = sweep.task("1", files={"out-1.txt": b"other bytes"})
    (sweep.blobs / result.files[0].sha256).write_bytes(b"other")
    with pytest.raises(CorralError, match="5 instead of 11"):
        collect(sweep, folder)
    assert found(folder) == EXPECTED
    assert not [path for path in folder.iterdir() if path.name.endswith(".part")]


# ---------------------------------------------------------------- laws


@given(
    history=st.lists(
        st.lists(
            st.sampled_from(["a", "b", "a/x", "b/x", "1", "1/a", "2"]), unique=True, max_size=5
        ),
        min_size=1,
        max_size=4,
    )
)
def test_a_folder_after_any_history_is_that_of_a_fresh_collection(
    history: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("history")
    for values in history:
        world = World(base / "blobs", names=("T",)).declares("{T}", "log")
        for value in values:
            world.task(value, files={value: value.encode(), "log": b"log"})
        collect(world, base / "long")
    collect(world, base / "fresh")
    assert found(base / "long") == found(base / "fresh")


def test_files_go_into_a_folder_of_their_own(sweep: World, tmp_path: Path) -> None:
    target = tmp_path / "out"
    assert collect_files(sweep, target) == 4
    names = {str(p.relative_to(target)) for p in target.rglob("*") if p.is_file()}
    assert names == {*EXPECTED, ".written.jsonl"}


def test_files_do_not_go_into_a_results_folder(sweep: World, folder: Path) -> None:
    collect(sweep, folder)
    with pytest.raises(UsageError, match="holds a run's results already"):
        collect_files(sweep, folder)
    assert found(folder) == EXPECTED
