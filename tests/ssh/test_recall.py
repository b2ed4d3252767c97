"""Tasks that wait on a busy host while another one idles, on real hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.corral import Corral
    from tests.support.hosts import Bed

pytestmark = [
    pytest.mark.system("sshd"),
    pytest.mark.system("root"),
    pytest.mark.timeout(90),  # several commands with logins each, on a machine that is shared
]

SOON_S = 30.0  # a tenth of what the long tasks take
TWO = ("-w", "h[1-2]")


@pytest.fixture
def busy(on_farm: Corral, farm: Bed) -> Iterator[Corral]:
    """The command line with h1 and h2, each of two slots; what is left of `long` ends with the test."""
    on_farm.write("hosts.toml", '[hosts."h[1-2]"]\nslots = 2\n')
    yield on_farm
    on_farm("cancel", "long", "--yes")
    farm["h2"].sh("rm -f ~/go")


def test_a_large_task_goes_to_the_idle_host(busy: Corral, farm: Bed) -> None:
    wait = "until test -e ~/go; do sleep 0.05; done"
    long = f"case $(hostname) in h1) sleep 300;; *) {wait};; esac; echo {{1..4}}"
    busy("run", "-q", "-d", *TWO, "--no-twins", "--name", "long", long)
    wait_until(lambda: running(busy) == {"h1", "h2"}, seconds=SOON_S)
    farm["h2"].sh("touch ~/go")
    busy("run", *TWO, "--needs", "cpus=2", "--name", "large", "echo {1..3}", timeout=SOON_S)
    assert {row["host"] for row in busy.rows("large")} == {"h2"}
    assert "h1" in running(busy), "the other host was free: nothing is proven"


def test_small_tasks_do_not_wait_behind_long_ones(busy: Corral) -> None:
    long = "case $(hostname) in h1) test {1} -lt 100 || sleep 300;; esac; echo {1..400}"
    busy("run", "-q", "-d", *TWO, "--no-twins", "--name", "long", long)
    wait_until(lambda: left(busy) == 2, seconds=SOON_S, what="all but two are done")
    assert running(busy) == {"h1"}


def running(corral: Corral) -> set[str]:
    """Name the hosts on which the long run has tasks that were started."""
    attempts = corral.json("attempts", "long")["attempts"]
    return {attempt["host"] for attempt in attempts if attempt["state"] == "running"}


def left(corral: Corral) -> int:
    counts = corral.json("status", "long")["run"]["counts"]
    return sum(counts.get(state, 0) for state in ("waiting", "active"))
