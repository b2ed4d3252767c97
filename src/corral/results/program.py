"""Runs a program of the user's own over results: what it is told, what holds it, how it ended.

Such a program gets one JSON line a task on its stdin: the task's number, its parameters, its
replicate, and the paths of what it left. It is started in the folder of the command.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, Self

import msgspec

from corral import openfiles
from corral.errors import UsageError
from corral.failpoint import around
from corral.model.base import Frozen
from corral.results.paths import is_safe
from corral.store import leftovers

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from types import TracebackType

    from corral.model.task import Captured, Result
    from corral.results.source import Source

LOOK_S = 0.05  # between two looks whether it is to be stopped
WORDS_BYTES = 4096  # of stderr: surely holds the last lines
WORDS_CHARS = 300
HEAD = 1024  # bytes of a program that show whether it is text
INTERPRETER = "its first line names its interpreter: #!/usr/bin/env python3"
_HELD = '((read -r x < "/dev/fd/$3"; kill -9 0) &); test -z "$1" || ulimit -v "$1" && exec "$2"'
_NOT_EXECUTED = (126, 127)
BOX = 1_000  # tasks whose files share a folder: a folder of a million is slow


class Told(Frozen, frozen=True, kw_only=True):
    """One line of a program's stdin."""

    task: int
    parameters: dict[str, str]
    rep: int
    host: str
    stdout: str  # absolute path, like all that follow
    stderr: str
    files: dict[str, str]  # by the name that the task gave them


class Ended(Frozen, frozen=True, kw_only=True):
    """How a program ended."""

    how: Literal["exited", "late", "stopped"]  # late: it took more time than it may
    exit: int = 0  # -9: signal 9
    words: str = ""  # the end of its stderr


class Desk:
    """A folder in which results lie as files for as long as a program looks at them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._folder = leftovers.temporary("results")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    def lay(self, result: Result) -> Told:
        """Put a result there; what is large is linked to, not copied."""
        place = Path(self._folder.name, str(result.number // BOX), str(result.number))
        place.mkdir(parents=True)
        for name, captured in (("stdout", result.stdout), ("stderr", result.stderr)):
            self._put(place / name, captured)
        files: dict[str, str] = {}
        for file in result.files:
            if is_safe(file.name):
                path = place / "files" / file.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(self._source.path(file.sha256))
                files[file.name] = str(path)
        return Told(
            task=result.number,
            parameters=dict(zip(self._source.names, result.values, strict=True)),
            rep=result.rep,
            host=result.host,
            stdout=str(place / "stdout"),
            stderr=str(place / "stderr"),
            files=files,
        )

    def _put(self, path: Path, captured: Captured) -> None:
        if captured.sha256:
            path.symlink_to(self._source.path(captured.sha256))
        else:
            path.write_bytes(captured.inline)


def line(told: Told) -> bytes:
    """Write a line of a program's stdin."""
    return msgspec.json.encode(told) + b"\n"


def run(
    program: str,
    *,
    folder: str,
    feed: Iterable[bytes],
    out: BinaryIO,
    limit_s: float,
    memory: int | None = None,
    stop: threading.Event | None = None,
) -> Ended:
    """Run a program, its stdout into the file ``out``; whatever happens, none of it is left.

    ``memory`` is in bytes, of each of its processes; None = as much as there is.

    Raises:
        UsageError: It cannot be started.
    """
    out.flush()
    with tempfile.TemporaryFile() as errors, _lifeline() as line:
        process = _start(_argv(program, memory, line), program, folder, out, errors, line)
        watch = _Watch(process.pid, limit_s=limit_s, stop=stop)
        try:
            _hand_over(process, feed)
            with around("program.wait"):
                os.waitid(
                    os.P_PID, process.pid, os.WEXITED | os.WNOWAIT
                )  # its group is still its own
        finally:
            watch.end()
            _kill_all(process.pid)
            with around("program.reap"):
                process.wait()
        words = _last_words(errors)
    if process.returncode in _NOT_EXECUTED and words.startswith("sh: "):  # the shell before it
        raise UsageError(f"{program}: cannot be started: {words}", hint=INTERPRETER)
    return Ended(how=watch.how, exit=process.returncode, words=words)


def show_exit(code: int) -> str:
    """Write how a process ended."""
    return f"exit {code}" if code >= 0 else f"signal {-code}"


def last_word(ended: Ended) -> str:
    """Give the last line of what a program said, to be put after something else."""
    lines = ended.words.splitlines()
    return f": {lines[-1]}" if lines else ""


def check_there(program: str, folder: str) -> None:
    """See that a program can be started.

    Raises:
        UsageError: It cannot.
    """
    path = Path(folder, program)
    if not path.is_file():
        raise UsageError(f"{program}: there is no such program", hint=f"looked for {path}")
    if not os.access(path, os.X_OK):
        raise UsageError(f"{program}: is not executable", hint=f"chmod +x {program}")
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head.startswith(b"#!") and b"\0" not in head:  # a shell would take it for its own
        raise UsageError(f"{program}: cannot be started as it is", hint=INTERPRETER)


@contextmanager
def _lifeline() -> Generator[int]:
    """Give the end of a pipe that tells who reads it when we are gone, however that came."""
    theirs, ours = os.pipe()
    try:
        yield theirs
    finally:
        os.close(theirs)
        os.close(ours)


def _argv(program: str, memory: int | None, lifeline: int) -> list[str]:
    limit = "" if memory is None else str(memory >> 10)
    return ["/bin/sh", "-c", _HELD, "sh", limit, program, str(lifeline)]


def _start(
    argv: list[str], program: str, folder: str, out: BinaryIO, errors: BinaryIO, lifeline: int
) -> subprocess.Popen[bytes]:
    check_there(program, folder)
    try:
        with around("program.start"):
            return subprocess.Popen(
                openfiles.as_started(argv),
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=errors,
                start_new_session=True,
                pass_fds=[lifeline],
            )
    except OSError as error:
        raise UsageError(
            f"{program}: cannot be started: {error.strerror}", hint="is memory short, or disk?"
        ) from error


def _hand_over(process: subprocess.Popen[bytes], feed: Iterable[bytes]) -> None:
    """Write all lines, for as long as the program wants them."""
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as stdin:  # else its exit code tells
        for data in feed:
            stdin.write(data)


class _Watch:
    """Kills a program that takes too long, or that nobody waits for any more."""

    def __init__(self, pid: int, *, limit_s: float, stop: threading.Event | None) -> None:
        self.how: Literal["exited", "late", "stopped"] = "exited"
        self._pid = pid
        self._deadline = time.monotonic() + limit_s
        self._stop = stop
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch a program", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Say that the program has ended."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(LOOK_S):
            if self._stop is not None and self._stop.is_set():
                self.how = "stopped"
            elif time.monotonic() > self._deadline:
                self.how = "late"
            else:
                continue
            _kill_all(self._pid)
            return


def _kill_all(pid: int) -> None:
    """Kill a program with what it started, before it is reaped: its group is nobody else's yet."""
    with suppress(ProcessLookupError), around("program.kill"):
        os.killpg(pid, signal.SIGKILL)


def _last_words(errors: BinaryIO) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - WORDS_BYTES))
    lines = errors.read().decode("utf-8", "replace").rstrip().splitlines()
    return "\n".join(lines)[-WORDS_CHARS:]
