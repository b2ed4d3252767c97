"""What ends a login if the master is killed before it can?

ssh ends with its stdin, but only once it is connected: one that is still connecting, and the ssh to
its jump host, live on for as long as the network lets them. So a shell knows the process groups of
all logins, and kills them when the pipe that it reads from ends: that is, when we do.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress

from corral.failpoint import around

CLOSE_S = 5.0  # it ends in milliseconds when its pipe does
_SHELL = """\
while read -r word group; do
  case $word in
    begun) groups="$groups $group ";;
    ended) case $groups in
      *" $group "*) groups="${groups%% $group *} ${groups#* $group }";;
    esac;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
"""


class Guard:
    """Kills the groups that it knows when this process dies."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    def stand_by(self) -> None:
        """Start it, unless it is there: before what it is to be told of."""
        if self._process is None:
            self._start()

    def begun(self, group: int) -> None:
        """Tell it of a group."""
        self._tell(b"begun %d\n" % group)

    def ended(self, group: int) -> None:
        """Have it forget a group, before the number can become another one's."""
        self._tell(b"ended %d\n" % group)

    def close(self) -> None:
        """See it gone; what it knows still dies."""
        process, self._process = self._process, None
        if process is None:
            return
        os.close(self._pipe)
        with around("guard.reap"):
            try:
                process.wait(CLOSE_S)
            except subprocess.TimeoutExpired:  # it was stopped
                process.kill()
                process.wait()

    def _start(self) -> None:
        theirs, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        try:
            with around("guard.start"):
                self._process = subprocess.Popen(
                    ["/bin/sh", "-c", _SHELL],
                    stdin=theirs,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
        finally:
            os.close(theirs)
            if self._process is None:
                os.close(self._pipe)

    def _tell(self, words: bytes) -> None:
        if self._process is None:  # closed: a login that ends later was ended with it
            return
        with suppress(BrokenPipeError, BlockingIOError):  # it was killed or stopped: so be it
            os.write(self._pipe, words)
