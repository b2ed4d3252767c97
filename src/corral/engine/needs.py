"""Which hosts can ever run a run's tasks, and how many of them fit beside what else is there?

The agent starts a task only when what it needs is free, so nothing is ever given twice. Here is
decided how many tickets to hand out: as many as fit beside those of other runs, or a single one to
a run that has none there. That one waits at the head of the agent's queue, where nobody passes who
needs the same, so that a large task is not starved by small ones.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from corral.ids import HostId, Incarnation, RunId
from corral.model.host import HostSpec
from corral.model.needs import CPUS, Needs, Offer
from corral.protocol import Facts
from corral.scheduler import needs
from corral.scheduler.needs import Claim

if TYPE_CHECKING:
    from collections.abc import Iterable

    from corral.engine.parts import Part, Parts
    from corral.model.command import Command
    from corral.model.needs import Amounts
    from corral.model.run import Input
    from corral.protocol import RunPart
    from corral.store.base import Reader, Tx

Key = tuple[RunId, int]  # of a run's generation


def is_picky(command: Command, inputs: Iterable[Input]) -> bool:
    """Say whether not every host will do for a command, or its tasks take more than a slot."""
    return command.needs != Needs() or any(file.platform for file in inputs)


def programs(platforms: Iterable[str]) -> tuple[str, ...]:
    """List the only platforms that there are files for; () if there are such for any (``""``)."""
    different = set(platforms)
    return () if "" in different else tuple(sorted(different))


def offer(spec: HostSpec, facts: Facts | None) -> Offer:
    """Say what a host has: what is configured, and what its agent found, if one has looked."""
    return Offer(
        cpus=spec.slots or (None if facts is None else facts.cores),
        memory=None if facts is None else facts.memory,
        platform=None if facts is None else facts.platform,
        tags=spec.tags,
        resources=spec.resources,
    )


def offer_of(reader: Reader, host: HostId, *, live: bool = False) -> Offer:
    """Say what a host has; with ``live`` only what an agent found that is there now."""
    row = reader.row("host_offer", host)
    assert row is not None
    spec, facts, is_there = row
    known = facts != "{}" and (is_there or not live)
    return offer(
        HostSpec(name="") if spec == "{}" else msgspec.json.decode(spec, type=HostSpec),
        msgspec.json.decode(facts, type=Facts) if known else None,
    )


def refit(tx: Tx, host: HostId, parts: Parts) -> None:
    """An agent has looked at its host: say for each run whether the host can ever run its tasks."""
    runs = tx.rows("runs_picky", host)
    if not runs:
        return
    has = offer_of(tx, host)
    for run, generation in runs:
        part = parts.get(tx, run, generation)
        why = needs.why_never(part.needs, has, programs=part.programs)
        if tx.change("host_run_fit", host, run, why):
            tx.tell("host")
            tx.tell("run")
            tx.tell("work")  # others may be alone with it now


class Stock:
    """What an agent's host has, and what the tickets there may take of it, for one transaction."""

    def __init__(
        self, reader: Reader, incarnation: Incarnation, host: HostId, slots: int, parts: Parts
    ) -> None:
        self.slots = slots
        self._reader = reader
        self._incarnation = incarnation
        self._host = host
        self._parts = parts

    @cached_property
    def _tickets(self) -> dict[Key, int]:
        """Count the tickets of each run; none are, while no run is picky."""
        rows = self._reader.rows("tickets_counted", self._incarnation)
        return {(run, generation): tickets for run, generation, tickets in rows}

    @cached_property
    def _known(self) -> Offer:
        return offer_of(self._reader, self._host)

    def weigh(self, held: int) -> int:
        """Say how many slots ``held`` tickets take at once, some of which may take several."""
        for key, tickets in self._tickets.items():
            part = self._part(key)
            if part.picky:
                held += self._claim(key).running * part.needs.cpus - tickets
        return held

    def own(self, key: Key) -> int:
        """Count the tickets of a run."""
        return self._tickets.get(key, 0)

    def room(self, key: Key) -> int:
        """Say how many tasks of a run fit at once beside what others hold."""
        part = self._part(key)
        others = [self._claim(other) for other in self._tickets if other != key]
        return needs.room(part.needs.amounts, self._has(part), others)

    def counts(self, key: Key) -> bool:
        """Say whether it is counted what the tickets there take: only if that differs."""
        return bool(self._tickets) or self._part(key).picky

    def spare(self, key: Key) -> int:
        """Say how many more tasks of a run fit now."""
        return self.room(key) - self.own(key) if self.counts(key) else self.slots

    def add(self, key: Key, tickets: int) -> None:
        """Take note of tickets that are handed out."""
        if self.counts(key):
            self._tickets[key] = self.own(key) + tickets

    def free(self) -> Amounts:
        """Say what nobody holds."""
        left = dict(self._has(None))
        for claim in map(self._claim, self._tickets):
            for name, amount in claim.amounts.items():
                left[name] = max(0, left.get(name, 0) - amount * claim.running)
        return left

    def has(self) -> Amounts:
        """Say what there is in all."""
        return self._has(None)

    def message(self, part: Part) -> RunPart:
        """Make what the leases of a run share fit the host."""
        if not part.picky:
            return part.message
        amounts, has = part.needs.amounts, self._has(part)
        most = max(1, needs.at_once(amounts, has))
        return msgspec.structs.replace(
            part.message,
            slots=min(most, part.slots or most),
            needs={name: amount for name, amount in amounts.items() if name != CPUS},
            has={name: has.get(name, 0) for name in amounts if name != CPUS or amounts[CPUS] > 1},
            inputs=part.inputs_on(self._known.platform or ""),
        )

    def _part(self, key: Key) -> Part:
        return self._parts.get(self._reader, *key)

    def _claim(self, key: Key) -> Claim:
        part = self._part(key)
        amounts = part.needs.amounts
        most = needs.at_once(amounts, self._has(part))
        return Claim(
            amounts=dict(amounts),
            tickets=self._tickets[key],
            at_once=min(most, part.slots or most),
        )

    def _has(self, part: Part | None) -> Amounts:
        """Give what there is for a run: cpus beyond the host's own only to tasks that take one."""
        cpus = self.slots
        if part is not None and part.needs.cpus > 1 and self._known.cpus is not None:
            cpus = min(cpus, self._known.cpus)
        return {**self._known.amounts, CPUS: cpus}
