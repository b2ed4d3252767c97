"""Real hosts for tests and benchmarks: many of them on this one machine, each with its own sshd.

As root every host is a set of namespaces: network, mounts, processes, host name, with its own
``/root``, ``/tmp``, ``/var/tmp`` and an OpenSSH server on port 22. Without root the same `Bed`
gives several servers of the current user on loopback ports, which cannot be cut, killed, frozen
and so on (`NeedsNamespaces`).

Nothing can be left behind: network and mounts live in namespaces without a name, which end with
their processes; these end when the pipe from the bed's process closes, however that one died; and
the last of them removes the bed's folder. No packet leaves the machine: hosts have no route.
"""

from tests.support.hosts.bed import Bed
from tests.support.hosts.host import BedError, Host, NeedsNamespaces
from tests.support.hosts.processes import Process

__all__ = ["Bed", "BedError", "Host", "NeedsNamespaces", "Process"]
