"""A run: one program, many settings; what a user submits, watches and collects.

    preparing --> open --> done            done --> open: grown, retried or rerun
                   |  ^
                   |  |  unpause, resume
                   v  |
          paused(reason)  halted  cancelled

The same words stand in the CHECK of ``run.state`` and in docs/state-machine.md.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from corral.ids import RunId
from corral.model.base import Frozen
from corral.model.command import Command
from corral.model.host import LOCAL_SPEC, HostSpec
from corral.model.limits import Limits

RunState = Literal["preparing", "open", "paused", "halted", "cancelled", "done"]
TaskState = Literal["waiting", "active", "done", "failed", "cancelled", "skipped", "parked", "held"]
ExitMeaning = Literal["again", "skip", "fatal"]
"""What an exit code says beside "failed": again = give it out anew, uncharged; skip = there is
nothing to do for these values; fatal = it fails, and no retry would help."""
EXIT_MEANINGS: tuple[ExitMeaning, ...] = ("again", "skip", "fatal")
TASK_STATES: tuple[TaskState, ...] = (
    "waiting", "active", "done", "failed", "cancelled", "skipped", "parked", "held",
)  # fmt: skip


class Options(Frozen, frozen=True, kw_only=True):
    """What may change between two submissions of the same run without making it another."""

    reps: int = 1
    retries: int | None = None  # None: the default of 2, where another host can take the task
    on_master_loss: Literal["finish", "stop"] = "finish"  # what running tasks do then
    twins: bool = True  # a task that is late may be tried by an idle host, too
    limits: Limits = Limits()
    slots: int | None = None  # tasks of this run at once per host (-j); None: the host's slots
    beat_s: float = 2.0  # between exchanges of a busy agent
    lost_after_s: float = 60.0  # of silence, and a host's tasks go elsewhere
    silence_counts: bool = (
        True  # False (--heartbeat off): a host is lost only when its agent is gone
    )
    out: str  # absolute path of the results' folder
    out_given: bool = False  # by the user; else it is named after the run
    collect: str = "concat"  # the collecting rule of output.txt
    add_env: dict[str, str] = msgspec.field(
        default_factory=dict
    )  # --env, on top of what the host has
    exit_codes: dict[int, ExitMeaning] = msgspec.field(default_factory=dict)


class Input(Frozen, frozen=True, kw_only=True):
    """A shipped file: content ``sha256``, to stand at ``path`` in a task's folder."""

    path: str
    sha256: str
    size: int  # bytes
    mode: int
    platform: str = ""  # only for hosts of this one, in place of the files without


class Submission(Frozen, frozen=True, kw_only=True):
    """A command as it was understood, ready to be expanded into tasks.

    ``inputs`` are the shipped files that every task gets; ``value_inputs`` belong to one value of
    an axis (a glob's files, ``{<{page}.yaml}``) and are found by their place when a task leases.
    Their bytes stand in the blob store before this is handed to the engine.
    """

    name: str  # wished; another skeleton of that name in the same state folder gets "-2"
    named: bool = False  # the user chose the name (--name): a clash is an error
    folder: str  # absolute, of the command
    skeleton: str
    words: tuple[str, ...]  # as typed, for run.toml and for people
    source: str = ""  # text of the run file that repeats the run (run.toml)
    command: Command
    inputs: tuple[Input, ...] = ()
    value_inputs: tuple[Input, ...] = ()
    options: Options
    hosts: tuple[HostSpec, ...] = (LOCAL_SPEC,)  # that may work for it
    fresh: bool = False  # start a new generation even if nothing changed
    detached: bool = False  # goes on without a follower


class Submitted(Frozen, frozen=True, kw_only=True):
    """What became of a submission once all its tasks are in."""

    run: RunId
    name: str
    generation: int
    why_fresh: str = (
        ""  # "sim.py changed", "asked": why a new generation was begun; "" = it was not
    )
    tasks: int  # named by this command
    new: int  # of them, not seen before
    again: int  # of them, failed or unfinished before and waiting again
    kept: int  # of them, done before and kept, or waiting or under way already
    unfinished: int = 0  # of those kept, not done


class Run(Frozen, frozen=True, kw_only=True):
    """A run as it stands."""

    id: RunId
    name: str
    folder: str
    state: RunState
    reason: str  # why it is paused, or halted by itself; else ""
    generation: int
    words: tuple[str, ...]
    options: Options
    tasks: int  # named by the latest command
    created: datetime
    opened: datetime | None  # when its tasks were all in
    ended: datetime | None
    typical_s: float | None  # running mean of the successful attempts' seconds
    counts: dict[str, int]  # tasks of the latest command by state; every state is present


class Generation(Frozen, frozen=True, kw_only=True):
    """The shape of one generation: what every task of it shares."""

    run: RunId
    number: int
    names: tuple[str, ...]  # of the parameters, in the order of a task's values
    command: Command
    inputs: tuple[Input, ...]
