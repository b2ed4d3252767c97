"""Which stdin, stdout and stderr have we, whatever our caller gave us?"""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import TextIO


def prepare() -> None:
    """See that all three are there, and take every character.

    One that our caller closed reads and writes nothing. Its number must not be free: the next file
    that is opened would get it, and everything that a program started here prints.
    """
    null = os.open(os.devnull, os.O_RDWR)
    while null <= 2:
        os.set_inheritable(null, True)  # a program started here must not find it free either
        null = os.dup(null)
    os.close(null)
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115  (for as long as we live)
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str, *, end: str = "\n") -> None:
    """Write to the person, on stderr; that nobody listens any more keeps no work from being done."""
    try:
        print(text, end=end, file=sys.stderr, flush=True)
    except BrokenPipeError:
        _silence(sys.stderr)


def stop_printing() -> None:
    """Send what is still printed nowhere: its reader is gone (``| head``), which is no error."""
    _silence(sys.stdout)


def flush() -> None:
    """Have all that was printed out, as far as somebody reads it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            _silence(stream)


def _silence(stream: TextIO) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
