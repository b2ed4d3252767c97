"""A state folder that somebody or something has damaged: found, named, never a traceback."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.corral import Corral

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(60)  # several commands each, on a machine that is shared


def database(corral: Corral) -> Path:
    return corral.folder / ".corral" / "corral.db"


def spoil(corral: Corral, statement: str) -> None:
    """Change the database behind corral's back."""
    connection = sqlite3.connect(database(corral))
    with connection:
        connection.execute(statement)
    connection.close()


def blob(corral: Corral) -> Path:
    [found] = [
        path for path in (corral.folder / ".corral" / "blobs").glob("??/*") if path.is_file()
    ]
    return found


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder that two runs have left."""
    corral = Corral(tmp_path_factory.mktemp("once"))
    corral("run", "echo {1..3} > {>out.txt}")
    corral("run", "--name", "bad", "exit {3..4}", code=1)
    return corral.folder / ".corral"


@pytest.fixture
def ran(corral: Corral, once: Path) -> Corral:
    """The command line with a copy of it, to be spoilt."""
    shutil.copytree(once, corral.folder / ".corral")
    return corral


def test_a_sound_folder_keeps_every_promise(ran: Corral) -> None:
    assert "promises kept" in ran("db", "check", "--deep").stderr
    assert ran.json("db", "check")["breaches"] == []


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("update attempt set outcome = 'superseded' where id = 1", "done"),
        ("update task set epoch = epoch + 1 where id = 1", "done"),
        ("update task set state = 'waiting', accepted = null where id = 2", "accepted"),
        ("update attempt set exit = 3 where id = 1", "failed_result"),
        ("update task set state = 'active' where state = 'failed'", "active"),
        ("update run_count set n = n + 1 where state = 'done'", "counts"),
        ("update task set attempts = 7 where id = 1", "numbers"),
        ("update attempt set reason = 'first', number = 2 where id = 1", "numbers"),
        ("update attempt set ended = null where id = 1", "ends"),
        ("update attempt set host_id = 999 where id = 1", "references"),
        (
            "update attempt set state = 'running', outcome = null where outcome = 'failed'",
            "leases",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_each_broken_promise_is_found(ran: Corral, statement: str, check: str) -> None:
    spoil(ran, statement)
    assert f'"check": "{check}"' in ran("db", "check", "--json", code=1).stdout


def test_bytes_that_are_gone_cut_or_altered_are_found(corral: Corral) -> None:
    corral("run", "head -c 100000 /dev/zero > {>out.bin}")
    path = blob(corral)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert "cut short" in corral("db", "check", code=1).stdout
    path.write_bytes(b"1" + whole[1:])
    assert "promises kept" in corral("db", "check").stderr
    assert "altered" in corral("db", "check", "--deep", code=1).stdout
    path.unlink()
    assert "missing" in corral("db", "check", code=1).stdout


def test_a_damaged_file_is_an_error_of_two_lines(ran: Corral) -> None:
    path = database(ran)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * min(60_000, size - 100))
    for words in (("db", "check"), ("status",), ("run", "echo {1..2}")):
        done = ran(*words, code=None)
        assert done.returncode in (1, 4), done
        if done.returncode == 4:
            *_, what, hint = done.stderr.splitlines()
            assert what.startswith("corral: ")
            assert hint.startswith("  try: ")


def test_a_foreign_database_is_refused_untouched(corral: Corral) -> None:
    corral("run", "true {1..2}")
    path = database(corral)
    for left in path.parent.glob("corral.db*"):
        left.unlink()
    connection = sqlite3.connect(path)
    connection.execute("create table mine (a)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    done = corral("run", "echo {1..2}", code=4)
    assert "not corral's" in done.stderr
    assert path.read_bytes() == before


def test_a_state_folder_from_before_the_first_release_is_refused(ran: Corral) -> None:
    spoil(ran, "drop table command")
    spoil(ran, "drop table migration")
    folder = database(ran).parent
    move = f"mv {folder} {folder}.old"
    for words in (("run", "echo {1..2}"), ("status",), ("ls",)):
        what, hint = ran(*words, code=4).stderr.splitlines()[-2:]
        assert what.startswith(f"corral: the state folder {folder} is of a corral that was not")
        assert hint == f"  try: {move}"
    subprocess.run(move, shell=True, check=True)
    assert ran("run", "echo {1..2}").stderr.count("2 done")


def test_a_database_of_a_newer_corral_is_refused_with_its_version(ran: Corral) -> None:
    spoil(ran, "pragma user_version = 4711")
    done = ran("run", "echo {1..2}", code=4)
    assert "4711" in done.stderr
    assert "newer corral" in done.stderr
