"""The store: commits in groups, errors that undo only themselves, foreign files refused."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from corral.engine import events
from corral.errors import StoreError
from corral.store import sql, sqlite
from corral.store.blobs import Blobs
from corral.store.folder import MasterAddress, StateFolder
from corral.store.room import Ballast, Room, room
from corral.store.sqlite import SqliteStore, SqliteTx
from tests.support.invariants import TASK_STEPS
from tests.support.smalldisk import small_disk
from tests.support.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from corral.store.base import Tx

SOURCE = Path(__file__).parents[2] / "src" / "corral"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore.open(tmp_path / "corral.db")
    yield opened
    opened.close()


def put(tx, name: str, slots: int) -> int:
    """Keep something that can be asked for: a host with so many slots."""
    if tx.row("host_of_name", name) is None:
        tx.insert("host_new", name, slots, 1)
    tx.change("host_slots", tx.value("host_of_name", name), slots)
    return slots


def got(reader, name: str) -> int | None:
    row = reader.row("host_of_name", name)
    return None if row is None else row[2]


def test_what_was_answered_is_there_for_every_later_reader(store: SqliteStore) -> None:
    futures = [store.write(put, f"k{n}", n) for n in range(500)]
    assert [future.result() for future in futures] == list(range(500))
    with store.reader() as reader:
        assert got(reader, "k499") == 499


def test_an_error_undoes_only_its_own_changes(store: SqliteStore) -> None:
    def half(tx) -> None:
        put(tx, "half", 1)
        raise ValueError("oh")

    good, bad, after = store.write(put, "a", 1), store.write(half), store.write(put, "b", 2)
    assert (good.result(), after.result()) == (1, 2)
    with pytest.raises(ValueError, match="oh"):
        bad.result()
    with store.reader() as reader:
        assert got(reader, "half") is None
        assert got(reader, "b") == 2


def test_listeners_hear_topics_after_the_commit_and_not_of_what_was_undone(
    store: SqliteStore,
) -> None:
    heard: list[frozenset[str]] = []
    told = threading.Event()

    def listener(topics: frozenset[str]) -> None:
        heard.append(topics)
        told.set()

    def tells(tx, topic: str, *, fails: bool) -> None:
        tx.tell(topic)
        if fails:
            raise ValueError

    store.listen(listener)
    store.write(tells, "undone", fails=True)
    store.write(tells, "work", fails=False).result()
    assert told.wait(5)
    assert frozenset().union(*heard) == {"work"}


def test_a_reader_sees_one_snapshot(store: SqliteStore) -> None:
    store.write(put, "k", 1).result()
    with store.reader() as reader:
        assert got(reader, "k") == 1
        store.write(put, "k", 2).result()
        assert got(reader, "k") == 1


def test_a_closed_store_refuses(store: SqliteStore) -> None:
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.write(put, "k", 1)


def test_a_reader_that_comes_after_the_end_still_reads(store: SqliteStore) -> None:
    store.write(put, "k", 1).result()
    with store.reader() as reader:
        assert got(reader, "k") == 1
    store.close()  # with the connection that was kept for the next one
    with store.reader() as reader:
        assert got(reader, "k") == 1


def test_a_foreign_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "corral.db"
    connection = sqlite3.connect(path)
    connection.execute("create table other (x)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="not corral's"):
        SqliteStore.open(path)


def test_every_query_is_well_formed(store: SqliteStore) -> None:
    connection = sqlite3.connect(":memory:")
    for _, script, _ in sql.migrations("sqlite"):
        connection.executescript(script)
    for name, text in sql.queries("sqlite").items():
        numbers = [int(number) for number in re.findall(r"\?(\d+)", text)]
        bindings = [None] * max(numbers, default=text.count("?"))
        connection.execute(f"explain {text}", bindings).fetchall()
        assert name.islower()
    connection.close()


@pytest.mark.parametrize("name", ["attempts_live", "leases", "tickets_counted"])
def test_what_each_exchange_asks_costs_no_more_with_more_attempts(name: str) -> None:
    """Each read all attempts there ever were: the partial index was there, and not used."""
    connection = sqlite3.connect(":memory:")
    for _, script, _ in sql.migrations("sqlite"):
        connection.executescript(script)
    text = sql.queries("sqlite")[name]
    bindings = ["a1", 1][: 2 if "?2" in text else 1]
    plan = [row[3] for row in connection.execute(f"explain query plan {text}", bindings)]
    connection.close()
    assert plan[0].startswith("SEARCH a USING INDEX attempt_live (incarnation=?")


def test_every_query_is_used() -> None:
    source = "".join(path.read_text() for path in SOURCE.rglob("*.py"))
    unused = [name for name in sql.queries("sqlite") if f'"{name}"' not in source]
    assert unused == []


@pytest.mark.parametrize("state", TASK_STEPS)
@pytest.mark.parametrize("has_result", [True, False], ids=["with a result", "without"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_result_is_accepted_only_where_there_is_none(
    state: str, has_result: bool, epoch: int
) -> None:
    """Each guard of the statement holds by itself, also where a CHECK would not let it come to that."""
    world = World()
    world.submit("true {1..2}")
    world.agent().take()
    tx = SqliteTx(world.store._connection)
    tx.connection.execute("pragma ignore_check_constraints=1")
    tx.connection.execute(
        "update task set state = ?, accepted = ? where id = 1", (state, 1 if has_result else None)
    )
    changed = tx.change("task_accept", 1, 2, epoch)
    open_ = state in ("waiting", "active", "failed", "parked")
    assert bool(changed) == (open_ and not has_result and epoch == 0)
    accepted = tx.connection.execute("select accepted from task where id = 1").fetchone()[0]
    assert accepted == (2 if changed else 1 if has_result else None)


def test_blobs_are_found_by_their_content_and_checked(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    source = tmp_path / "source"
    source.write_bytes(b"some bytes")
    sha256, size = blobs.add(source)
    with blobs.open(sha256) as file:
        assert (file.read(), size) == (b"some bytes", 10)
    assert blobs.append("1-1-1-1", 2, 0, b"some ") == 5
    assert blobs.append("1-1-1-1", 2, 9, b"x") is None
    assert blobs.append("1-1-1-1", 2, 5, b"bytes") == 10
    assert blobs.land("1-1-1-1", 2, sha256=sha256, size=10)
    assert blobs.append("1-1-1-2", 2, 0, b"other") == 5
    assert not blobs.land("1-1-1-2", 2, sha256="0" * 64, size=5)
    assert blobs.part_size("1-1-1-2", 2) == 0
    assert blobs.sweep(set()) == 10


def test_one_process_holds_the_lock_and_secrets_are_private(tmp_path: Path) -> None:
    folder = StateFolder.find_or_make(tmp_path)
    lock = folder.try_lock()
    assert lock is not None
    assert folder.try_lock() is None
    lock.close()
    again = folder.try_lock()
    assert again is not None
    again.close()
    assert (folder.path / "secret").stat().st_mode & 0o077 == 0
    assert folder.path.stat().st_mode & 0o077 == 0
    (tmp_path / "deep" / "er").mkdir(parents=True)
    found = StateFolder.find(tmp_path / "deep" / "er")
    assert found is not None
    assert found.path == folder.path


def test_a_master_removes_what_dead_processes_had_begun_to_write(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    folder = StateFolder.find_or_make(tmp_path)
    written = {"secret", "master.json"}
    for name in written:
        (folder.path / f"{name}.{ended.pid}").write_text("half")
    another = folder.path / f"secret.{os.getppid()}"
    another.write_text("being written")
    folder.announce(MasterAddress(pid=os.getpid(), host="127.0.0.1", port=1))
    files = {path.name for path in folder.path.iterdir() if path.is_file()}
    assert files == {*written, another.name}


@pytest.mark.system("root")
def test_a_full_disk_gives_its_ballast_for_one_more_write(tmp_path: Path) -> None:
    with small_disk(tmp_path, size=24 << 20) as disk:
        ballast = Ballast(tmp_path / "ballast")
        ballast.lay()
        store = SqliteStore.open(tmp_path / "corral.db", relief=ballast.drop)
        store.write(lambda tx: tx.tell("x")).result()
        disk.fill()
        store.write(note, "b" * 100_000).result()  # more than the pages that are there
        assert not ballast.is_laid
        with store.reader() as reader:
            assert len(reader.rows("events", None, 9)) == 1
        disk.fill()
        with pytest.raises(StoreError, match="full"):
            store.write(note, "c" * 200_000).result()
        disk.clear()
        store.write(note, "d").result()
        with store.reader() as reader:
            assert len(reader.rows("events", None, 9)) == 2
        store.close()


def note(tx: Tx, text: str) -> None:
    events.add(tx, 1.0, "master", text=text)


def test_room_is_low_below_its_mark() -> None:
    assert Room(free=9, low_mark=10).is_low
    assert not Room(free=10, low_mark=10).is_low


def test_the_fuller_file_system_counts(tmp_path: Path) -> None:
    assert room([tmp_path, Path("/proc")]).is_low  # it has no room at all


def test_what_came_in_part_of_one_attempt_is_dropped_alone(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    for ticket, n in (("1-1-2-1", 0), ("1-1-2-1", 12), ("1-1-2-10", 2)):
        blobs.append(ticket, n, 0, b"half")
    assert blobs.begun() == {"1-1-2-1", "1-1-2-10"}
    blobs.forget("1-1-2-1")
    assert blobs.begun() == {"1-1-2-10"}
    assert blobs.part_size("1-1-2-10", 2) == 4


def test_two_may_make_the_tables_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "corral.db"
    checked = sqlite._checked_version

    def with_another_in_between(connection: sqlite3.Connection) -> int:
        version = checked(connection)
        monkeypatch.setattr(sqlite, "_checked_version", checked)
        SqliteStore.open(path).close()
        return version

    monkeypatch.setattr(sqlite, "_checked_version", with_another_in_between)
    store = SqliteStore.open(path)
    with store.reader() as reader:
        assert reader.rows("runs") == []
    store.close()
