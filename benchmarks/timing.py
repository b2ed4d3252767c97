"""How long does a command take, from the outside?"""

from __future__ import annotations

import subprocess
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LIMIT_S = 300.0  # for one command; none comes near it


def timed(
    command: Sequence[str],
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    until: str | None = None,
) -> float:
    """Run a command to its end, its output thrown away, and give the seconds it took.

    ``until`` is a line: what the command does after it has said that is not counted. Not by
    ``subprocess.run(timeout=…)``: that looks only every 50 ms whether it has ended.

    Raises:
        CalledProcessError: It failed, was killed after `LIMIT_S`, or never said the line.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if until is None else subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    limit = threading.Timer(LIMIT_S, process.kill)
    limit.start()
    said = None if until is None else _when_said(process, until)
    code = process.wait()
    ended = time.perf_counter()
    limit.cancel()
    if code != 0 or (until is not None and said is None):
        raise subprocess.CalledProcessError(code, list(command))
    return (ended if said is None else said) - began


def _when_said(process: subprocess.Popen[str], line: str) -> float | None:
    """Read a process's output to its end; give the time of the line, None if it did not come."""
    assert process.stdout
    when = None
    with process.stdout:
        for text in process.stdout:
            if when is None and text.rstrip("\n") == line:
                when = time.perf_counter()
    return when
