"""How does a run fare whose hosts, connections and masters are broken as it goes?

The driver strikes by progress and heals by time. The run's last task waits to be let go, which
happens when all is healed: so a run always ends among hosts that can be reached, or are dead for good.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from corral.model.base import Frozen
from tests.chaos import promises
from tests.chaos.faults import DEATH, DISK, FAULTS, MASTER
from tests.chaos.promises import Blow
from tests.support.corral import Corral
from tests.support.hosts import Bed
from tests.support.wait import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.chaos.plan import Plan, Step
    from tests.support.hosts import Host

RUN = "chaos"
SLOTS = 2
PROGRAM = """\
#!/bin/sh
# work N LAST FILE: leave a mark on the host, take some time, and give what only N decides
echo "$CORRAL_TICKET" >> "$HOME/starts"
sleep 0.$((200 + $1 * 37 % 300))
if test "$1" = "$2"; then
  until test -e "$HOME/go"; do sleep 0.05; done
fi
echo "task $1"
seq "$1" > "$3"
"""
WELL = ("probation", "up", "quarantined", "draining", "gone")  # a host whose agent is heard
LIMIT_S = 100.0  # for a run, and …
FAULT_S = 10.0  # … for each fault; a host that was away may be called again only after 45 s
END_S = 60.0  # from the last task's being let go


class Outcome(Frozen, frozen=True, kw_only=True):
    """What came of a plan."""

    faults: dict[str, int]
    seconds: float
    starts: int  # of tasks, on all hosts
    again: dict[str, int]  # reason -> attempts after a task's first
    lost: list[str]  # results that are missing or differ
    needless: list[str]  # starts that nothing asked for
    strays: list[str]
    broken: list[str]  # all that broke, those above too


class Underway(NamedTuple):
    """A fault that lasts."""

    kind: str
    host: Host
    until: float


def run(plan: Plan, folder: Path) -> Outcome:
    """Bring the bed up, carry the plan out, and look at what came of it."""
    corral = Corral(folder)
    began = time.monotonic()
    with Bed(plan.hosts) as bed:
        chaos = Chaos(plan, bed, corral)
        try:
            chaos.carry_out()
            strays = chaos.strays()
            return chaos.outcome(time.monotonic() - began, strays)
        finally:
            corral.end_started()


class Chaos:
    """One plan being carried out."""

    def __init__(self, plan: Plan, bed: Bed, corral: Corral) -> None:
        self._plan = plan
        self._bed = bed
        self._corral = corral
        self._steps = plan.steps()
        self._underway: list[Underway] = []
        self._blows: list[Blow] = []
        self._dead: set[str] = set()
        self._master: subprocess.Popen[str] | None = None  # who runs or resumes the run
        self._resume_at = 0.0
        self._said: list[str] = []  # by a run that did not end well
        corral.environment["CORRAL_SSH"] = bed.ssh
        corral.write("work", PROGRAM, executable=True)
        corral.write("hosts.toml", "".join(_small(name) for name in plan.small))

    def carry_out(self) -> None:
        """Run to the end of the run."""
        plan = self._plan
        self._master = self._corral.start(
            *("run", "-q", "--name", RUN, "-j", str(SLOTS), "-w", ",".join(plan.names)),
            *("./work", f"{{n=1..{plan.tasks}}}", str(plan.tasks), "{>{n}.txt}"),
        )
        limit_s = LIMIT_S + FAULT_S * plan.faults
        wait_until(self._advance, seconds=limit_s, what="all is struck, healed and well")
        for name in plan.names:
            (self._bed[name].folder / "home" / "go").touch()
        self._said = self._ended(END_S)

    def strays(self) -> list[str]:
        """List what of ours is left on hosts and here, a second after the end at the latest."""
        return promises.strays(self._bed, self._corral)

    def outcome(self, seconds: float, strays: list[str]) -> Outcome:
        """Look at what came of it."""
        plan, corral = self._plan, self._corral
        marks = [mark for host in self._bed for mark in promises.marks(host)]
        with closing(self._database()) as database:
            needless = promises.needless(database, marks, self._blows)
            broken = promises.invariants(database, marks)
            reasons = Counter(
                reason
                for (reason,) in database.execute("select reason from attempt where number > 1")
            )
        lost = promises.lost(corral, RUN, plan.tasks)
        return Outcome(
            faults=dict(Counter(blow.kind for blow in self._blows)),
            seconds=seconds,
            starts=len(marks),
            again=dict(reasons),
            lost=lost,
            needless=needless,
            strays=strays,
            broken=[*self._said, *broken, *lost, *needless, *strays, *promises.audit(corral)],
        )

    # ---------------------------------------------------------------- one look

    def _advance(self) -> bool:
        """Heal, resume and strike what is due; say whether all is over and all hosts are well."""
        now = time.monotonic()
        self._heal(now)
        if self._master is None:
            if now >= self._resume_at:
                self._master = self._corral.start("resume", "-q")
            return False
        if self._master.poll() is not None:
            raise AssertionError(f"the run ended before its last task: {self._ended(END_S)}")
        done = self._done()
        if self._steps:
            if done >= self._steps[0].at and self._strike(self._steps[0], now):
                del self._steps[0]
            return False
        return not self._underway and done == self._plan.tasks - 1 and self._all_well()

    def _heal(self, now: float) -> None:
        for one in [one for one in self._underway if one.until <= now]:
            heal = FAULTS[one.kind].heal
            assert heal
            heal(one.host)
            self._underway.remove(one)

    def _strike(self, step: Step, now: float) -> bool:
        """Strike, if there is something to hit."""
        if step.kind == MASTER:
            return self._kill_master(now + step.lasts_s)
        fault = FAULTS[step.kind]
        for host in self._free(step):
            struck = time.time()
            if not fault.strike(self._bed, host):
                continue
            self._blows.append(Blow(kind=step.kind, host=host.name, struck=struck))
            if step.kind == DEATH:
                self._dead.add(host.name)
            if fault.heal:
                self._underway.append(Underway(step.kind, host, now + step.lasts_s))
            return True
        return False

    def _free(self, step: Step) -> Iterator[Host]:
        """List the hosts that may be struck: those that live and suffer nothing else now."""
        struck = self._dead.union(one.host.name for one in self._underway)
        return (self._bed[name] for name in step.hosts if name not in struck)

    def _kill_master(self, resume_at: float) -> bool:
        process = self._master
        assert process
        if self._corral.master() != process.pid:
            return False  # it is just starting
        process.kill()
        process.communicate()
        self._blows.append(Blow(kind=MASTER, host="", struck=time.time()))
        self._master, self._resume_at = None, resume_at
        return True

    # ---------------------------------------------------------------- what is seen

    def _database(self) -> sqlite3.Connection:
        path = self._corral.folder / ".corral" / "corral.db"
        return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=END_S)

    def _done(self) -> int:
        if not (self._corral.folder / ".corral" / "master.json").exists():
            return 0
        with closing(self._database()) as database:
            sql = "select coalesce(sum(n), 0) from run_count where state = 'done'"
            return int(database.execute(sql).fetchone()[0])

    def _all_well(self) -> bool:
        with closing(self._database()) as database:
            states = dict(database.execute("select name, state from host"))
        living = [name for name in self._plan.names if name not in self._dead]
        return all(states[name] in WELL for name in living)

    def _ended(self, seconds: float) -> list[str]:
        """See the command end; gives its exit code and words, if they are not what they should."""
        assert self._master
        _, said = self._master.communicate(timeout=seconds)
        code = self._master.returncode
        return [f"the run ended with exit {code}: {said}"] if code or "Traceback" in said else []


def _small(name: str) -> str:
    return f'[hosts.{name}]\nworkdir = "{DISK}"\n'
