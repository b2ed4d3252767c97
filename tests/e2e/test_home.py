"""Agents are sent home while results are collected: has work that begins in that moment any?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from corral.cli.folder import RealFolder
from corral.model.run import Options, Submission
from corral.server.app import serve
from corral.store.folder import StateFolder
from corral.work import identity
from corral.work.command import parse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from corral.ids import RunId
    from corral.master.master import Master
    from corral.model.run import Run

END_S = 15.0  # a run of few tasks on this machine takes less than one


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[[Callable[[Master], Awaitable[None]]], None]]:
    """Be the master of a folder while a story goes on."""
    folder = StateFolder.make(tmp_path)
    lock = folder.try_lock()
    assert lock is not None
    store = folder.open_store()
    yield lambda story: asyncio.run(serve(folder, store, story))
    store.close()
    lock.close()


def submission(folder: Path, tasks: int) -> Submission:
    words = (f"echo {{1..{tasks}}}",)
    command = parse(words, folder=RealFolder(folder)).command
    return Submission(
        name="echo",
        folder=str(folder),
        skeleton=identity.skeleton(command),
        words=words,
        command=command,
        options=Options(out=str(folder / "results")),
    )


async def end_of(master: Master, run: RunId) -> Run:
    async with asyncio.timeout(END_S):
        while (found := await master.rest(run)) is None:
            pass
    return found


def test_a_run_that_has_grown_by_then_keeps_its_agent(
    tmp_path: Path, served: Callable[[Callable[[Master], Awaitable[None]]], None]
) -> None:
    """Bug: it was the run that had just ended, so it was not looked whether it was open again."""

    async def story(master: Master) -> None:
        submitted = await master.submit(submission(tmp_path, 4))
        master.release_agents()
        assert (await end_of(master, submitted.run)).state == "done"

    served(story)


def test_a_run_that_grows_thereafter_has_another_agent(
    tmp_path: Path, served: Callable[[Callable[[Master], Awaitable[None]]], None]
) -> None:
    async def story(master: Master) -> None:
        first = await master.submit(submission(tmp_path, 2))
        await end_of(master, first.run)
        master.release_agents()
        grown = await master.submit(submission(tmp_path, 4))
        assert (grown.run, grown.new) == (first.run, 2)
        ended = await end_of(master, grown.run)
        assert (ended.state, ended.counts["done"]) == ("done", 4)

    served(story)
