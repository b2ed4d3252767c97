"""What is told about hosts: while a run goes on what has changed, elsewhere how they all stand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from corral.hosts import hostset

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from corral.model.host import RunHost

WELL = frozenset({"new", "joining", "probation", "up", "gone", "draining"})
BACK = "answers again"
ANYONE = "\ue000"  # stands for a host's name, so that equal reasons of several are seen to be so


class HostNews:
    """Remembers what was told of each host; gives the lines that are new."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[str, str, str]] = {}

    def lines(self, hosts: Iterable[RunHost]) -> list[str]:
        """Say what has changed since the last time, equal news of several hosts in one line."""
        news: dict[str, list[str]] = {}
        for host in hosts:
            for text in self._news(host):
                news.setdefault(text, []).append(host.name)
        return [
            line for text, names in news.items() for line in _sentence(hostset.fold(names), text)
        ]

    def _news(self, host: RunHost) -> list[str]:
        trouble = "" if host.state in WELL else without_name(host)
        before, note, unfit = self._told.get(host.name, ("", "", ""))
        if host.state == "joining" and before:
            trouble = before  # it is being tried again: no news
        self._told[host.name] = (trouble, host.note, host.unfit)
        found = []
        if trouble and trouble != before:
            found.append(trouble)
        elif before and not trouble:
            found.append(BACK)
        if host.note and host.note != note:
            found.append(host.note)
        if host.unfit and host.unfit != unfit:
            found.append(f"{host.unfit}: no task of this run goes there")
        return found


def unreached(hosts: Iterable[RunHost]) -> list[str]:
    """Name the hosts that a run ended without."""
    names = [host.name for host in hosts if host.state == "joining"]
    return [f"{hostset.fold(names)}: not reached before the run ended"] if names else []


def without_name(host: RunHost) -> str:
    """Give the reason for a host's state without its name, so that equal ones are seen to be so."""
    reason = plain_reason(host.name, host.reason) or host.state
    match host.state:
        case "suspect":
            return f"suspect: {reason.partition(chr(10))[0]}; it gets no new tasks"
        case "lost":
            return f"lost: {reason}; its tasks go elsewhere"
        case "quarantined":
            return f"quarantined: {reason}; corral why {ANYONE}"
        case _:
            return reason


def plain_reason(name: str, reason: str) -> str:
    """Take a host's name out of a text about it: ANYONE stands for it."""
    return re.sub(
        rf"(?<![\w.-]){re.escape(name)}(?![\w-])", ANYONE, reason.removeprefix(f"{name}: ")
    )


def _sentence(names: str, text: str) -> list[str]:
    said, _, hint = text.replace(ANYONE, names).partition("\n")
    return [f"{names}: {said}"] + ([f"  try: {hint}"] if hint else [])


def summary(hosts: Sequence[RunHost]) -> str:
    """Say on how many hosts a run is, and which are odd; nothing of a single sound one."""
    odd: dict[str, list[str]] = {}
    for host in hosts:
        if host.state not in WELL:
            odd.setdefault(host.state, []).append(host.name)
    if len(hosts) < 2 and not odd:
        return ""
    well = len(hosts) - sum(map(len, odd.values()))
    named = ", ".join(f"{hostset.fold(names)} {state}" for state, names in odd.items())
    return f"{well} of {len(hosts)} hosts ({named})" if odd else f"{well} hosts"
