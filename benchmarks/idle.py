"""What do our processes use while tasks sleep?

An agent without any task ends, so the quietest state there is to measure is one that waits for
tasks: it still tells the master every two seconds that it is there.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks import watch
from benchmarks.place import used
from benchmarks.table import Bench, Row

if TYPE_CHECKING:
    from benchmarks.place import Place

SETTLE_S = 3.0
WATCH_S = 20.0
MB = 1e6


def run(bench: Bench) -> list[Row]:
    """Watch master, link and supervisor for 20 s beside two sleeping tasks."""
    with used(bench.folder / "idle") as place:
        place.run("run", "-q", "-d", "-j", "2", "sleep {601,602}")
        watch.wait_until("two tasks run", lambda: _active(place) == 2)
        time.sleep(SETTLE_S)
        master, agent = place.master(), place.agent()
        before = [watch.cpu_s(pid) for pid in (*agent, master)]
        time.sleep(WATCH_S)
        used_s = [watch.cpu_s(pid) - s for pid, s in zip((*agent, master), before, strict=True)]
        agent_bytes = sum(map(watch.pss, agent))
        share = sum(used_s[:-1]) / WATCH_S
        return [
            Row(
                what="link + supervisor, idle: Pss",
                figure=f"{agent_bytes / MB:.1f} MB",
                aim="< 30 MB",
                met=agent_bytes < 30 * MB,
            ),
            Row(
                what="link + supervisor, idle: CPU",
                figure=f"{share:.3%} of a core",
                aim="< 0.1 %",
                met=share < 0.001,
            ),
            Row(
                what="master, idle: Pss",
                figure=f"{watch.pss(master) / MB:.1f} MB",
                aim="< 80 MB",
                met=watch.pss(master) < 80 * MB,
            ),
            Row(what="master, idle: CPU", figure=f"{used_s[-1] / WATCH_S:.3%} of a core"),
        ]


def _active(place: Place) -> int:
    count: int = place.ask("status")["run"]["counts"]["active"]
    return count
