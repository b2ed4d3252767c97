"""Agents of this machine: found again by whoever comes after the master that started them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from corral import ids
from corral.fleet import local
from corral.fleet.base import AgentStart, Doors, LaunchError
from corral.fleet.local import LocalLauncher
from tests.support.puppet import mute
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


async def listen(_: Path) -> Callable[[], None]:
    return lambda: None


def nobody(*_: object) -> Any:
    raise AssertionError("no connection is carried on this machine")


def launcher() -> LocalLauncher:
    return LocalLauncher(doors=Doors(listen=listen, connect=nobody))


@pytest.fixture
def what() -> Iterator[AgentStart]:
    """An agent to start; afterwards nothing of it is left."""
    start = AgentStart(
        owner=ids.new_owner(), incarnation=ids.new_incarnation(), key="00" * 32, host="localhost"
    )
    yield start
    words = {"owner": start.owner, "kill": True}
    asyncio.run(launcher().ask("reap", words))
    assert asyncio.run(launcher().ask("reap", words))["agents"] == []


def test_an_agent_is_found_though_nobody_wrote_down_where_it_is(what: AgentStart) -> None:
    started: list[bool] = []
    first = asyncio.run(launcher().start(what, committed=lambda: started.append(True)))
    assert started == [True]
    again = asyncio.run(launcher().attach(what))
    assert again is not None
    assert (again.folder, again.collects) == (first.folder, False)


def test_an_agent_that_was_never_there_is_not_found(what: AgentStart) -> None:
    other = msgspec.structs.replace(what, incarnation=ids.new_incarnation())
    assert asyncio.run(launcher().attach(other)) is None


@pytest.mark.parametrize(
    ("deaths", "ending"),
    [((signal.SIGTERM,), "gone"), ((signal.SIGSTOP, signal.SIGKILL), "left")],
    ids=["it ends", "it dies and leaves its folder"],
)
def test_the_end_of_an_agent_is_seen_at_once(
    what: AgentStart, deaths: tuple[signal.Signals, ...], ending: str
) -> None:
    async def story() -> str:
        channel = await launcher().start(what, committed=lambda: None)
        async with asyncio.timeout(15), asyncio.TaskGroup() as group:
            ended = group.create_task(channel.ended())
            await asyncio.sleep(0)  # it begins
            wait_until(lambda: f"{channel.folder}/lock" in open_files(), what="it waits")
            for number in deaths:
                signal_in(channel.folder, number)
            return await ended

    assert asyncio.run(story()) == ending


def test_an_agent_that_says_nothing_is_given_up_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug: it was told as what Python says of it, and its socket was listened on for ever."""
    monkeypatch.setattr(sys, "executable", mute(tmp_path))
    monkeypatch.setattr(local, "START_S", 0.2)
    listening: list[Path] = []

    async def listen(folder: Path) -> Callable[[], None]:
        listening.append(folder)
        return lambda: listening.remove(folder)

    start = AgentStart(
        owner=ids.new_owner(), incarnation=ids.new_incarnation(), key="00" * 32, host="localhost",
        workdir=str(tmp_path),
    )  # fmt: skip
    one = LocalLauncher(doors=Doors(listen=listen, connect=nobody))
    with pytest.raises(LaunchError, match="localhost: the agent's program does not answer") as told:
        asyncio.run(one.start(start, committed=lambda: None))
    assert told.value.retryable
    assert not told.value.nothing_left
    assert listening == []


def test_an_agent_that_cannot_be_started_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(LaunchError, match=r"localhost: cannot start .*: No such file") as told:
        asyncio.run(launcher().ask("check", {}))
    assert told.value.retryable


def signal_in(folder: str, number: signal.Signals) -> None:
    """Send a signal to both processes of an agent."""
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):  # it has ended
            if str(path.readlink()) == folder:
                os.kill(int(path.parent.name), number)


def open_files() -> set[str]:
    """List what this process has open."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that the listing itself had
            found.add(str(path.readlink()))
    return found
