"""What the leases of one run share, and how a stored row becomes a lease.

The command's text is made here, at hand-out, from the row's values; nothing of it is stored.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec

from corral.engine import needs
from corral.ids import Incarnation, run_of
from corral.model.command import Command
from corral.model.run import Input as Shipped
from corral.model.run import Options
from corral.protocol import Input, InputText, Lease, Output, RunPart
from corral.scheduler import limits
from corral.scheduler.lease import Terms
from corral.scheduler.placement import BATCH_S
from corral.scheduler.stragglers import Learned, late_after_s
from corral.work.render import Renderer, Setting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from corral.ids import RunId
    from corral.protocol import Exchange
    from corral.store.base import Reader, Row

GRACE_S = 5.0
STUCK_S = 2 * BATCH_S  # without a start: what was handed out ahead should have been done by now
STOP_AFTER_S = 1800.0  # without a master, for runs that asked for it


class Part:
    """A generation's command, ready to render, and the message that its leases refer to."""

    def __init__(self, row: Row) -> None:
        name, folder, options_text, names, command, inputs, tasks = row
        options = msgspec.json.decode(options_text, type=Options)
        self.command = msgspec.json.decode(command, type=Command)
        self.renderer = Renderer(self.command)
        self.slots = options.slots
        self.checked = bool(self.command.checks) or any(
            mark.kind == "out" for mark in self.command.marks
        )
        self.options = options
        shipped = msgspec.json.decode(inputs, type=tuple[Shipped, ...])
        self.needs = self.command.needs
        self.picky = needs.is_picky(self.command, shipped)
        self.programs = needs.programs(file.platform for file in shipped)
        self._inputs: dict[str, tuple[Input, ...]] = {}  # by platform; "" = for any other
        for file in shipped:
            self._inputs[file.platform] = (*self._inputs.get(file.platform, ()), _travelling(file))
        self.message = RunPart(
            run=name,
            names=tuple(json.loads(names)),
            task_count=tasks,
            shell=self.command.shell,
            dir=folder if self.command.here else None,
            add=options.add_env,
            inputs=self.inputs_on(""),
            timeout_s=options.limits.timeout_s,
            grace_s=GRACE_S,
            stop_after_s=STOP_AFTER_S if options.on_master_loss == "stop" else None,
            disk_floor=options.limits.disk_floor,
            output_cap=options.limits.output_cap,
            slots=options.slots,
            cpus=self.needs.cpus,
        )

    def inputs_on(self, platform: str) -> tuple[Input, ...]:
        """Give the files that every task gets on hosts of a platform."""
        return self._inputs.get(platform) or self._inputs.get("", ())


class Parts:
    """What a master keeps between exchanges: the parts in use, the terms of leases.

    A new submission of a run makes a new part. The store's thread writes here, the master's too when
    an agent ends, and both read: agents may come and go while what they said is looked through.
    """

    def __init__(self) -> None:
        self.terms = Terms()  # on which agents hold their leases now
        self.low = False  # the master's disk is nearly full: nothing new is handed out
        self.running: dict[Incarnation, dict[str, float]] = {}
        """Seconds that each ticket has run, as its agent said last: no clock of ours is in it."""
        self.queued: dict[Incarnation, tuple[str, ...]] = {}
        """Tickets that wait on a host to be started, as its agent said last."""
        self.recalled: dict[Incarnation, set[str]] = {}
        """Those of them that it is to give back: another host can start them at once."""
        self.asking: dict[Incarnation, frozenset[tuple[RunId, int]]] = {}
        """Of which runs an agent has asked for what waits elsewhere, when it was last looked at."""
        self.keeping: set[Incarnation] = set()
        """Agents that were given less than they would be, for hosts that are still being reached."""
        self.kept: dict[Incarnation, str] = {}
        """Tasks (a JSON list of ids) that an agent still has, or whose result it still has, though they
        were given up: they may go to others, but not to it."""
        self.retiring: set[Incarnation] = set()  # told to end: nothing new is handed out to them
        self.twinned: set[str] = set()  # late tickets that were handed out once more
        self._learned: dict[tuple[RunId, int], Learned] = {}
        self._parts: dict[tuple[RunId, int], tuple[int, Part]] = {}

    def hear(self, request: Exchange) -> None:
        """Keep what an agent says that it has."""
        incarnation = Incarnation(request.incarnation)
        self.running[incarnation] = dict(request.running)
        self.queued[incarnation] = request.queued
        recalled = self.recalled.get(incarnation)
        if recalled is not None:
            recalled.intersection_update(request.queued)

    def doubt(self) -> None:
        """A transaction came to nothing: the twins that it noted here may not have been handed out."""
        self.twinned.clear()

    def forget(self, incarnation: Incarnation) -> None:
        """Drop what an agent said that is gone."""
        for said in (self.running, self.queued, self.recalled, self.asking, self.kept):
            said.pop(incarnation, None)
        self.keeping.discard(incarnation)

    def stuck(self) -> list[str]:
        """List the tickets that wait on hosts where nothing has been started for a while."""
        return [
            name
            for incarnation, queued in list(self.queued.items())
            if queued and min(self._running_s(incarnation), default=0.0) >= STUCK_S
            for name in queued
        ]

    def is_stuck(self, incarnation: Incarnation, slots: int) -> bool:
        """Say whether all of a host's slots have been taken for a while by what runs there."""
        running_s = self.running.get(incarnation, {}).values()
        return len(running_s) >= slots and min(running_s, default=0.0) >= STUCK_S

    def _running_s(self, incarnation: Incarnation) -> Iterable[float]:
        return self.running.get(incarnation, {}).values()

    def recall(self, holder: Incarnation, name: str) -> bool:
        """Have an agent give a ticket back; False: it is to do so already."""
        tickets = self.recalled.setdefault(holder, set())
        news = name not in tickets
        tickets.add(name)
        return news

    def get(self, reader: Reader, run: RunId, generation: int) -> Part:
        """Give the part of a generation as its latest submission has it."""
        submission = reader.value("generation_submission", run, generation)
        kept = self._parts.get((run, generation))
        if kept is not None and kept[0] == submission:
            return kept[1]
        row = reader.row("part", run, generation)
        assert row is not None
        part = Part(row)
        self._parts[run, generation] = (submission, part)
        return part

    def learned(self, reader: Reader, run: RunId, generation: int) -> Learned:
        """Give what is known of the times of a generation's tasks."""
        known = self._learned.get((run, generation))
        if known is None:
            row = reader.row("generation_learned", run, generation)
            assert row is not None
            successes, typical_s, log_mean, log_deviation = row
            known = Learned(
                successes=successes,
                typical_s=typical_s,
                log_mean=log_mean,
                log_deviation=log_deviation,
            )
            self._learned[run, generation] = known
        return known

    def learn(self, run: RunId, generation: int, learned: Learned) -> None:
        """Keep what new successes taught."""
        self._learned[run, generation] = learned

    def timeout_s(self, reader: Reader, run: RunId, generation: int) -> float | None:
        """Say after how long a task is ended as far as that must be learned; None = not (yet)."""
        if reader.value("generation_submission", run, generation) is None:
            return None  # the run was removed
        percent = self.get(reader, run, generation).options.limits.timeout_percent
        if percent is None:
            return None
        learned = self.learned(reader, run, generation)
        return limits.timeout_s(percent, median_s=learned.median_s, successes=learned.successes)

    def late(self) -> list[str]:
        """List the tickets that run longer than they should, the latest first."""
        over: list[tuple[float, str]] = []
        for running in list(self.running.values()):
            for name, seconds in running.items():
                learned = self._learned.get(run_of(name))
                after_s = None if learned is None else late_after_s(learned)
                if after_s is not None and seconds > after_s and name not in self.twinned:
                    over.append((seconds / after_s, name))
        return [name for _, name in sorted(over, reverse=True)]


def _travelling(file: Shipped) -> Input:
    return Input(path=file.path, sha256=file.sha256, size=file.size, mode=file.mode)


def lease(reader: Reader, part: Part, row: Row, *, host: str) -> Lease:
    """Make the lease of an attempt from a row of the query ``leases``."""
    ticket, attempt, run, generation, task, params, rep, k = row
    values = tuple(json.loads(params))
    rendered = part.renderer.render(Setting(values, rep, k, task, ticket, host, part.message.cpus))
    return Lease(
        ticket=ticket,
        part=f"{run}-{generation}",
        task=task,
        attempt=attempt,
        argv=rendered.argv,
        line=rendered.line if rendered.argv is None else None,
        values=values,
        inputs=tuple(_value_input(reader, run, generation, file.place) for file in rendered.inputs),
        texts=tuple(
            InputText(path=text.path, text=text.text, mode=0o755 if text.executable else 0o644)
            for text in rendered.texts
        ),
        memory=_memory(reader, part, ticket),
        outputs=tuple(Output(name=output.name, kind=output.kind) for output in rendered.outputs),
    )


def _memory(reader: Reader, part: Part, ticket: str) -> int | None:
    steps = part.options.limits.memory
    if not steps:
        return None
    return limits.memory(steps, ooms=reader.value("task_ooms", ticket))


def _value_input(reader: Reader, run: int, generation: int, place: str) -> Input:
    found = reader.row("value_input_get", run, generation, place)
    assert found is not None, place
    sha256, size, mode = found
    return Input(path=place, sha256=sha256, size=size, mode=mode)
