"""A run to collect: rows in memory, large bytes in real files, as the store would hand them out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, BinaryIO

from corral.ids import Ticket
from corral.model.attempt import Attempt
from corral.model.task import Captured, Result, ResultFile
from corral.results.source import OutputTemplate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INLINE = 64 * 1024  # bytes; the store keeps more than that in a file


@dataclass
class World:
    """A `corral.results.source.Source` that a test fills."""

    blobs: Path
    names: tuple[str, ...] = ()
    reps: int = 1
    folder: str = ""
    code: str = "c0de" * 16
    rule: str = "concat"
    source: str = 'run = "./sim"\n'
    outputs: tuple[OutputTemplate, ...] = ()
    tasks: list[Result] = field(default_factory=list)
    starts: list[Attempt] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)  # names of the files that were read

    def results(self) -> Iterator[Result]:
        yield from self.tasks

    def printed(self) -> Iterator[tuple[int, bytes, int, str]]:
        for result in self.results():
            if result.state == "done":
                stdout = result.stdout
                yield result.number, stdout.inline, stdout.size, stdout.sha256

    def attempts(self) -> Iterator[Attempt]:
        yield from self.starts

    def open(self, captured: Captured) -> BinaryIO:
        return (self.blobs / captured.sha256).open("rb")

    def open_file(self, file: ResultFile) -> BinaryIO:
        self.opened.append(file.name)
        return (self.blobs / file.sha256).open("rb")

    def path(self, sha256: str) -> str:
        return str(self.blobs / sha256)

    def declares(self, *texts: str) -> World:
        """Declare outputs as typed in a mark: ``out-{T}.csv``."""
        self.outputs = tuple(
            OutputTemplate(text=text, names=frozenset(re.findall(r"\{(\w+)\}", text)))
            for text in texts
        )
        return self

    def task(
        self,
        *values: str,
        stdout: bytes = b"",
        stderr: bytes = b"",
        files: dict[str, bytes] | None = None,
        mode: int = 0o644,
        **facts: Any,
    ) -> Result:
        """Append a task, done unless said otherwise."""
        ordinary: dict[str, Any] = {
            "number": len(self.tasks) + 1,
            "position": len(self.tasks) + 1,
            "rep": 1,
            "state": "done",
            "reason": "",
            "ticket": f"1-1-{len(self.tasks) + 1}-1",
            "attempt": 1,
            "host": "gpu07",
            "exit": 0,
            "signal": None,
            "kind": None,
            "outcome": "accepted",
            "seconds": 1.5,
            "cpu_s": 1.25,
            "peak_kb": 2048,
        }
        result = Result(
            **(ordinary | facts),
            values=values,
            stdout=self.captured(stdout),
            stderr=self.captured(stderr),
            files=tuple(
                ResultFile(name=name, size=len(data), sha256=self.blob(data), mode=mode)
                for name, data in (files or {}).items()
            ),
        )
        self.tasks.append(result)
        return result

    def attempt(self, task: int, host: str, **facts: Any) -> Attempt:
        """Append an attempt."""
        ordinary: dict[str, Any] = {
            "ticket": Ticket(f"1-1-{task}-1"),
            "number": 1,
            "reason": "first",
            "slot": 0,
            "state": "ended",
            "outcome": "accepted",
            "kind": None,
            "exit": 0,
            "signal": None,
            "message": "",
            "leased": datetime(2026, 3, 1, 12, tzinfo=UTC),
            "started": datetime(2026, 3, 1, 12, 0, 0, 120_000, tzinfo=UTC),
            "ended": datetime(2026, 3, 1, 12, 0, 2, tzinfo=UTC),
            "seconds": 1.88,
            "cpu_s": 1.0,
            "peak_kb": 2048,
        }
        start = Attempt(**(ordinary | facts), task=task, host=host)
        self.starts.append(start)
        return start

    def captured(self, data: bytes) -> Captured:
        """Keep bytes as the store does: small ones inline."""
        if len(data) <= INLINE:
            return Captured(size=len(data), inline=data)
        return Captured(size=len(data), sha256=self.blob(data))

    def blob(self, data: bytes) -> str:
        """Keep bytes in a file; gives its name."""
        name = sha256(data).hexdigest()
        self.blobs.mkdir(exist_ok=True)
        (self.blobs / name).write_bytes(data)
        return name
