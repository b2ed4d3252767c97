"""How long does a command take, from the outside?"""

from __future__ import annotations

import subprocess
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LIMIT_S = 300.0  # for one command; none comes near it


def timed(command: Sequence[str], folder: Path) -> float:
    """Run a command to its end, its output thrown away, and give the seconds it took.

    Not by ``subprocess.run(timeout=…)``: that looks only every 50 ms whether it has ended.

    Raises:
        CalledProcessError: It failed, or was killed after `LIMIT_S`.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    limit = threading.Timer(LIMIT_S, process.kill)
    limit.start()
    code = process.wait()
    seconds = time.perf_counter() - began
    limit.cancel()
    if code != 0:
        raise subprocess.CalledProcessError(code, list(command))
    return seconds
