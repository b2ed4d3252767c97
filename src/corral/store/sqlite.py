"""The store on SQLite: one writer thread that takes functions and groups their commits.

WAL and ``synchronous=FULL``: what was answered survives kill -9 and a power cut. The writer drains
its queue into one transaction, a savepoint per function, so that one error undoes only itself.
"""

from __future__ import annotations

import os
import queue
import shlex
import sqlite3
import threading
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from corral.errors import StoreError
from corral.failpoint import around
from corral.store import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from corral.store.base import Row

T = TypeVar("T")

OLDEST = (3, 35, 0)  # RETURNING and UPDATE FROM
APPLICATION_ID = 0x636F7272  # "corr": says whose database the file is
IDLE_READERS = 4  # connections kept for readers to come
GROUP = 200  # functions in one commit at most: bounds how long the first of them waits
BUSY_MS = 5_000  # another process (a reader's checkpoint, `corral db`) may hold the file so long


class SqliteStore:
    """See `corral.store.base.Store` for the contract."""

    def __init__(
        self,
        path: Path | None,
        connection: sqlite3.Connection,
        relief: Callable[[], bool] = lambda: False,
    ) -> None:
        self._relief = relief
        self._path = path  # None: in memory, and written by the caller's own thread
        self._connection = connection
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._idle: list[sqlite3.Connection] = []  # readers' connections, outside any transaction
        self._listeners: list[Callable[[frozenset[str]], None]] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    @classmethod
    def open(cls, path: Path, *, relief: Callable[[], bool] = lambda: False) -> SqliteStore:
        """Open the database, made and brought up to date if need be.

        ``relief`` is called when the disk is full; if it made room, the same is tried once more,
        and listeners are told of "full".

        Raises:
            StoreError: It is no database of corral, of a newer corral, damaged or unreachable.
        """
        return cls(path, _connect(path), relief)

    @classmethod
    def in_memory(cls) -> SqliteStore:
        """Make one that vanishes and runs each write at once in the caller's thread, for simulation."""
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        connection.execute("pragma foreign_keys=on")
        _migrate(connection)
        return cls(None, connection)

    def write(self, change: Callable[..., T], *args: Any, **kwargs: Any) -> Future[T]:
        work = _Work(change, args, kwargs)
        with self._lock:
            if self._closed:
                raise StoreError("the store is closed")
            if self._path is not None:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._serve, name="store", daemon=True)
                    self._thread.start()
                self._queue.put(work)
                return work.future
        self._commit([work])
        return work.future

    @contextmanager
    def reader(self) -> Generator[SqliteReader]:
        if self._path is None:
            yield SqliteReader(self._connection)
            return
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = _open_for_reading(self._path)
        kept = False
        try:
            connection.execute("begin")
            yield SqliteReader(connection)
            connection.execute("rollback")
            kept = self._keep(connection)
        finally:
            if not kept:
                connection.close()

    def _keep(self, connection: sqlite3.Connection) -> bool:
        """Keep a reader's connection for the next one: to open one takes longer than most reads."""
        with self._lock:
            if self._closed or len(self._idle) >= IDLE_READERS:
                return False
            self._idle.append(connection)
            return True

    def listen(self, listener: Callable[[frozenset[str]], None]) -> None:
        self._listeners.append(listener)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            idle, self._idle = self._idle, []  # a reader that comes later opens its own
            self._queue.put(None)
        if self._thread is not None:
            self._thread.join()
        for connection in idle:
            connection.close()
        self._connection.close()

    def _serve(self) -> None:
        while (first := self._queue.get()) is not None:
            group = [first]
            last = False
            while len(group) < GROUP and not self._queue.empty():
                work = self._queue.get()
                if work is None:
                    last = True
                    break
                group.append(work)
            self._commit(group)
            if last:
                return

    def _commit(self, group: list[_Work]) -> None:
        """Run a group in one transaction; nobody is answered before it is durable."""
        tx = SqliteTx(self._connection)
        try:
            try:
                self._run(tx, group)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not self._relief():
                    raise
                tx = SqliteTx(self._connection)
                tx.tell("full")
                self._run(tx, group)
        except sqlite3.Error as error:
            broken = StoreError(
                f"the database cannot be written: {error}",
                hint="look at the disk's free space and the state folder's permissions",
            )
            broken.__cause__ = error
            for work in group:
                if not work.future.done():
                    work.future.set_exception(broken)
            return
        if tx.topics:
            topics = frozenset(tx.topics)
            for listener in self._listeners:
                listener(topics)
        for work in group:
            work.answer()

    def _run(self, tx: SqliteTx, group: list[_Work]) -> None:
        try:
            self._connection.execute("begin immediate")
            for work in group:
                work.run(tx)
            with around("store.commit"):
                self._connection.execute("commit")
        except sqlite3.Error:
            if self._connection.in_transaction:
                self._connection.execute("rollback")
            raise


class _Work:
    """A function that waits for its commit, then its outcome."""

    def __init__(
        self, change: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._change = change
        self._args = args
        self._kwargs = kwargs
        self._value: Any = None
        self._error: Exception | None = None
        self.future: Future[Any] = Future()

    def run(self, tx: SqliteTx) -> None:
        """Run under a savepoint; an error of the function undoes what it did and nothing else.

        What was cancelled before is left out; from here on it cannot be cancelled any more. It may
        be run once more after the whole group was undone.
        """
        if not (self.future.running() or self.future.set_running_or_notify_cancel()):
            return
        self._error = None
        topics = set(tx.topics)
        tx.connection.execute("savepoint work")
        try:
            self._value = self._change(tx, *self._args, **self._kwargs)
        except sqlite3.DatabaseError as error:
            if not isinstance(error, sqlite3.IntegrityError):
                raise  # the disk or the file: the whole group fails, nobody is answered
            self._undo(tx, topics, error)
        except Exception as error:  # noqa: BLE001  (it belongs to the caller: answer() hands it on)
            self._undo(tx, topics, error)
        tx.connection.execute("release work")

    def answer(self) -> None:
        if self.future.cancelled():
            return
        if self._error is not None:
            self.future.set_exception(self._error)
        else:
            self.future.set_result(self._value)

    def _undo(self, tx: SqliteTx, topics: set[str], error: Exception) -> None:
        tx.connection.execute("rollback to work")
        tx.topics = topics
        self._error = error


class SqliteReader:
    """See `corral.store.base.Reader`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._queries = sql.queries("sqlite")

    def rows(self, name: str, *values: object) -> list[Row]:
        return self.connection.execute(self._queries[name], values).fetchall()

    def each(self, name: str, *values: object) -> Iterator[Row]:
        yield from self.connection.execute(self._queries[name], values)

    def row(self, name: str, *values: object) -> Row | None:
        found: Row | None = self.connection.execute(self._queries[name], values).fetchone()
        return found

    def value(self, name: str, *values: object) -> Any:
        found = self.row(name, *values)
        return None if found is None else found[0]


class SqliteTx(SqliteReader):
    """See `corral.store.base.Tx`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self.topics: set[str] = set()

    def change(self, name: str, *values: object) -> int:
        return self.connection.execute(self._queries[name], values).rowcount

    def insert(self, name: str, *values: object) -> int:
        new = self.connection.execute(self._queries[name], values).lastrowid
        assert new is not None
        return new

    def change_each(self, name: str, rows: Iterable[Sequence[object]]) -> int:
        return self.connection.executemany(self._queries[name], rows).rowcount

    def tell(self, topic: str) -> None:
        self.topics.add(topic)


def _connect(path: Path) -> sqlite3.Connection:
    if sqlite3.sqlite_version_info < OLDEST:
        raise StoreError(
            f"SQLite {sqlite3.sqlite_version} is too old",
            hint="corral needs a Python with SQLite 3.35 or newer",
        )
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000
        )
        connection.execute("pragma foreign_keys=on")
        _check_owner(connection, path)
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=full")
        connection.execute("pragma cache_size=-8000")  # kB: bounds the master's memory
        connection.execute("pragma wal_autocheckpoint=8000")  # pages: a hot one goes home once
        connection.execute("pragma journal_size_limit=67108864")  # a big submission's WAL shrinks
        _migrate(connection)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(
            f"{path}: cannot be used as a database: {error}", hint=_way_out(error)
        ) from error
    return connection


def _way_out(error: Exception) -> str:
    """Say what to do about a database that does not open; a sound one is never to be moved away."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return "move it away to start afresh; its results stay in results/"
    return "look at the disk's free space and the state folder's permissions"


def _open_for_reading(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            f"file:{_quoted(path)}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_MS / 1000,
        )
        _check_owner(connection, path)
        _checked_version(connection)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be read: {error}", hint=_way_out(error)) from error
    return connection


def _quoted(path: Path) -> str:
    """Write a path as SQLite's URI wants it."""
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _check_owner(connection: sqlite3.Connection, path: Path) -> None:
    owner = connection.execute("pragma application_id").fetchone()[0]
    empty = not connection.execute("select count(*) from sqlite_master").fetchone()[0]
    if owner == APPLICATION_ID or (empty and owner == 0):
        return
    raise StoreError(
        f"{path}: this database is not corral's",
        hint="move it away, or work in another folder",
    )


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables up to date, each migration in one transaction."""
    version = _checked_version(connection)
    for step in sql.migrations("sqlite"):
        if step.number <= version:
            continue
        try:
            with around("store.migration"):
                connection.executescript(
                    f"begin immediate;\n{step.script}\n"
                    f"insert into migration values ({step.number}, '{step.digest}');\n"
                    f"pragma user_version={step.number};\n"
                    f"pragma application_id={APPLICATION_ID};\ncommit;"
                )
        except sqlite3.OperationalError:
            if connection.in_transaction:
                connection.execute("rollback")
            if _checked_version(connection) < step.number:
                raise
            # else another process was faster


def _checked_version(connection: sqlite3.Connection) -> int:
    """Give the version of the tables; 0 if there are none yet.

    Raises:
        StoreError: They are of a newer corral, or of one that made them otherwise.
    """
    version: int = connection.execute("pragma user_version").fetchone()[0]
    steps = sql.migrations("sqlite")
    newest = steps[-1].number
    if version > newest:
        raise StoreError(
            f"the database is of version {version}, this corral knows up to {newest}",
            hint="use the newer corral that wrote it",
        )
    made: dict[int, str] = {}
    if connection.execute("select 1 from sqlite_master where name = 'migration'").fetchone():
        made = dict(connection.execute("select number, digest from migration"))
    if any(made.get(step.number) != step.digest for step in steps if step.number <= version):
        folder = Path(connection.execute("pragma database_list").fetchone()[2]).parent
        raise StoreError(
            f"the state folder {folder} is of a corral that was not released yet;"
            " what is in results/ stays without it",
            hint=shlex.join(["mv", str(folder), f"{folder}.old"]),
        )
    return version
