"""Serve a HyperQueue server elsewhere: ``hyperqueue_worker.py CORES``, its access file on stdin.

The Python package starts workers of its own cluster only, and looks into a file where that is. So
this makes a cluster and then exchanges the file. The server is where the login came from. Runs until
stdin ends.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from hyperqueue.cluster import LocalCluster, WorkerConfig  # type: ignore[import-not-found]


def main() -> None:
    """Become a worker."""
    access = json.loads(sys.stdin.readline())
    for door in ("client", "worker"):
        access[door]["host"] = os.environ["SSH_CONNECTION"].split()[0]
    with tempfile.TemporaryDirectory() as folder:
        cluster = LocalCluster(folder)
        Path(folder, "hq-current", "access.json").write_text(json.dumps(access))
        cluster.start_worker(WorkerConfig(cores=int(sys.argv[1])))
        sys.stdin.read()
        os._exit(0)  # stopping would reach for the other server


main()
