"""Run ``echo i`` N times with Dask's SSHCluster; say when all output is in one file.

``dask_echo.py TASKS THREADS CONFIG INTERFACE OUTPUT HOST...``: CONFIG is an ssh_config, INTERFACE
the one by which the hosts reach each other. Scheduler and first worker share a host. Workers without
a nanny, which start faster.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from distributed import Client, SSHCluster  # type: ignore[import-not-found]  # only there


def echo(number: int) -> str:
    """Do one task."""
    words = ["echo", str(number)]
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout


def main() -> None:
    """Start scheduler and workers, map, gather."""
    tasks, threads = int(sys.argv[1]), int(sys.argv[2])
    config, interface, output, *hosts = sys.argv[3:]
    with (
        SSHCluster(
            [hosts[0], *hosts],
            connect_options={"config": [config]},
            worker_class="distributed.Worker",
            worker_options={"nthreads": threads, "interface": interface},
            scheduler_options={"port": 0, "dashboard": False, "interface": interface},
        ) as cluster,
        Client(cluster) as client,
    ):
        said = client.gather(client.map(echo, range(1, tasks + 1), pure=False))
        Path(output).write_text("".join(said))
        print("collected", flush=True)


if __name__ == "__main__":
    main()
