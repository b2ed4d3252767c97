"""The real command line, in a folder of its own, with eyes for what it leaves behind."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.hosts import processes

TIMEOUT_S = 60.0  # one command; a slow shared machine needs its time


class Corral:
    """Runs ``corral`` in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []
        self.environment = dict(os.environ, NO_COLOR="1")
        self.prefix: tuple[str, ...] = ()  # words before it: another program that starts it

    def __call__(
        self, *words: str, code: int | None = 0, stdin: str = "", timeout: float = TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; ``code`` is the exit code it must have (None: any)."""
        done = subprocess.run(
            self._words(words),
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=timeout,
            check=False,
        )
        if code is not None:
            assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        assert "Exception in" not in done.stderr, done.stderr
        return done

    def start(self, *words: str, stdin: str = "") -> subprocess.Popen[str]:
        """Start a command and leave it running, in a session of its own."""
        with tempfile.TemporaryFile("w+") as given:
            given.write(stdin)
            given.seek(0)
            process = subprocess.Popen(
                self._words(words),
                cwd=self.folder,
                env=self.environment,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def write(self, name: str, text: str | bytes, *, executable: bool = False) -> Path:
        """Put a file into the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        if executable:
            path.chmod(0o755)
        return path

    def results(self, name: str) -> Path:
        return self.folder / "results" / name

    def rows(self, name: str, file: str = "results.csv") -> list[dict[str, str]]:
        """Read a table of a run."""
        with (self.results(name) / file).open(newline="", encoding="utf-8") as text:
            return list(csv.DictReader(text))

    def output(self, name: str) -> str:
        return (self.results(name) / "output.txt").read_bytes().decode()

    def json(self, *words: str) -> dict[str, Any]:
        """Run a verb with --json and give its object."""
        found: dict[str, Any] = json.loads(self(*words, "--json").stdout)
        assert found["version"] == 1
        return found

    def starts(self) -> int:
        """Count all starts of tasks ever, over all runs."""
        runs = self.json("ls")["runs"]
        return sum(len(self.json("attempts", run["name"])["attempts"]) for run in runs)

    def master(self) -> int:
        """Give the process id of the living master, 0 if there is none."""
        try:
            pid = int(json.loads((self.folder / ".corral" / "master.json").read_text())["pid"])
        except (OSError, ValueError):
            return 0
        return pid if Path(f"/proc/{pid}").exists() else 0

    @property
    def owner(self) -> str:
        from corral.store.folder import StateFolder

        return StateFolder(self.folder / ".corral").owner

    def agent_folders(self) -> list[Path]:
        """List the folders of agents that are still there."""
        if not (self.folder / ".corral" / "secret").exists():
            return []
        bases = [Path("/var/tmp"), Path("/tmp"), Path.home() / ".cache"]
        owned = [base / f"corral-{os.getuid()}" / self.owner for base in bases]
        return [folder for base in owned if base.exists() for folder in base.iterdir()]

    def processes(self, *, tasks_only: bool = False) -> list[int]:
        """List living processes of ours: tasks by their environment, agents by their folder."""
        if not (self.folder / ".corral" / "secret").exists():
            return []
        owner = self.owner
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                tagged = f"CORRAL_OWNER={owner}".encode() in (entry / "environ").read_bytes()
                named = f"/{owner}".encode() in (entry / "cmdline").read_bytes()
                inside = f"/{owner}/" in str((entry / "cwd").readlink())
                dead = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if not dead and (tagged or (not tasks_only and (named or inside))):
                found.append(int(entry.name))
        return found

    def named(self, name: str) -> int:
        """Give our only living process of a name."""
        (pid,) = (pid for pid in self.processes() if processes.name(pid) == name)
        return pid

    def end_started(self) -> None:
        """Kill what a test started and did not end."""
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()

    def clean(self) -> None:
        """Kill the master, the agents and their tasks; remove what agents have on the disk."""

        def living() -> list[int]:
            return [pid for pid in (self.master(), *self.processes()) if pid]

        if living():
            processes.kill_at_once(living)
        for folder in self.agent_folders():
            shutil.rmtree(folder, ignore_errors=True)  # its processes are about to end

    def _words(self, words: tuple[str, ...]) -> list[str]:
        return [*self.prefix, sys.executable, "-m", "corral", *words]
