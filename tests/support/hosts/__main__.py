"""Hosts by hand: ``python -m tests.support.hosts up 8``; Ctrl-C or the end of stdin ends them.

Meanwhile each line typed is something to do to a host: ``h1 unplug``, ``h2 cut in``,
``h3 sh ps -ef``.
"""

from __future__ import annotations

import signal
import sys

from tests.support.hosts.bed import Bed
from tests.support.hosts.host import BedError

USAGE = "usage: python -m tests.support.hosts up N [loopback]"


def main(words: list[str]) -> int:
    """Bring hosts up, and serve until the end."""
    if len(words) not in (2, 3) or words[0] != "up" or not words[1].isdigit():
        print(USAGE, file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Bed(int(words[1]), namespaces=False if words[2:] == ["loopback"] else None) as bed:
            print(f"export CORRAL_SSH='{bed.ssh}'", flush=True)
            for line in sys.stdin:
                do(bed, line.split(maxsplit=2))
    except KeyboardInterrupt:
        return 0  # how it is meant to end
    except BedError as error:
        print(
            error.message,
            *([f"  try: {error.hint}"] if error.hint else []),
            sep="\n",
            file=sys.stderr,
        )
        return 1
    return 0


def do(bed: Bed, words: list[str]) -> None:
    """Do one thing to one host, and say what came of it."""
    if len(words) < 2 or words[0] not in bed.names or words[1].startswith("_"):
        print(f"HOST OPERATION [ARGUMENT]; hosts: {' '.join(bed.names)}", flush=True)
        return
    try:
        said = getattr(bed[words[0]], words[1])(*words[2:])
    except (BedError, AttributeError, TypeError, AssertionError) as error:
        said = error
    print("ok" if said is None else said, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
