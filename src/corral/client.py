"""How everything else reaches a state folder: asks its master, or opens the database itself.

What only looks always reads the database: it is on this machine, and a reader waits for nobody.
What changes goes to the living master; if there is none, the lock is taken, written, let go.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import msgspec

from corral import environment
from corral.engine import control, queries
from corral.engine.control import Changed
from corral.errors import CorralError, MasterError, NotFoundError
from corral.model.asked import Change, Follow, Followed, Problem, Serve, Submit
from corral.model.run import Submitted
from corral.protocol import user_token

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from corral.ids import RunId, TaskId
    from corral.model.run import Run, Submission
    from corral.store.base import Reader
    from corral.store.folder import MasterAddress, StateFolder
    from corral.store.sqlite import SqliteStore

T = TypeVar("T")

ANSWER_S = 600.0  # a master answers in milliseconds; millions of tasks are submitted within this
BETWEEN_MASTERS_S = 10.0  # one master ends, the next begins
LOOK_S = 0.02


class Client:
    """A state folder as a user sees it."""

    def __init__(self, folder: StateFolder) -> None:
        self.folder = folder
        self.store: SqliteStore | None = None  # opened when it is first needed

    def close(self) -> None:
        """Close what was opened."""
        if self.store is not None:
            self.store.close()
            self.store = None

    @contextmanager
    def reader(self) -> Generator[Reader]:
        """Open a snapshot of the database.

        Raises:
            NotFoundError: There is none yet.
        """
        if self.store is None:
            if not self.folder.database.exists():
                raise NotFoundError("there is no run here yet", hint="corral run COMMAND makes one")
            self.store = self.folder.open_store()
        with self.store.reader() as reader:
            yield reader

    def run(self, text: str) -> Run:
        """Find a run by id, name, beginning of a name, or ``last``."""
        with self.reader() as reader:
            return queries.find_run(reader, text)

    # ---------------------------------------------------------------- what changes

    def submit(self, submission: Submission) -> Submitted:
        """Hand a command to the living master."""
        asked = Submit(submission=submission, environment=environment.own())
        return self._ask("runs", asked, Submitted)

    def change(self, verb: str, run: RunId, tasks: Sequence[TaskId] | None = None) -> Changed:
        """Carry out a verb: by the master if one lives, else at once in the database.

        Raises:
            StateError: It makes no sense for the run's state.
        """
        deadline = time.monotonic() + BETWEEN_MASTERS_S
        while True:
            address = self.folder.master()
            if address is not None:
                listed = None if tasks is None else [int(task) for task in tasks]
                return self._ask(f"runs/{run}/{verb}", Change(tasks=listed), Changed)
            lock = self.folder.try_lock()
            if lock is not None:
                break
            if time.monotonic() > deadline:
                raise MasterError(
                    f"{self.folder.path}: another process holds the lock and does not answer",
                    hint="look for a hanging corral process with ps",
                )
            time.sleep(LOOK_S)
        try:
            return self._change_alone(verb, run, tasks)
        finally:
            lock.close()

    def serve_run(self, run: RunId) -> None:
        """Have the living master see to it that the run has agents."""
        self._ask(f"runs/{run}/serve", Serve(environment=environment.own()), dict)

    def collect(self, run: RunId) -> bool:
        """Have the living master bring the results folder up to date; False if there is none."""
        if self.folder.master() is None:
            return False
        self._ask(f"runs/{run}/collect", {}, dict)
        return True

    def follow(self, asked: Follow) -> Followed:
        """Have the living master give what a running attempt has written beyond the offsets."""
        return self._ask("follow", asked, Followed)

    def _change_alone(self, verb: str, run: RunId, tasks: Sequence[TaskId] | None) -> Changed:
        store = self.store or self.folder.open_store()
        self.store = store
        changed = store.write(control.apply, verb, run, tasks, time.time()).result()
        if verb == "rm":
            with store.reader() as reader:
                used = {row[0] for row in reader.rows("blobs_used")}
            self.folder.blobs.sweep(used)
        return changed

    def _ask(self, path: str, asked: object, kind: type[T]) -> T:
        """Ask the master; its errors come back as what they were."""
        address = self.folder.master()
        if address is None:
            raise MasterError("the master has just ended", hint="try again")
        try:
            status, body = _post(address, f"/api/v1/{path}", self.folder.secret, asked)
        except OSError as error:
            raise MasterError(
                f"the master (process {address.pid}) does not answer: {error}", hint="try again"
            ) from error
        if status == 200:
            return msgspec.json.decode(body, type=kind)
        if status == 401:
            raise MasterError(f"the master (process {address.pid}) refuses", hint="try again")
        try:
            problem = msgspec.json.decode(body, type=Problem)
        except msgspec.DecodeError as error:  # a master that ends cuts what it was doing short
            raise MasterError(
                f"the master (process {address.pid}) broke off ({status})", hint="try again"
            ) from error
        raise _error(problem)


def _post(address: MasterAddress, path: str, secret: bytes, asked: object) -> tuple[int, bytes]:
    import http.client

    connection = http.client.HTTPConnection(address.host, address.port, timeout=ANSWER_S)
    try:
        connection.request(
            "POST",
            path,
            body=msgspec.json.encode(asked),
            headers={
                "authorization": f"Bearer {user_token(secret)}",
                "host": f"{address.host}:{address.port}",
            },
        )
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(str(error) or type(error).__name__) from error
    finally:
        connection.close()


def _error(problem: Problem) -> CorralError:
    error = CorralError(problem.error, hint=problem.hint)
    error.exit_code = problem.exit_code
    return error
