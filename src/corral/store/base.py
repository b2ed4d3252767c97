"""What a store promises, whatever the database behind it.

The database is the queue. All changes are functions ``change(tx, …) -> value`` handed to
`Store.write`; the store runs them one after the other, many in one commit, and answers each when
its commit is durable. A function does SQL and nothing else: no waiting, no files, no network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

Row = tuple[Any, ...]
T = TypeVar("T")


class Reader(Protocol):
    """Named queries that only look; one consistent snapshot from open to close."""

    def rows(self, name: str, *values: object) -> list[Row]:
        """Give all rows of the query."""
        ...

    def each(self, name: str, *values: object) -> Iterator[Row]:
        """Stream the rows; memory does not grow with their number."""
        ...

    def row(self, name: str, *values: object) -> Row | None:
        """Give the first row, None if there is none."""
        ...

    def value(self, name: str, *values: object) -> Any:
        """Give the first column of the first row, None if there is none."""
        ...


class Tx(Reader, Protocol):
    """One function's share of a commit. If the function raises, only its own changes are undone."""

    def change(self, name: str, *values: object) -> int:
        """Execute; the number of rows it changed."""
        ...

    def insert(self, name: str, *values: object) -> int:
        """Execute an insert; the new row's id."""
        ...

    def change_each(self, name: str, rows: Iterable[Sequence[object]]) -> int:
        """Execute for every row; the number of rows changed in all."""
        ...

    def tell(self, topic: str) -> None:
        """Have the store's listeners told of ``topic`` once this commit is durable."""
        ...


class Store(Protocol):
    """A place that outlives every process."""

    def write(self, change: Callable[..., T], *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``change(tx, *args, **kwargs)`` in the next commit; done when that is durable."""
        ...

    def reader(self) -> AbstractContextManager[Reader]:
        """Open a snapshot; never waits for a writer, never keeps one waiting."""
        ...

    def listen(self, listener: Callable[[frozenset[str]], None]) -> None:
        """Call ``listener(topics)`` after each commit that told any, from the writer's thread."""
        ...

    def close(self) -> None:
        """Finish what was handed in, then close; later writes raise `StoreError`."""
        ...
