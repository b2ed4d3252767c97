"""A bed for one agent: its folder, its master, and a look at the end that nothing is left."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from corral import protocol
from tests.agent import ways
from tests.agent.master import Master
from tests.agent.support import AGENT, agent, alive, tagged, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OWNER = f"testowner{os.getpid()}"  # tests beside these reap and sweep what is of their owner


@dataclass
class Bed:
    """Where one incarnation lives, the master it dials, and what the test did with them."""

    base: Path
    incarnation: str = field(default_factory=lambda: secrets.token_hex(8))
    python: str = sys.executable
    program: Path = AGENT
    link: int = 0
    supervisor: int = 0
    pids: set[int] = field(default_factory=set)  # of all links and supervisors seen
    keeps_folder: bool = False  # the test means the folder to stay

    def __post_init__(self) -> None:
        self.folder = Path(agent.choose_folder(OWNER, self.incarnation, str(self.base)))
        self.master = Master(self.folder, self.incarnation)

    def config(self, **changes: object) -> dict[str, object]:
        return {
            "owner": OWNER,
            "incarnation": self.incarnation,
            "key": self.master.key.hex(),
            "host": "testhost",
            "slots": self.master.slots,
            "folder": str(self.folder),
            "workdir": None,
            "collect": False,
            "linger_s": 60,
        } | changes

    def command(
        self, word: str, config: Mapping[str, object], **kwargs: object
    ) -> dict[str, object]:
        """Run a command of the agent's file bare; give its answer."""
        done = subprocess.run(
            [self.python, "-I", "-S", str(self.program), word],
            input=json.dumps(config).encode() + b"\n",
            capture_output=True,
            timeout=15,
            check=False,
            **kwargs,  # type: ignore[call-overload]  # env, umask
        )
        assert done.stderr == b"", done.stderr.decode()
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        assert (done.returncode == 0) == ("error" not in answer)
        return answer

    def start(
        self, *, listen: bool = True, env: dict[str, str] | None = None, **changes: object
    ) -> Bed:
        if listen:
            self.master.listen()
        answer = self.command("start", self.config(**changes), env=env)
        assert answer["folder"] == str(self.folder)
        self.link = int(str(answer["link"]))
        self.supervisor = int(str(answer["supervisor"] or 0))
        self.pids |= {self.link, self.supervisor}
        return self

    def run(
        self,
        *leases: protocol.Lease,
        seconds: float = 15.0,
        **part: object,
    ) -> list[protocol.Report]:
        """Have leases run to their reports."""
        self.give(*leases, **part)
        return [self.master.report(lease.ticket, seconds) for lease in leases]

    def give(self, *leases: protocol.Lease, **part: object) -> None:
        run = protocol.RunPart(run="sim", task_count=len(leases), **part)  # type: ignore[arg-type]
        self.master.give(*leases, part=run)

    def stop(self, how: str = "drain", seconds: float = 15.0) -> None:
        """Tell the agent to end, and see it gone."""
        self.master.change(stop=how)
        self.see_end(seconds)

    def see_end(self, seconds: float = 15.0) -> None:
        wait_until(lambda: not self.living(), seconds, f"still there: {self.living()}")
        if not self.keeps_folder:
            assert not self.folder.exists(), sorted(self.folder.rglob("*"))
        assert not ways.groups_of(self.incarnation)

    def kill_both(self) -> None:
        """Kill link and supervisor in the same instant: neither sees the other's end."""
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in (self.link, self.supervisor):
                os.kill(pid, number)
        wait_until(lambda: not (alive(self.link) or alive(self.supervisor)))

    def find_peers(self) -> tuple[int, int]:
        """Look up who is link and supervisor now; 0 = nobody."""
        found = {"corral-link": 0, "corral-super": 0}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                name = (path / "comm").read_text().strip()
                home = (path / "cwd").readlink()
            except OSError:
                continue
            if name in found and home == self.folder and alive(int(path.name)):
                found[name] = int(path.name)
        self.link, self.supervisor = found.values()
        self.pids |= set(found.values()) - {0}
        return self.link, self.supervisor

    def living(self) -> set[int]:
        self.find_peers()
        return {pid for pid in self.pids if pid and alive(pid)} | tagged(self.incarnation)

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def base() -> Iterator[Path]:
    """A work folder with a short path: a unix socket's may not be long."""
    path = Path(tempfile.mkdtemp(prefix="ct"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def bed(base: Path) -> Iterator[Bed]:
    """An agent's bed; at the end nothing may live, and no folder be left."""
    bed = Bed(base)
    yield bed
    try:
        log = bed.log()
        if bed.living():
            bed.stop("now")
        left = sorted(str(path) for path in base.rglob("*"))
        assert bed.keeps_folder or not left
        assert "Traceback" not in log, log
    finally:
        for pid in bed.living():
            os.kill(pid, signal.SIGKILL)
        bed.master.close()


@pytest.fixture(params=ways.found())
def limited(bed: Bed, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bed]:
    """An agent that holds tasks to their memory, in each way there is on this machine."""
    yield from _run_by(request.param, bed, tmp_path)


@pytest.fixture(params=ways.kernels())
def grouped(bed: Bed, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bed]:
    """An agent that has control groups."""
    yield from _run_by(request.param, bed, tmp_path)


def _run_by(way: str, bed: Bed, folder: Path) -> Iterator[Bed]:
    with ways.python(way, folder) as bed.python:
        yield bed
        if bed.living():
            bed.stop("now")


def lease(n: int, *argv: str, line: str | None = None, **more: object) -> protocol.Lease:
    """Make the lease of task ``n``; its ticket is ``1-1-n-1``."""
    words = {"argv": argv} if line is None else {"line": line}
    given = {"ticket": f"1-1-{n}-1", "part": "", "task": n, "attempt": 1} | words | more
    return protocol.Lease(**given)  # type: ignore[arg-type]  # fields by name
