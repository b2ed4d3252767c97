"""Is the host sick, or the command bad? Decided from what happened, never from one failure."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003
from typing import NamedTuple

NEVER_WORKED = 3  # failures blamed on a host without any success
IN_A_ROW = 5
HOPELESS = 10  # in a row, most of them probes: no task waits for the next probe any more
BAD_COMMAND = 20  # failures of one kind, without any success in the run
BAD_COMMAND_HOSTS = 3
KILLED_HOSTS = 3  # that died while they ran a task, and it gets no other


class HostRecord(NamedTuple):
    """How a host did in a run."""

    successes: int
    blamed: int  # failures blamed on it
    streak: int  # blamed failures since its last success


def sick(record: HostRecord, *, usable_hosts: int) -> bool:
    """Say whether the host is to be quarantined; the last usable one never is."""
    if usable_hosts <= 1:
        return False
    if not record.successes:
        return record.blamed >= NEVER_WORKED
    return record.streak >= IN_A_ROW


def kills_hosts(died: int) -> bool:
    """Say whether a task on which so many hosts died is kept from all others."""
    return died >= KILLED_HOSTS


def bad_command(
    failures: Sequence[tuple[str, int, int]], *, successes: int, usable_hosts: int
) -> str | None:
    """Name the kind of failure that shows the command itself to be bad, None if none does.

    ``failures`` are (kind, how often, on how many hosts).
    """
    if successes:
        return None
    hosts_needed = min(BAD_COMMAND_HOSTS, max(1, usable_hosts))
    for kind, times, hosts in failures:
        if times >= BAD_COMMAND and hosts >= hosts_needed:
            return kind
    return None
