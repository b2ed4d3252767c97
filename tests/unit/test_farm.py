"""Are hosts kept for as long as the master lives, and no longer?"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, cast

import pytest

from corral.cli import follow
from corral.clock import SystemClock
from corral.engine import queries, upkeep
from corral.errors import StoreError
from corral.fleet.base import AgentStart, Doors, LaunchError
from corral.fleet.gate import Gates
from corral.fleet.guard import Guard
from corral.fleet.local import LocalLauncher
from corral.fleet.ssh import SshLauncher
from corral.ids import Incarnation
from corral.master import hostkeeper
from corral.master.exchanges import Exchanges
from corral.master.farm import PROBE_AFTER_S, Farm
from corral.master.hostkeeper import HostKeeper
from corral.master.master import Master
from corral.model.host import HostSpec
from corral.protocol import Exchange, Reply
from corral.scheduler.lease import LOST_AFTER_S
from corral.store.folder import StateFolder
from tests.support.wait import until
from tests.support.world import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from corral.fleet.base import Channel, Launcher
    from corral.model.host import Host
    from corral.protocol import Refusal


def nobody(*_: object) -> Any:
    raise AssertionError("nobody is logged in to")


def farm_of(world: World, folder: Path) -> Farm:
    clock = SystemClock()
    return Farm(
        StateFolder.make(folder), world.store, exchanges=Exchanges(world.store, clock),
        doors=Doors(listen=nobody, connect=nobody), clock=clock,
    )  # fmt: skip


def test_a_host_that_is_wanted_when_the_master_ends_is_not_kept(tmp_path: Path) -> None:
    """It raised, and left a coroutine that was never awaited."""

    async def story() -> None:
        farm = farm_of(World(), tmp_path)
        keeping = asyncio.create_task(farm.keep(), name="keep hosts")
        await asyncio.sleep(0)  # it begins
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
        await farm.want([HostSpec(name="h1")])

    asyncio.run(story())


def test_a_master_that_cannot_collect_sends_its_agents_home_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug: it ended at once, and left them and what they ran."""
    folder = StateFolder.find_or_make(tmp_path)
    store = folder.open_store()
    stopped: list[str] = []

    async def collect(_: Master) -> None:
        raise StoreError("the disk is full")

    async def stop(_: Farm) -> None:
        stopped.append("all")

    async def job(_: Master) -> None:
        monkeypatch.setattr(Master, "collect_settled", collect)

    async def story() -> None:
        doors = Doors(listen=nobody, connect=nobody)
        await Master(folder, store, clock=SystemClock(), doors=doors).run(job)

    monkeypatch.setattr(Farm, "stop", stop)
    with contextlib.closing(store), pytest.RaisesGroup(StoreError, flatten_subgroups=True):
        asyncio.run(story())
    assert stopped == ["all"]


def test_the_end_says_for_whom_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may wait a minute for agents that do not answer; it did so without a word."""
    monkeypatch.setattr(follow, "WAIT_S", 0.0)
    world = World()
    for name in ("h1", "h2", "h3"):
        world.agent(name, host=name)
    world.do(upkeep.end_agent, Incarnation("h3"), why="", host_state="gone", now=1.0)

    async def story() -> None:
        farm = farm_of(world, tmp_path)
        farm.adopt()
        await follow._tell_of_waiting(farm)

    asyncio.run(story())
    assert (
        capsys.readouterr().err
        == "h[1-2]: waiting until nothing of ours runs there (Ctrl-C leaves it)\n"
    )


def test_a_host_that_fell_silent_in_quarantine_is_lost_when_it_is_probed(tmp_path: Path) -> None:
    """It was on probation from then on, and tasks waited for it: its silence had been told before."""

    async def story() -> list[str]:
        world = World()
        world.agent("a1", host="sick")
        farm = farm_of(world, tmp_path)
        farm._exchanges.expect(Incarnation("a1"), lends=False)
        world.do(lambda tx: tx.change("host_set", 1, "quarantined", "it is sick"))
        states: list[str] = []
        for _ in range(int(LOST_AFTER_S)):
            await farm._judge_silence(1.0)
            states.append(state_of(world))
        farm._give_second_chances(PROBE_AFTER_S)
        states.append(state_of(world))
        await farm._judge_silence(1.0)
        return [*states, state_of(world)]

    assert asyncio.run(story())[-3:] == ["quarantined", "probation", "lost"]


def test_an_agent_that_speaks_before_its_login_has_said_so_is_not_silent(tmp_path: Path) -> None:
    """Bug: of 64 hosts that came at once half were suspect after 6 s, and their agents ended."""

    async def story() -> tuple[str, Reply | Refusal]:
        world = World()
        agent = world.agent("a1", host="idle")
        farm = farm_of(world, tmp_path)
        exchanges = farm._exchanges
        request = Exchange(incarnation=agent.name, number=agent.number + 1, want=1)
        held = asyncio.create_task(exchanges.answer(request), name="held")
        async with asyncio.timeout(10):
            while not exchanges._told:  # noqa: ASYNC110  (nothing tells that it has nothing to say)
                await asyncio.sleep(0)
        exchanges.expect(Incarnation(agent.name), lends=False)
        for _ in range(int(LOST_AFTER_S)):
            await farm._judge_silence(1.0)
        assert not held.done()
        exchanges.close()
        answered = await held
        standings = [exchanges.tick(1.0) for _ in range(60)]
        assert standings[0] == [] != standings[-1]  # let go, it says nothing for three idle beats
        return state_of(world), answered

    state, answered = asyncio.run(story())
    assert isinstance(answered, Reply)
    assert state == "up"


class Away:
    """A launcher to a host that refuses its first login, and does not answer the next."""

    def __init__(self, why: str) -> None:
        self.asked = 0
        self._why = why

    async def start(self, what: object, *, committed: object) -> Channel:
        del what, committed
        self.asked += 1
        if self.asked > 1:
            await asyncio.Event().wait()
        raise LaunchError(self._why, hint="is it on?", retryable=True)


def keeper_of(world: World, launcher: Away) -> HostKeeper:
    clock = SystemClock()
    return HostKeeper(
        HostSpec(name="h1"), store=world.store, clock=clock, owner="o", secret=b"s",
        exchanges=Exchanges(world.store, clock), launcher=cast("Launcher", launcher),
    )  # fmt: skip


def ssh_launcher(error: LaunchError) -> Launcher:
    """Make one whose logins end in an error."""

    async def join(*_: object) -> None:
        raise error

    one = SshLauncher(
        HostSpec(name="h1"), doors=Doors(nobody, nobody), gates=Gates(), guard=Guard()
    )
    one._join = join  # type: ignore[assignment, method-assign]  # no host is needed
    return one


def local_launcher(error: LaunchError) -> Launcher:
    async def attach(_: object) -> None:
        raise error

    one = LocalLauncher(doors=Doors(nobody, nobody))
    one._attach = attach  # type: ignore[assignment, method-assign]
    return one


def test_a_host_is_said_to_be_away_while_and_after_it_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bug: what the first try had found was forgotten, whatever became of the second."""
    monkeypatch.setattr(hostkeeper, "BACK_OFF_S", (0.001,))

    async def story() -> list[Host]:
        world, launcher = World(), Away("h1: no route")
        keeper = keeper_of(world, launcher)
        keeper.want()
        keeping = asyncio.create_task(keeper.keep(), name="keep h1")
        await until(lambda: launcher.asked > 1)
        meanwhile = host_of(world)
        await keeper.stop()
        await asyncio.wait({keeping})
        return [meanwhile, host_of(world)]

    found = asyncio.run(story())
    assert [host.state for host in found] == ["joining", "unreachable"]
    assert {host.reason for host in found} == {"h1: no route\nis it on?"}


def test_a_failure_that_cannot_even_be_told_ends_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bug: it ended the keepers of all hosts, and so the run."""

    def fail_host(*_: object, **__: object) -> None:
        raise ValueError("this cannot be written down")

    monkeypatch.setattr(hostkeeper, "BACK_OFF_S", (0.001,))
    monkeypatch.setattr(upkeep, "fail_host", fail_host)

    async def story() -> None:
        launcher = Away("h1: no route")
        keeper = keeper_of(World(), launcher)
        keeper.want()
        keeping = asyncio.create_task(keeper.keep(), name="keep h1")
        await until(lambda: launcher.asked > 1 or keeping.done())
        assert not keeping.done()
        await keeper.stop()
        await asyncio.wait({keeping})

    asyncio.run(story())


@pytest.mark.parametrize(
    ("died", "state"), [(True, "quarantined"), (False, "joining")], ids=["died", "wanted anew"]
)
def test_a_quarantine_ends_with_a_wish_not_with_an_agent(died: bool, state: str) -> None:
    world = World()
    world.agent("a1", host="sick")
    world.do(lambda tx: tx.change("host_set", 1, "quarantined", "it is sick"))
    new = Incarnation("a2")
    world.do(upkeep.start_agent, new, "sick", folder="", slots=1, now=2.0, replaces=died)
    assert state_of(world) == state


def test_an_agent_that_says_goodbye_may_take_its_time_to_go(tmp_path: Path) -> None:
    """Bug: one that needed more than 6 s was held for lost, and its end was waited for no longer."""

    async def story() -> list[list[Any]]:
        world = World()
        agent = world.agent("a1", host="slow")
        exchanges = farm_of(world, tmp_path)._exchanges
        exchanges.expect(Incarnation(agent.name), lends=False)
        bye = Exchange(incarnation=agent.name, number=agent.number + 1, bye=True)
        await exchanges.answer(bye)
        return [exchanges.tick(1.0) for _ in range(30)]

    *before, last = asyncio.run(story())
    assert not any(before)
    assert last


@pytest.mark.parametrize("make", [ssh_launcher, local_launcher], ids=["ssh", "local"])
def test_whoever_cannot_have_a_second_life_is_not_forgotten(
    make: Callable[[LaunchError], Launcher],
) -> None:
    """Bug: on a full disk it was written off, with the results that it had finished."""
    launcher = make(LaunchError("h1: its disk is full", nothing_left=True))
    what = AgentStart(owner="o", incarnation="a1", key="", host="h1")

    async def story() -> None:
        await launcher.attach(what)

    with pytest.raises(LaunchError) as caught:
        asyncio.run(story())
    assert not caught.value.nothing_left


def host_of(world: World) -> Host:
    with world.store.reader() as reader:
        return queries.hosts(reader)[0]


def state_of(world: World) -> str:
    with world.store.reader() as reader:
        return queries.known_hosts(reader)[0].state
