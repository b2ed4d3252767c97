"""How near the supervisor comes to a C loop of posix_spawn: prints milliseconds and the ratio.

    python tests/agent/bench_spawn.py [TASKS] [SLOTS]

Both start `true` from an absolute path, so many at once, in this same run; the floor is compiled
here with cc. The supervisor is a real one in a process of its own; this process plays its link.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

import corral.agent

agent: Any = corral.agent  # it has no annotations, for it runs on Python 3.6

ROUNDS = 5
BATCH = 500
FLOOR = r"""
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
extern char **environ;
int main(int argc, char **argv) {
    int tasks = atoi(argv[1]), slots = atoi(argv[2]), started = 0, live = 0, status;
    char *words[] = {argv[3], NULL};
    pid_t pid;
    while (started < tasks || live > 0) {
        while (live < slots && started < tasks) {
            if (posix_spawn(&pid, argv[3], NULL, NULL, words, environ)) return 1;
            started++; live++;
        }
        if (waitpid(-1, &status, 0) < 0 || status) return 1;
        live--;
    }
    return 0;
}
"""


def main(tasks: int, slots: int) -> None:
    program = shutil.which("true")
    compiler = shutil.which("cc")
    assert program, "no program `true` here"
    if compiler is None:
        print("NOT COMPARED: no C compiler for the floor")
        return
    with tempfile.TemporaryDirectory() as name:
        source = Path(name, "floor.c")
        source.write_text(FLOOR)
        floor = Path(name, "floor")
        subprocess.run([compiler, "-O2", "-o", floor, source], check=True)
        floors, ours = [], []
        for _ in range(ROUNDS):
            floors.append(time_floor(floor, tasks, slots, program))
            ours.append(time_supervisor(Path(name), tasks, slots, program))
    ratios = [ours_s / floor_s for ours_s, floor_s in zip(ours, floors, strict=True)]
    for label, times in (("C posix_spawn loop", floors), ("supervisor", ours)):
        print(f"{label:20} {statistics.median(times) / tasks * 1e3:.3f} ms/task")
    print(
        f"{'ratio':20} {statistics.median(ratios):.2f}  (of {ROUNDS}: {min(ratios):.2f}..{max(ratios):.2f})"
    )


def time_floor(floor: Path, tasks: int, slots: int, program: str) -> float:
    begun = time.perf_counter()
    subprocess.run([floor, str(tasks), str(slots), program], check=True)
    return time.perf_counter() - begun


def time_supervisor(home: Path, tasks: int, slots: int, program: str) -> float:
    """Run the tasks by a supervisor; the time is from the first lease to the last end."""
    folder = tempfile.mkdtemp(dir=home)
    given = {"owner": "bench", "incarnation": "bench", "key": "", "slots": slots, "folder": folder}
    config: Any = agent.Config(given, agent.own_environment())
    config.umask = os.umask(0o077)
    os.umask(config.umask)
    ours, theirs = agent._socket.socketpair(agent._socket.AF_UNIX, agent._socket.SOCK_STREAM)
    pid = os.fork()
    if pid == 0:
        ours.close()
        agent.live_as_supervisor(config, agent.Become(agent.Port(theirs), os.getppid()))
        os._exit(0)
    theirs.close()
    port = agent.Port(ours)
    try:
        begun = time.perf_counter()
        feed(port, tasks, program)
        return time.perf_counter() - begun
    finally:
        port.send({"end": True})
        os.waitpid(pid, 0)
        port.close()


def feed(port: Any, tasks: int, program: str) -> None:
    """Give leases in batches as the master does: the next one when a batch is half done."""
    part = {"run": "bench", "task_count": tasks}
    given = ended = 0
    while ended < tasks:
        if given < tasks and given - ended <= BATCH // 2:
            numbers = range(given, min(tasks, given + BATCH))
            leases = [
                {"ticket": f"1-1-{n}-1", "part": "1", "task": n, "attempt": 1, "argv": [program]}
                for n in numbers
            ]
            port.send({"parts": {"1": part}, "leases": leases})
            given += len(leases)
        messages, closed = port.receive(agent.wait(None, port))
        assert not closed
        for message in messages:
            records = message.get("ended", [])
            assert all(record["report"]["exit"] == 0 for record in records)
            ended += len(records)
            port.send({"noted": [record["report"]["ticket"] for record in records]})


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:]]
    main(*(numbers + [10_000, 2][len(numbers) :]))
