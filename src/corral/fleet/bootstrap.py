"""What is said to a host so that the agent's program runs there, though nothing is installed.

The remote command is fixed: it finds a Python and has it read the program from stdin, where the
secrets travel too. It must mean the same to every login shell (sh, csh, fish): one line, in single
quotes, without any ``'``, ``!`` or backslash. First it says `SHELL`, so that what answers is known
to be our command; only then anything is sent. That is read to its end even if no Python will do:
else the broken pipe would be heard before the reason. The program's answer follows a mark which
nothing that merely echoes its input can say; so a noisy start-up file does no harm.
"""

from __future__ import annotations

import functools
import hashlib
import json
import marshal
import secrets
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.abc import InspectLoader
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

from corral import agent
from corral.errors import UsageError
from corral.model.host import is_plain_path

if TYPE_CHECKING:
    from collections.abc import Mapping

SHELL = b"corral-shell"
FAST = 1  # level of compression: the best one takes 20 times as long and saves a seventh
NO_PYTHON = b"corral-no-python"  # followed by those that were found, too old or without zlib
PYTHONS = (
    "python3 /usr/libexec/platform-python /usr/bin/python3 /usr/local/bin/python3"
    " /usr/bin/python3.[0-9] /usr/bin/python3.[0-9][0-9]"
    " /usr/local/bin/python3.[0-9] /usr/local/bin/python3.[0-9][0-9]"
    " /opt/*/bin/python3 /opt/homebrew/bin/python3 ~/*conda*/bin/python3 ~/.pyenv/versions/*/bin/python3"
    " ~/.local/bin/python3"
)
_READ = (  # no quotes in it; 9: the next Python is tried, as nothing of stdin has been read
    "import sys;sys.version_info<(3,6)and sys.exit(9);"
    "sys.excepthook=lambda*_:sys.exit(9);import zlib;sys.excepthook=sys.__excepthook__;"
    "f=sys.stdin.buffer;exec(f.read(int(f.readline())))"
)
_LOAD = """\
import zlib
SOURCE = zlib.decompress(f.read({source}))
code = zlib.decompress(f.read({code}))
if sys.modules["_frozen_importlib_external"].MAGIC_NUMBER.hex() == "{magic}":
    import marshal
    code = marshal.loads(code)
else:
    code = compile(SOURCE, "agent.py", "exec")
exec(code)
"""


def command(python: str | None, verb: str) -> str:
    """Write the remote command; ``python`` is the host's own choice, None looks for one.

    Raises:
        UsageError: The path could not be written for every shell.
    """
    if python is not None and not is_plain_path(python):
        raise UsageError(
            f"python = {python!r}: is no plain path", hint="letters, digits and ./_~+-"
        )
    tries = (
        f"for p in {python or PYTHONS}; do command -v $p >/dev/null 2>&1 || continue; "
        f'$p -I -S -c "{_READ}" {verb}; r=$?; '
        'case $r in 2|9|126|127) old="$old $p";; *) exit $r;; esac; done; '
    )
    return (
        f"exec sh -c 'echo {SHELL.decode()}; {tries}echo {NO_PYTHON.decode()} $old; cat >/dev/null'"
    )


class Payload:
    """What goes to the program's stdin, and the mark that leads its answer."""

    def __init__(self, words: Mapping[str, Any]) -> None:
        challenge = secrets.token_hex(16)
        self.mark = b"corral " + hashlib.sha256(challenge.encode()).hexdigest().encode()
        self._words = json.dumps({**words, "challenge": challenge})
        self._program = _program()

    def whole(self) -> bytes:
        """Give all of it: a loader with its length before it, source, code, a line of JSON.

        A Python that is like the master's own runs the code: compiling takes half of an agent's
        start and a third of its memory. Any other one compiles the source.
        """
        return self._program.result() + self.line()

    def line(self) -> bytes:
        """Give the line of JSON alone, for a program that is there."""
        return self._words.encode() + b"\n"


@functools.cache
def _program() -> Future[bytes]:
    """Have the program made, once, while the first login is under way."""
    pool = ThreadPoolExecutor(1, "program")
    try:
        return pool.submit(_make_program)
    finally:
        pool.shutdown(wait=False)


def _make_program() -> bytes:
    """Give the loader, the agent's source and its code, made small for slow lines."""
    source = zlib.compress(Path(agent.__file__).read_bytes(), FAST)
    code = zlib.compress(marshal.dumps(_unplaced(_code())), FAST)
    loader = _LOAD.format(source=len(source), code=len(code), magic=MAGIC_NUMBER.hex()).encode()
    return b"%d\n" % len(loader) + loader + source + code


def _code() -> CodeType:
    """Give the agent's code as Python itself keeps it, so that it is not compiled for each master."""
    spec = agent.__spec__
    assert spec is not None
    assert isinstance(spec.loader, InspectLoader)
    code = spec.loader.get_code(agent.__name__)
    assert code is not None, "it has been imported"
    return code


def _unplaced(code: CodeType) -> CodeType:
    """Take out of the code where it lies on this machine: a host's tracebacks would tell."""
    consts = (
        _unplaced(const) if isinstance(const, CodeType) else const for const in code.co_consts
    )
    return code.replace(co_filename="agent.py", co_consts=tuple(consts))
