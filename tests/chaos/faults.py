"""What can be done to a host in the middle of a run, and how is it undone?"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, NamedTuple

from tests.ssh.logins import logins
from tests.support.hosts import processes

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.hosts import Bed, Host

DISK = "/dev/shm"  # where agents of `SMALL` hosts work: a disk that can be made full
FULL_AT = "32M"  # what there is of it then, in this machine's memory
DEATH = "host killed for good"
MASTER = "master kill -9, then resume"  # strikes no host: `chaos` does it
FULL = "disk full"


class Fault(NamedTuple):
    """One kind of fault."""

    name: str
    strike: Callable[[Bed, Host], bool]  # False: there was nothing to hit, yet
    heal: Callable[[Host], None] | None = None  # None: it does not last
    least_s: float = 0.5  # how long it lasts
    most_s: float = 8.0  # beyond three beats, when a host is suspect
    costs: bool = False  # what ran on the host may be lost by it


def _done(what: Callable[[Host], object]) -> Callable[[Bed, Host], bool]:
    """Make a strike of what always hits."""

    def strike(bed: Bed, host: Host) -> bool:
        del bed
        what(host)
        return True

    return strike


def _kill(*names: str) -> Callable[[Bed, Host], bool]:
    """Make a strike that kills a host's processes of these names, together, if there are all."""

    def strike(bed: Bed, host: Host) -> bool:
        del bed
        found = host.processes()
        for name in names:
            if not any(one.name.startswith(name) for one in found):
                return False
        hit = [one for one in found if one.name.startswith(names)]
        return len(hit) == sum(processes.send(one.pid, signal.SIGKILL) for one in hit)

    return strike


def _kill_client(bed: Bed, host: Host) -> bool:
    return sum(processes.send(pid, signal.SIGKILL) for pid in logins(bed, host.name)) > 0


def _fill(bed: Bed, host: Host) -> bool:
    """Leave no room for a byte on the disk where the agent works."""
    del bed
    if "corral-" not in host.sh(f"ls {DISK}"):
        return False
    host.sh(f"mount -o remount,size={FULL_AT} {DISK}; cat /dev/zero > {DISK}/ballast", check=False)
    return True


def _empty(host: Host) -> None:
    host.sh(f"rm -f {DISK}/ballast; mount -o remount,size=50% {DISK}")


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("link cut, in", _done(lambda host: host.cut("in")), lambda host: host.heal()),
        Fault("link cut, out", _done(lambda host: host.cut("out")), lambda host: host.heal()),
        Fault("link cut, both", _done(lambda host: host.cut("both")), lambda host: host.heal()),
        Fault("link down", _done(lambda host: host.unplug()), lambda host: host.plug()),
        Fault("kill -9 of the link", _kill("corral-link")),
        Fault("kill -9 of the supervisor", _kill("corral-super"), costs=True),
        Fault("kill -9 of both", _kill("corral-link", "corral-super"), costs=True),
        Fault("kill -9 of the relay", _kill("corral-relay")),
        Fault("kill -9 of the ssh client", _kill_client),
        Fault("kill -9 of sshd's session", _kill("sshd")),
        Fault(
            "freeze",
            _done(lambda host: host.freeze()),
            lambda host: host.thaw(),
            least_s=3.0,
            most_s=10.0,
        ),
        Fault("reboot", _done(lambda host: host.reboot()), costs=True),
        Fault(
            "power cut",
            _done(lambda host: host.kill()),
            lambda host: host.start(),
            costs=True,
        ),
        Fault(FULL, _fill, _empty, costs=True),
        Fault(DEATH, _done(lambda host: host.kill()), costs=True),
    )
}
