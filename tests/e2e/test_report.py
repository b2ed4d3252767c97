"""corral report: made from what is stored, whatever is still alive."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.wait import wait_until

if TYPE_CHECKING:
    from tests.support.corral import Corral

pytestmark = pytest.mark.timeout(60)  # several commands each, on a machine that is shared


def test_a_report_is_written_beside_the_results_and_goes_with_them(corral: Corral) -> None:
    corral("run", "-q", "echo {n=1..3}; test {n} != 2", code=1)
    assert corral("report").stdout == "results/echo/report.html\n"
    page = (corral.results("echo") / "report.html").read_text()
    assert "1 × exit 1" in page
    corral("collect")
    corral("report")
    corral("rm", "--yes", "echo")
    assert not corral.results("echo").exists()


def test_a_report_of_a_run_whose_master_died(corral: Corral) -> None:
    run = corral.start("run", "-q", "--here", "echo {n=1..3}; test {n} = 1 || sleep 600")
    wait_until(
        lambda: (
            (corral.folder / ".corral" / "corral.db").exists()
            and corral.json("ls")["runs"]
            and corral.json("status")["run"]["counts"]["done"] == 1
        ),
        seconds=15,
        what="one is done",
    )
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert "<h1>echo</h1>" in corral("report", "-o", "-").stdout
    corral("report", "-o", "elsewhere.html")
    assert (corral.folder / "elsewhere.html").stat().st_size > 1_000
    corral("cancel")
    corral("resume", code=None)


def test_a_users_own_file_is_not_replaced(corral: Corral) -> None:
    corral("run", "-q", "echo 1")
    (corral.results("echo") / "report.html").write_text("mine")
    assert "not corral's" in corral("report", code=1).stderr
    assert (corral.results("echo") / "report.html").read_text() == "mine"


def test_what_is_no_file_is_written_into_not_replaced(corral: Corral) -> None:
    corral("run", "-q", "echo 1")
    pipe = corral.folder / "pipe"
    os.mkfifo(pipe)
    report = corral.start("report", "-o", "pipe")
    assert "<h1>echo</h1>" in pipe.read_text()
    assert report.wait(timeout=20) == 0
    assert pipe.is_fifo()


def test_a_folder_in_the_way_is_named(corral: Corral) -> None:
    corral("run", "-q", "echo 1")
    for place in (".", "/", "results"):
        assert f"{place}: results cannot be written" in corral("report", "-o", place, code=1).stderr
    assert "\n  try: make the folder" in corral("report", "-o", "no/x.html", code=1).stderr
