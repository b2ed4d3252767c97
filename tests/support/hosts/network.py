"""How do simulated hosts reach each other and the master, and how is a cable pulled?

One network namespace is the switch: a bridge in it, a veth pair to the master's network, one to
each host. It has no name and lives as long as its keeper, a shell that waits for the end of its
stdin and then removes the bed's folder. Addresses are of 198.18.0.0/15, which is set aside for
benchmarks (RFC 2544), 1,022 of them per bed.
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import socket
import subprocess
from pathlib import Path

POOL = list(ipaddress.IPv4Network("198.18.0.0/15").subnets(new_prefix=22))
MASTER = -2  # of the range; the last address is for broadcasts
KEEPER = """
echo ready; cat > /dev/null
for try in 1 2 3 4 5 6 7 8 9; do rm -rf -- "$0" 2> /dev/null && exit; sleep 0.1; done
exec rm -rf -- "$0"
"""  # hosts may die a moment later than the bed, and write until then
_numbers = itertools.count(1)


class Switch:
    """The network of one bed; without namespaces only its keeper, and nothing to be cut."""

    def __init__(self, folder: Path, *, namespaces: bool) -> None:
        words = ["unshare", "--net"] if namespaces else []
        self._keeper = subprocess.Popen(
            [*words, "/bin/sh", "-c", KEEPER, str(folder)],
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C is for the bed's process alone
        )
        assert self._keeper.stdout
        self._keeper.stdout.readline()
        self._name = f"bed{os.getpid()}-{next(_numbers)}"
        self._namespaces = namespaces
        self._claim, self._net = _claim()

    def address(self, number: int) -> str:
        return str(self._net[number])

    def connect_master(self) -> None:
        """Give this machine its interface; without namespaces there is none."""
        if not self._namespaces:
            return
        address = self._net[MASTER]
        _ip(
            f"link add {self._name} address {_mac(address)}"
            f" type veth peer name master netns {self._keeper.pid}",
            f"addr add {address}/{self._net.prefixlen} dev {self._name}",
            f"link set {self._name} up",
        )
        self._ip(
            "link add bridge type bridge",
            "link set bridge up",
            "link set dev master master bridge up",
        )

    def connect(self, number: int, pid: int) -> None:
        """Give the network namespace of ``pid`` its interface."""
        address, master = self._net[number], self._net[MASTER]
        self._ip(
            f"link add p{number} type veth peer name eth0 address {_mac(address)} netns {pid}",
            f"link set p{number} master bridge up",
        )
        _ip(
            "link set lo up",
            f"addr add {address}/{self._net.prefixlen} dev eth0",
            "link set eth0 up",
            f"neigh add {master} lladdr {_mac(master)} dev eth0 nud permanent",
            inside=pid,
        )
        _ip(f"neigh replace {address} lladdr {_mac(address)} dev {self._name} nud permanent")

    def disconnect(self, number: int) -> None:
        """Take away the interface of a host, which lives: the kernel takes those of the dead."""
        self._ip(f"link del p{number}")

    def unplug(self, number: int) -> None:
        """Pull the cable: the host loses its carrier, and nobody is told."""
        self._ip(f"link set p{number} down")

    def plug(self, number: int) -> None:
        self._ip(f"link set p{number} up")

    def remove(self) -> None:
        """Remove the network, and the bed's folder."""
        if Path("/sys/class/net", self._name).exists():
            _ip(f"link del {self._name}")
        self._claim.close()
        self._keeper.communicate()

    def _ip(self, *lines: str) -> None:
        _ip(*lines, inside=self._keeper.pid)


def _mac(address: ipaddress.IPv4Address) -> str:
    """Derive a hardware address, so that the master and its hosts need not ask for them.

    A question that was asked into a pulled cable is asked again only after a second, which would
    make a host that is plugged in again come back late.
    """
    return "02:00:" + address.packed.hex(":")


def _claim() -> tuple[socket.socket, ipaddress.IPv4Network]:
    """Find a free range of addresses; it is ours while the socket is open."""
    first = os.getpid() % len(POOL)
    for net in POOL[first:] + POOL[:first]:
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0bed-{net}")  # such names belong to one network namespace, as addresses
        except OSError:
            claim.close()
        else:
            return claim, net
    raise AssertionError(f"all {len(POOL)} ranges of addresses are in use")


def _ip(*lines: str, inside: int | None = None) -> None:
    """Carry out lines of ``ip``, in the network of process ``inside``."""
    words = [] if inside is None else ["nsenter", "-t", str(inside), "-n"]
    done = subprocess.run(
        [*words, "ip", "-batch", "-"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (lines, done.stderr)
