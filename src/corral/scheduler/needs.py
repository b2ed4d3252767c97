"""Can a host ever run a task that needs so much, and how many of them beside what it has to do?"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from corral.model.base import Frozen
from corral.model.needs import CPUS, MEMORY
from corral.units import show_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from corral.model.needs import Amounts, Needs, Offer


class Claim(Frozen, frozen=True, kw_only=True):
    """What the tickets of one run hold on a host: each so much, at most ``at_once`` together."""

    amounts: dict[str, int]
    tickets: int
    at_once: int

    @property
    def running(self) -> int:
        """Count the tickets that may be running; the others wait for these."""
        return min(self.tickets, self.at_once)


def at_once(needs: Amounts, has: Amounts) -> int:
    """Say how many tasks fit into what there is."""
    return max(0, min(has.get(name, 0) // amount for name, amount in needs.items()))


def room(needs: Amounts, has: Amounts, others: Iterable[Claim]) -> int:
    """Say how many tasks fit beside what other runs hold."""
    left = dict(has)
    for claim in others:
        for name, amount in claim.amounts.items():
            left[name] = left.get(name, 0) - amount * claim.running
    return at_once(needs, left)


def why_never(needs: Needs, offer: Offer, *, programs: Sequence[str] = ()) -> str:
    """Say why a host can never run such a task; "" if it can, as far as is known.

    ``programs`` are the platforms that there is a program for; none = for any.
    """
    for tag in needs.tags:
        if tag not in offer.tags:
            return f"it has no tag {tag}"
    if offer.platform is not None:
        if needs.platform not in ("", offer.platform):
            return f"it is {offer.platform}, {needs.platform} is needed"
        if programs and offer.platform not in programs:
            return f"it is {offer.platform}, and no program is given for that"
    for name, amount in needs.amounts.items():
        has = _amount(offer, name)
        if has is not None and has < amount:
            return f"it has {show(name, has)}, {_number(name, amount)} needed"
    return ""


class Unmet(NamedTuple):
    """What none of some hosts has, and the way out."""

    what: str
    hint: str


def unmeetable(needs: Needs, offers: Mapping[str, Offer], *, programs: Sequence[str] = ()) -> Unmet:
    """Say of hosts none of which can run such a task what it is that none has."""
    platforms = sorted({offer.platform for offer in offers.values() if offer.platform})
    without_program = programs and all(
        offer.platform not in (None, *programs) for offer in offers.values()
    )
    what = _lacking(needs, offers, platforms)
    if what is None and without_program:
        return Unmet(
            f"there is no program for {', '.join(platforms)}, only for {', '.join(programs)}",
            f'write [platform."{platforms[0]}"] with a push of its own, or name other hosts: -w',
        )
    return Unmet(
        what or f"no host has all of {describe(needs)}",
        "ask for less, or name hosts that have it: -w",
    )


def _lacking(needs: Needs, offers: Mapping[str, Offer], platforms: Sequence[str]) -> str | None:
    """Name the one thing that no host has; None if each has some host."""

    def fails(one: Callable[[Offer], bool]) -> bool:
        return all(map(one, offers.values()))

    for tag in needs.tags:
        if fails(lambda offer, tag=tag: tag not in offer.tags):  # type: ignore[misc]  # default binds
            return f"no host has the tag {tag}"
    if needs.platform and fails(lambda offer: offer.platform not in (None, needs.platform)):
        return f"no host is {needs.platform}; there is {', '.join(platforms)}"
    for name, amount in needs.amounts.items():
        known = {
            host: has for host, offer in offers.items() if (has := _amount(offer, name)) is not None
        }
        if len(known) == len(offers) and max(known.values()) < amount:
            best = max(known, key=lambda host: known[host])
            most = f"; the largest is {best} with {_bare(name, known[best])}" if known[best] else ""
            return f"no host has {show(name, amount)}{most}"
    return None


def describe(needs: Needs) -> str:
    """Write what a task needs, as after ``--needs``."""
    words = [f"{CPUS}={needs.cpus}"] if needs.cpus > 1 else []
    words += [f"{MEMORY}={show_size(needs.memory)}"] if needs.memory else []
    words += [f"tags={tag}" for tag in needs.tags]
    words += [f"platform={needs.platform}"] if needs.platform else []
    words += [f"{name}={amount}" for name, amount in needs.resources.items()]
    return ", ".join(words)


def show(name: str, amount: int) -> str:
    """Write so much of something: ``8 cpus``, ``4.0 GB of memory``, ``no gpu``."""
    if name == MEMORY:
        return f"{show_size(amount)} of memory"
    if name == CPUS:
        return f"{amount} cpu{'' if amount == 1 else 's'}"
    return f"{amount or 'no'} {name}"


def _amount(offer: Offer, name: str) -> int | None:
    """Give what a host has of something; None: not known yet."""
    if name in (CPUS, MEMORY):
        return offer.cpus if name == CPUS else offer.memory
    return offer.resources.get(name, 0)


def _number(name: str, amount: int) -> str:
    shown = _bare(name, amount)
    return f"{shown} {'is' if shown == '1' else 'are'}"


def _bare(name: str, amount: int) -> str:
    return show_size(amount) if name == MEMORY else str(amount)
