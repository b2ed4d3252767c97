"""Run ``echo i`` N times with HyperQueue on hosts behind ssh; say when all output is in one file.

``hyperqueue_echo.py TASKS CORES FOLDER OUTPUT SSH HOST...``: FOLDER is one that the hosts share,
since HyperQueue brings no output home. Its Python package can start workers on this machine only, so
`hyperqueue_worker.py` is started on each host and handed the server's address.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hyperqueue import Job, LocalCluster  # type: ignore[import-not-found]  # only there

if TYPE_CHECKING:
    from collections.abc import Generator

WORKER = "hyperqueue_worker.py"  # a copy lies in the shared folder


def main() -> None:
    """Start server and workers, submit, collect; the workers join while tasks are described."""
    tasks, cores, folder, output = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4]
    server = folder / "server"
    server.mkdir()
    with LocalCluster(str(server)) as cluster:
        access = (server / "hq-current" / "access.json").read_text()
        worker = shlex.join([sys.executable, str(folder / WORKER), cores])
        with _started(shlex.split(sys.argv[5]), sys.argv[6:], worker, access):
            client = cluster.client()
            job = Job(default_workdir=folder)
            for number in range(1, tasks + 1):
                job.program(["echo", str(number)], stdout=folder / f"{number}.out", stderr=None)
            client.wait_for_jobs([client.submit(job)])
            with open(output, "w") as collected:
                for number in range(1, tasks + 1):
                    collected.write((folder / f"{number}.out").read_text())
            print("collected", flush=True)


@contextlib.contextmanager
def _started(ssh: list[str], hosts: list[str], worker: str, access: str) -> Generator[None]:
    """Have a worker on each host; they end with their stdin."""
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(
                    [*ssh, host, worker],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    text=True,
                )
            )
            for host in hosts
        ]
        for one in workers:
            assert one.stdin
            one.stdin.write(access.replace("\n", " ") + "\n")
            one.stdin.flush()
        yield
        for one in workers:
            assert one.stdin
            one.stdin.close()


main()
