"""What waits on a host behind long tasks goes to one that could start it, and stays there."""

from __future__ import annotations

import sys
import threading

import pytest

from corral.engine import exchange, upkeep
from corral.engine.parts import Parts
from corral.ids import Incarnation
from corral.model.needs import Needs
from corral.protocol import Exchange, Reply, Report
from tests.support.invariants import Checks
from tests.support.world import Agent, World, ended


@pytest.fixture
def world() -> World:
    return World()


def look_again(agent: Agent) -> Reply:
    """Try again for the request of an agent that is held."""
    world = agent.world
    reply: Reply | None = world.do(
        exchange.grant, Incarnation(agent.name), agent.number, world.parts, world.now
    )
    assert reply is not None
    return reply


def give_back(agent: Agent, *tickets: str) -> Reply:
    """Return what was not started."""
    agent.held = [ticket for ticket in agent.held if ticket not in tickets]
    return agent.say(
        *(Report(ticket=ticket, digest="r" + ticket, ended="returned") for ticket in tickets)
    )


def take(agent: Agent, reply: Reply) -> list[str]:
    leased = [lease.ticket for lease in reply.leases]
    agent.held += leased
    return leased


def busy_and_idle(world: World) -> tuple[Agent, Agent, str]:
    """Have a large task wait on host one, which a long one keeps busy, and host two idle.

    Gives both and the ticket that waits.
    """
    one, two = world.agent("a1", host="one"), world.agent("a2", host="two")
    world.submit("long {1..2}")
    [long] = one.running = one.take()
    [short] = two.running = two.take()
    world.submit("large {1..2}", needs=Needs(cpus=2))
    [waits], [next_] = one.take(), two.take()
    two.say(ended(short))
    two.running = [next_]
    one.running_s = 30.0
    one.say()
    assert one.running == [long]
    two.say(ended(next_))
    return one, two, waits


def test_a_large_task_that_waits_on_a_busy_host_goes_to_an_idle_one(world: World) -> None:
    """Bug: it stayed there for as long as what kept that host busy."""
    one, two, waits = busy_and_idle(world)
    assert look_again(one).back == (waits,)
    assert give_back(one, waits).leases == (), "it would wait there again"
    [taken] = take(two, look_again(two))
    two.say(ended(taken))
    assert world.run(2).state == "done"
    assert [reason for _, reason, _ in world.attempts(2)] == ["first"] * 3
    Checks(world.store._connection).everything()


def test_what_was_started_meanwhile_goes_on(world: World) -> None:
    one, two, waits = busy_and_idle(world)
    one.say(ended(one.running[0]))
    one.running = [waits]
    assert one.say().back == ()
    assert look_again(two).leases == ()
    one.say(ended(waits))
    assert world.run(2).state == "done"


def test_what_may_be_started_any_moment_stays(world: World) -> None:
    one, two, _ = busy_and_idle(world)
    world.parts.recalled.clear()
    one.running_s = 0.1  # something was started there just now
    one.say()
    two.say()
    assert look_again(one).back == ()


def test_where_there_is_room_it_is_waited_for_what_is_being_fetched(world: World) -> None:
    """A ticket whose files are on their way is told as queued, too."""
    one, two = world.agent("a1", host="one"), world.agent("a2", host="two")
    world.submit("long {1..3}")
    [_], [ended_] = one.take(), two.take()
    one.running = list(one.held)
    one.running_s = 30.0
    world.do(lambda tx: tx.change("host_run_success", 1, 1, 1))
    one.take()
    assert len(one.held) == 2
    one.say()
    two.say(ended(ended_))
    assert look_again(one).back == ()


def test_the_host_that_asked_and_fell_silent_keeps_nobody_waiting(world: World) -> None:
    one, _, waits = busy_and_idle(world)
    world.do(upkeep.suspect_agent, Incarnation("a2"), why="nothing is heard of it")
    assert len(give_back(one, waits).leases) == 1


def test_the_host_that_asked_and_is_gone_keeps_nobody_waiting(world: World) -> None:
    one, two, waits = busy_and_idle(world)
    two.say(bye=True)
    assert len(give_back(one, waits).leases) == 1


def test_nothing_is_taken_from_a_silent_host_nor_for_one_that_failed_it(world: World) -> None:
    one, two, waits = busy_and_idle(world)
    world.parts.recalled.clear()
    world.do(upkeep.suspect_agent, Incarnation("a1"), why="nothing is heard of it")
    two.say()
    assert world.parts.recalled == {}
    assert waits in one.held


def test_agents_come_and_go_while_it_is_looked_for_what_is_late_or_stuck() -> None:
    """Bug: the master's thread looked through what the store's thread was writing, and died of it."""
    parts = Parts()
    names = [Incarnation(f"a{n}") for n in range(50)]
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            for name in names:
                parts.hear(Exchange(incarnation=name, number=1, queued=("1-1-1-1",)))
            for name in names:
                parts.forget(name)

    every_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=come_and_go, name="store")
    thread.start()
    try:
        for _ in range(5000):
            assert set(parts.stuck()) == set()
            assert parts.late() == []
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(every_s)


def stuck_lease(world: World) -> tuple[Agent, Agent, list[str]]:
    """Have a lease of many short tasks wait on host one behind two long ones, and host two idle.

    Gives both and the tickets that wait.
    """
    one, two = world.agent("a1", host="one"), world.agent("a2", host="two")
    world.submit("mixed {1..80}")
    while len(one.held) < 10:
        for agent in (one, two):
            taken = take(agent, agent.say(*(ended(t, seconds=0.01) for t in agent.held)))
            assert taken
    one.running = one.held[:2]
    one.say()
    while two.held:
        take(two, two.say(*(ended(ticket, seconds=0.01) for ticket in two.held)))
    one.running_s = 30.0
    one.say()
    return one, two, one.held[2:]


def test_small_tasks_behind_long_ones_go_to_an_idle_host_at_once(world: World) -> None:
    """Bug: as many came back as it had free slots, at each beat of the host that is busy."""
    one, two, waiting = stuck_lease(world)
    two.say()
    back = look_again(one).back
    assert sorted(back) == sorted(waiting)
    assert give_back(one, *back).leases == ()
    done: set[str] = set()
    while taken := take(two, look_again(two)):
        assert one.say().leases == (), "they would wait there again"
        done |= {name.rpartition("-")[0] for name in taken}
        two.say(*(ended(ticket, seconds=0.01) for ticket in taken))
    assert done >= {name.rpartition("-")[0] for name in waiting}  # and the long ones' twins
    one.say(*(ended(ticket) for ticket in one.running))
    assert world.run().state == "done"
    Checks(world.store._connection).everything()


def test_no_more_comes_back_than_the_host_that_asks_would_be_leased(world: World) -> None:
    one, two, waiting = stuck_lease(world)
    two.say(bye=True)
    world.parts.recalled.clear()
    three = world.agent("a3", host="three")
    three.say()  # nothing is known of it yet
    assert look_again(one).back == tuple(waiting[: three.slots])


def test_what_a_host_gave_back_returns_to_it_only_to_be_started(world: World) -> None:
    one, two, _ = stuck_lease(world)
    two.say()
    give_back(one, *look_again(one).back)
    two.say()
    take(two, look_again(two))
    two.running = two.held[:2]
    two.running_s = 30.0
    assert len(two.held) > 2 * one.slots
    two.say()
    one.say(*(ended(ticket) for ticket in one.running))
    one.held = take(one, one.say())
    while one.held:  # what nobody had
        one.held = take(one, one.say(*(ended(ticket, seconds=0.01) for ticket in one.held)))
    back = look_again(two).back
    assert back == tuple(two.held[2 : 2 + one.slots])
    assert give_back(two, *back).leases == ()
    assert len(take(one, look_again(one))) == one.slots


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "among others"])
def test_where_nothing_was_started_for_a_while_nothing_is_handed_out_ahead(
    world: World, alone: bool
) -> None:
    one = world.agent("a1", host="one")
    world.submit("mixed {1..200}")
    while len(one.held) < 10:
        take(one, one.say(*(ended(ticket, seconds=0.01) for ticket in one.held)))
    if not alone:
        world.agent("a2", host="two").take()
    short = one.held[2:]
    one.running = one.held[:2]
    one.running_s = 30.0
    leases = one.say(*(ended(ticket, seconds=0.01) for ticket in short)).leases
    assert bool(leases) == alone
