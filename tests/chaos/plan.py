"""What is to happen, and when? All of it follows from the seed."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from corral.model.base import Frozen
from tests.chaos.faults import DEATH, FAULTS, FULL, MASTER

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = [*FAULTS, MASTER]
INSTEAD = "reboot"  # of a death, once nobody is left who may die


class Step(Frozen, frozen=True, kw_only=True):
    """One fault to come."""

    at: int  # tasks done before it strikes: faults follow the run, however fast a machine is
    kind: str
    hosts: tuple[str, ...]  # the first of them that is on and well is struck
    lasts_s: float  # for the master: how long there is none


class Plan(Frozen, frozen=True, kw_only=True):
    """A run and what befalls it."""

    seed: int
    hosts: int
    tasks: int
    faults: int

    @property
    def names(self) -> list[str]:
        return [f"h{number}" for number in range(1, self.hosts + 1)]

    @property
    def small(self) -> list[str]:
        """List the hosts whose agents work on a disk that can be made full: every other one."""
        return self.names[::2]

    @property
    def mortal(self) -> list[str]:
        """List the hosts that may die for good: all but two.

        What fails on a disk that fills up is tried again only where there is another host.
        """
        return self.names[2:]

    def steps(self) -> list[Step]:
        """Draw the faults, in their order: no kind comes a second time before all have come once."""
        chance = Random(f"{self.seed}/chaos")
        kinds = self._kinds(chance)
        return [self._step(number, next(kinds), chance) for number in range(1, self.faults + 1)]

    def _kinds(self, chance: Random) -> Iterator[str]:
        mortal = len(self.mortal)
        while True:
            for kind in chance.sample(KINDS, len(KINDS)):
                if kind != DEATH:
                    yield kind
                    continue
                yield DEATH if mortal else INSTEAD
                mortal = max(0, mortal - 1)

    def _step(self, number: int, kind: str, chance: Random) -> Step:
        eligible = self.names
        if kind == FULL:
            eligible = self.small
        elif kind == DEATH:
            eligible = self.mortal
        fault = FAULTS.get(kind)
        least_s, most_s = (fault.least_s, fault.most_s) if fault else (0.0, 5.0)
        return Step(
            at=number * (self.tasks - 1) // (self.faults + 1),
            kind=kind,
            hosts=tuple(chance.sample(eligible, len(eligible))),
            lasts_s=chance.uniform(least_s, most_s),
        )
