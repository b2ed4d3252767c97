"""The three jobs of the README, on one machine and on hosts: the same bytes come home."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.corral import Corral
    from tests.support.hosts import Bed

pytestmark = [
    pytest.mark.system("sshd"),
    pytest.mark.system("root"),
    pytest.mark.timeout(90),
]

HOSTS = ("-w", "h[1-3]")
SIM = """#!/bin/sh
exec awk "BEGIN { print \\"m=\\" $2 * $4 + $6 / 8 }"
"""
PAGES = 4


def _both(corral: Corral, *words: str) -> dict[str, str]:
    """Run a command here and on hosts; gives the host of each task there, by its command."""
    corral("run", "-q", "--name", "here", *words)
    corral("run", "-q", "--name", "away", *HOSTS, *words)
    assert corral.output("away") == corral.output("here")
    hosts = {row["task"]: row["host"] for row in corral.rows("away")}
    assert set(hosts.values()) <= {"h1", "h2", "h3"}
    return hosts


def test_a_sweep_of_two_variables_with_ten_replicates(on_farm: Corral) -> None:
    on_farm.write("sim", SIM, executable=True)
    hosts = _both(on_farm, "-r10", "./sim -T {1..5:.5} -L {16,32,64} -s {rep}")
    assert len(hosts) == 9 * 3 * 10
    assert set(hosts.values()) == {"h1", "h2", "h3"}
    lines = on_farm.output("away").splitlines()
    assert [lines[0], lines[-1]] == ["m=16.125", "m=321.25"]
    for name in ("here", "away"):
        on_farm("collect", name, "--as", "table", "--group", "T,L", "-o", f"{name}.csv")
    means = (on_farm.folder / "away.csv").read_text()
    assert means.count("\n") == 1 + 9 * 3
    assert means == (on_farm.folder / "here.csv").read_text()


def test_a_file_of_commands(on_farm: Corral) -> None:
    on_farm.write("sim", SIM, executable=True)
    on_farm.write(
        "cmds.txt",
        "./sim -T 1 -L 2 -s 0\n3x ./sim -T 2 -L 2 -s 0\necho 'a  b' | tr a-z A-Z\n",
    )
    assert len(_both(on_farm, "-f", "cmds.txt", "--counts")) == 5
    assert on_farm.output("away") == "m=2\nm=4\nm=4\nm=4\nA  B\n"


@pytest.mark.system("gs")
def test_one_picture_per_page_of_a_document(on_farm: Corral) -> None:
    gs = shutil.which("gs")
    assert gs
    drawn = "".join(
        f"{page * 50} 100 moveto 200 300 lineto stroke showpage\n" for page in range(PAGES)
    )
    document = on_farm.folder / "doc.pdf"
    words = [gs, "-q", "-dNOPAUSE", "-dBATCH", "-sDEVICE=pdfwrite", f"-sOutputFile={document}"]
    subprocess.run([*words, "-"], input=drawn.encode(), check=True)
    render = (
        "gs -q -dNOPAUSE -dBATCH -sDEVICE=png16m -r72 -sPageList={page=1..4}"
        " -sOutputFile={>{page}.png} {<doc.pdf}"
    )
    _both(on_farm, render)
    pictures = {
        name: {
            path.name: path.read_bytes() for path in on_farm.results(name).glob("files/**/*.png")
        }
        for name in ("here", "away")
    }
    assert sorted(pictures["away"]) == [f"{page}.png" for page in range(1, PAGES + 1)]
    assert pictures["away"] == pictures["here"]
    assert len(set(pictures["away"].values())) == PAGES
    assert all(picture.startswith(b"\x89PNG") for picture in pictures["away"].values())


def test_a_host_behind_another_is_reached_through_it(on_farm: Corral, farm: Bed) -> None:
    inner, outer = farm["h2"], farm["h1"]
    config = on_farm.write(
        "ssh_config",
        f"Host behind\n  HostName {inner.address}\n  ProxyJump h1\n" + farm.config.read_text(),
    )
    on_farm.environment["CORRAL_SSH"] = f"ssh -F {config}"
    on_farm("run", "-w", "behind", "echo $(hostname) {1..3} $SSH_CONNECTION")
    assert [line.split()[:2] for line in on_farm.output("echo").splitlines()] == [
        ["h2", "1"], ["h2", "2"], ["h2", "3"],
    ]  # fmt: skip
    assert outer.address in inner.log()
