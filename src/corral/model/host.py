"""A host: a computer that does work; it has slots, a platform and a state.

new --> joining --> probation --> up <--> suspect --> lost
                                  |  quarantined; draining --> gone; unreachable(reason)
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from corral.ids import HostId
from corral.model.base import Frozen
from corral.model.needs import Offer

HostState = Literal[
    "new", "joining", "probation", "up", "suspect", "lost",
    "quarantined", "draining", "gone", "unreachable",
]  # fmt: skip
LOCAL = "localhost"  # the name of this machine's cores
_PLAIN_PATH = re.compile(r"[\w./~+-]+")


class Host(Frozen, frozen=True, kw_only=True):
    """A host as it stands."""

    id: HostId
    name: str
    state: HostState
    reason: str  # why it is unreachable, suspect, lost or quarantined; else ""
    note: str  # what is odd about it though it works; else ""
    unclean: str  # what of ours may still be there; else ""
    unfit: str = ""  # why it can never run a task of the run that was asked for
    slots: int
    cores: int
    memory_by: str  # what holds a task to its memory: cgroup v2, cgroup v1, polled …; "" = nothing
    running: int  # attempts on it now
    done: int  # results accepted from it
    failed: int  # failures blamed on it


def is_plain_path(text: str) -> bool:
    """Say whether every login shell takes a path as it is written."""
    return bool(_PLAIN_PATH.fullmatch(text))


def base_of(folder: str) -> str:
    """Give BASE of an agent's folder, which is ``BASE/corral-UID/OWNER/INCARNATION``."""
    return folder.rpartition("/corral-")[0]


class HostSpec(Frozen, frozen=True, kw_only=True):
    """How a host is reached and what it is to be used for; None = nobody said."""

    name: str  # as it was written and folded: ``user@node01:2222``; unique in a run
    host: str = ""  # what ssh is given as the destination; LOCAL = no ssh
    user: str | None = None
    port: int | None = None
    slots: int | None = None  # tasks at once; None = its usable cores
    tags: tuple[str, ...] = ()
    resources: dict[str, int] = msgspec.field(default_factory=dict)  # that tasks may need: gpu
    env: dict[str, str] = msgspec.field(default_factory=dict)  # on top of what a login there has
    setup: str = ""  # shell lines run once before; what they export is what tasks see
    python: str | None = None  # the interpreter; None = look for one
    workdir: str | None = None  # base of the work folder; None = the first place that will do
    ssh: str | None = None  # the ssh program with options; None = the command's

    @property
    def is_here(self) -> bool:
        """Say whether it is this machine, reached without ssh."""
        return self.host == LOCAL and self.user is None and self.port is None

    def passed_over(self, folder: str) -> str:
        """Say that an agent's folder is not in the `workdir` that was given; "" if it is."""
        base = base_of(folder).rstrip("/")
        wanted = "" if self.workdir is None else self.workdir.rstrip("/")
        if self.workdir is None or base == wanted:
            return ""
        if wanted.startswith("~") and base.endswith(wanted.partition("/")[2]):
            return ""  # only there it is known whose home that is
        return (
            f"its workdir {self.workdir} cannot be used (is it there, writable, with 64 MiB free, on"
            f" a local disk, able to run scripts?): {base} serves"
        )


LOCAL_SPEC = HostSpec(name=LOCAL, host=LOCAL)


class RunHost(Frozen, frozen=True, kw_only=True):
    """A host that a run may use."""

    name: str
    state: HostState
    reason: str
    note: str
    unclean: str  # what of ours may still be there
    spec: HostSpec
    offer: Offer = Offer()  # what it has, as far as is known
    unfit: str = ""  # why it can never run a task of the run

    @property
    def is_out(self) -> bool:
        """Say whether someone has looked and it can never run a task of the run."""
        return bool(self.unfit) and self.state not in ("new", "joining")
