"""A command that runs beside a test: what it has printed by now, and how it ended."""

from __future__ import annotations

import os
import subprocess
import tempfile
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from tests.support.corral import Corral

END_S = 30.0


class Tail:
    """Started with its stdout and stderr in files, which the test reads while it runs."""

    def __init__(self, corral: Corral, *words: str) -> None:
        self._out = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close())
        self._err = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close())
        self.process = subprocess.Popen(
            corral._words(words),
            cwd=corral.folder,
            env=corral.environment,
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
        )

    def out(self) -> str:
        return _all_of(self._out)

    def err(self) -> str:
        return _all_of(self._err)

    def code(self) -> int | None:
        return self.process.poll()

    def wait(self) -> int:
        return self.process.wait(END_S)

    def close(self) -> None:
        """End it if the test did not."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._out.close()
        self._err.close()


def _all_of(file: BinaryIO) -> str:
    """Read without moving the place that the other process writes at."""
    return os.pread(file.fileno(), 1 << 30, 0).decode()
