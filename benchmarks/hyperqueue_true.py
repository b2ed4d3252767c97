"""Run ``true`` N times on K cores of HyperQueue's LocalCluster; print the seconds it took.

Runs under the Python of a virtual environment that has HyperQueue and nothing of ours. Its
server's and worker's start is not counted: that favours it.
"""

from __future__ import annotations

import sys
import time

from hyperqueue import Job, LocalCluster  # type: ignore[import-not-found]  # only there
from hyperqueue.cluster import WorkerConfig  # type: ignore[import-not-found]


def main() -> None:
    """Describe the tasks, submit them, wait for all."""
    tasks, cores = map(int, sys.argv[1:])
    with LocalCluster() as cluster:
        cluster.start_worker(WorkerConfig(cores=cores))
        client = cluster.client()
        began = time.perf_counter()
        job = Job()
        for _ in range(tasks):
            job.program(["true"])
        client.wait_for_jobs([client.submit(job)])
        print(time.perf_counter() - began)


main()
