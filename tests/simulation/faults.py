"""Everything that goes wrong in a virtual world, each kind a function of a few lines.

A fault mends itself after a while. `GENTLE` are those that leave a host usable: the host that others
are found sick beside gets no harder ones.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from corral import ids
from corral.engine import upkeep
from corral.errors import StoreError
from corral.fleet.base import AgentStart
from corral.protocol import agent_key
from corral.scheduler.lease import LOST_AFTER_S
from tests.simulation.network import DOWN, UP

if TYPE_CHECKING:
    from random import Random

    from corral.ids import TaskId
    from tests.simulation.host import Agent, Host
    from tests.simulation.run import Simulation

HOUR_S = 3600.0
RARE = 0.05  # probability of an hour of it
SPANS_S = (0.5, 5.0, 15.0, 70.0, 200.0)
AWAY_S = (0.1, 2.0, 20.0, 90.0)  # until somebody starts the master anew
DAY_S = 86_400.0
GIVEN_UP_S = LOST_AFTER_S + 10.0  # of silence
STRANGER = "x"  # leads the name of an agent that no master knows; what is left of a dead one stays


def span_s(chance: Random) -> float:
    """Say how long a fault lasts."""
    return HOUR_S if chance.random() < RARE else chance.choice(SPANS_S)


def away_s(chance: Random) -> float:
    """Say how long nobody notices that the master is dead."""
    return 2 * HOUR_S if chance.random() < RARE else chance.choice(AWAY_S)


def _agent(host: Host, chance: Random) -> Agent | None:
    living = [agent for agent in host.agents.values() if not agent.dead]
    return chance.choice(living) if living else None


# ---------------------------------------------------------------- processes on a host


def link_dies(simulation: Simulation, host: Host, chance: Random) -> None:
    del simulation
    if (agent := _agent(host, chance)) is not None:
        agent.kill_link()


def supervisor_dies(simulation: Simulation, host: Host, chance: Random) -> None:
    del simulation
    if (agent := _agent(host, chance)) is not None:
        agent.kill_supervisor()


def both_die(simulation: Simulation, host: Host, chance: Random) -> None:
    del simulation
    if (agent := _agent(host, chance)) is not None:
        agent.kill_both()


def dies_around_a_start(simulation: Simulation, host: Host, chance: Random) -> None:
    """The next start, exit or report on the host is the last thing that some process sees."""
    del simulation
    host.trap = (chance.choice(("spawn", "exit", "report", "answer")), chance.choice((1, 2, 3)))


def agent_stopped(simulation: Simulation, host: Host, chance: Random) -> None:
    """Link and supervisor stand still; their tasks go on."""
    agent = _agent(host, chance)
    if agent is None or agent.timeline.frozen:
        return
    agent.timeline.freeze(clock_runs=True)
    simulation.heal_later(span_s(chance), host, agent.timeline.thaw)


def relay_dies(simulation: Simulation, host: Host, chance: Random) -> None:
    del simulation
    agent = _agent(host, chance)
    if agent is not None and agent.channel is not None:
        agent.channel.break_host()


def unknown_agent(simulation: Simulation, host: Host, chance: Random) -> None:
    """An agent that no master knows speaks up through the relay of one that is known."""
    agent = _agent(host, chance)
    if agent is None or agent.channel is None:
        return
    stranger = host.begin(_what(simulation, host, f"{STRANGER}{simulation.next_number()}"))
    stranger.channel = agent.channel


def second_agent(simulation: Simulation, host: Host, chance: Random) -> None:
    """A master dies as it starts an agent on a host that has one: the next adopts both."""
    del chance
    simulation.kill_master()
    simulation.loop.after(0.05, _start_second, simulation, host)


def _start_second(simulation: Simulation, host: Host) -> None:
    if simulation.connection.in_transaction:
        simulation.loop.after(0.001, _start_second, simulation, host)
        return
    name = ids.new_incarnation()
    try:
        simulation.world.do(
            upkeep.start_agent, name, host.name, folder="", slots=host.manner.slots, now=1.0
        )
    except StoreError:
        if not simulation.watch.disk_full:
            raise
        return
    if not host.gone:
        host.begin(_what(simulation, host, name))


def _what(simulation: Simulation, host: Host, incarnation: str) -> AgentStart:
    key = agent_key(simulation.secret, incarnation).hex()
    return AgentStart(owner="o", incarnation=incarnation, key=key, host=host.name)


# ---------------------------------------------------------------- machines


def host_frozen(simulation: Simulation, host: Host, chance: Random) -> None:
    if host.freeze(clock_runs=False):
        simulation.heal_later(span_s(chance), host, host.thaw)


def host_suspended(simulation: Simulation, host: Host, chance: Random) -> None:
    if host.freeze(clock_runs=True):
        simulation.heal_later(span_s(chance), host, host.thaw)


def host_rebooted(simulation: Simulation, host: Host, chance: Random) -> None:
    if host.crash(keeps_spool=chance.random() < 0.5, loud=chance.random() < 0.5):
        simulation.heal_later(chance.uniform(5, 120), host, host.boot)


def host_dies_of_task(simulation: Simulation, host: Host) -> None:
    if host.crash(keeps_spool=True, loud=False):
        simulation.heal_later(host.chance.uniform(5, 60), host, host.boot)


def host_gone_for_good(simulation: Simulation, host: Host, chance: Random) -> None:
    del chance
    if host is not simulation.hosts[0] and simulation.plan.silence_counts:
        host.destroy()  # with ``--heartbeat off`` it would be waited for


def disk_full(simulation: Simulation, host: Host, chance: Random) -> None:
    if len(simulation.hosts) == 1 or host is simulation.hosts[0]:
        return  # with nobody else to ask, its failures are the tasks' own
    host.disk_full = True

    def empty() -> None:
        host.disk_full = False

    simulation.heal_later(span_s(chance), host, empty)


def host_clock_jumps(simulation: Simulation, host: Host, chance: Random) -> None:
    del simulation
    host.clock.wall_offset += chance.choice((-DAY_S, DAY_S))


# ---------------------------------------------------------------- the network


def cut(simulation: Simulation, host: Host, chance: Random) -> None:
    """Connections break loudly, and logins are refused for a while."""
    host.way.cut()
    login_refused(simulation, host, chance)


def login_refused(simulation: Simulation, host: Host, chance: Random) -> None:
    if host.manner.local:
        return
    host.way.refuses = True

    def allow() -> None:
        host.way.refuses = False

    simulation.heal_later(span_s(chance), host, allow)


def _lose(simulation: Simulation, host: Host, chance: Random, *directions: str) -> None:
    if host.manner.local:
        return
    host.way.block(*directions)
    simulation.heal_later(span_s(chance), host, lambda: host.way.unblock(*directions))


def silent_loss(simulation: Simulation, host: Host, chance: Random) -> None:
    _lose(simulation, host, chance, UP, DOWN)


def all_others_lost(simulation: Simulation, host: Host, chance: Random) -> None:
    """A switch dies: this is the only host that the master still hears."""
    for other in simulation.hosts:
        if other is not host and not simulation.plan.gentle:
            silent_loss(simulation, other, chance)
            other.touch()


def last_host_sick(simulation: Simulation, host: Host, chance: Random) -> None:
    """A switch dies; when the others have been given up, the disk of the only one left is full."""
    others = [other for other in simulation.hosts if other is not host]
    reliable = simulation.hosts[0] is host or simulation.plan.gentle
    if reliable or not simulation.plan.silence_counts or any(one.manner.local for one in others):
        return
    for other in others:
        other.way.block(UP, DOWN)
        simulation.heal_later(
            GIVEN_UP_S + chance.choice((5.0, 100.0)), other, partial(other.way.unblock, UP, DOWN)
        )
        other.touch()

    def fill() -> None:
        if not any(other.way.is_open for other in others):
            host.touch()
            disk_full(simulation, host, chance)

    simulation.loop.after(GIVEN_UP_S, fill)


def killed_in_an_outage(simulation: Simulation, host: Host, chance: Random) -> None:
    """Ctrl-C twice while a host is given up; it is back before the run goes on."""
    if host.manner.local or not simulation.plan.silence_counts:
        return
    host.way.block(UP, DOWN)
    simulation.heal_later(GIVEN_UP_S + 10, host, partial(host.way.unblock, UP, DOWN))
    simulation.loop.after(GIVEN_UP_S, simulation.operator_halts, "kill", chance.uniform(20, 200))


def one_way_loss_up(simulation: Simulation, host: Host, chance: Random) -> None:
    _lose(simulation, host, chance, UP)


def one_way_loss_down(simulation: Simulation, host: Host, chance: Random) -> None:
    _lose(simulation, host, chance, DOWN)


def slow_network(simulation: Simulation, host: Host, chance: Random) -> None:
    if host.manner.local:
        return
    delay_s = chance.choice((0.05, 0.5, 3.0))
    host.way.delay_s += delay_s

    def mend() -> None:
        host.way.delay_s = max(0.0, host.way.delay_s - delay_s)

    simulation.heal_later(span_s(chance), host, mend)


def flaky_network(simulation: Simulation, host: Host, chance: Random) -> None:
    """Messages are lost with their connection, come late, out of order, or twice."""
    if host.manner.local:
        return
    host.way.flaky = chance.choice((0.03, 0.2))

    def mend() -> None:
        host.way.flaky = 0.0

    simulation.heal_later(span_s(chance), host, mend)


# ---------------------------------------------------------------- the master


def master_dies(simulation: Simulation, host: Host, chance: Random) -> None:
    del host, chance
    simulation.kill_master()


def master_stopped(simulation: Simulation, host: Host, chance: Random) -> None:
    """SIGSTOP: its clock runs on."""
    del host
    simulation.freeze_master(span_s(chance), clock_runs=True)


def master_suspended(simulation: Simulation, host: Host, chance: Random) -> None:
    """The lid is closed: its monotonic clock stands still."""
    del host
    simulation.freeze_master(span_s(chance), clock_runs=False)


def master_clock_jumps(simulation: Simulation, host: Host, chance: Random) -> None:
    del host
    simulation.wall_offset += chance.choice((-DAY_S, DAY_S))


def judge_hangs(simulation: Simulation, host: Host, chance: Random) -> None:
    del host
    if simulation.life is not None and simulation.plan.declares:
        simulation.life.judges_hang_s = span_s(chance)


def judge_crashes(simulation: Simulation, host: Host, chance: Random) -> None:
    del host, chance
    if simulation.life is not None and simulation.plan.declares:
        simulation.life.judges_crash = True


def operator_kills(simulation: Simulation, host: Host, chance: Random) -> None:
    """Ctrl-C twice, then `corral resume`."""
    del host
    simulation.operator_halts("kill", chance.uniform(1, 100))


def operator_stops(simulation: Simulation, host: Host, chance: Random) -> None:
    """Ctrl-C once, then `corral resume`."""
    del host
    simulation.operator_halts("stop", chance.uniform(1, 100))


def operator_pauses(simulation: Simulation, host: Host, chance: Random) -> None:
    """The master goes on after a while, as with a run that paused by itself."""
    del host, chance
    if simulation.serves and simulation.life is not None:
        simulation.life.ask("pause")


def operator_cancels(simulation: Simulation, host: Host, chance: Random) -> None:
    """`corral cancel` for some tasks, and `corral retry`."""
    del host
    simulation.operator_cancels(_some_tasks(simulation, chance), chance.uniform(1, 100))


def operator_reruns(simulation: Simulation, host: Host, chance: Random) -> None:
    """`corral rerun` for some tasks, whatever they are."""
    del host
    simulation.operator_reruns(_some_tasks(simulation, chance))


def operator_reruns_unheard(simulation: Simulation, host: Host, chance: Random) -> None:
    """`corral rerun` for what a host has that cannot be told; it ends some of it meanwhile."""
    if host.manner.local:
        return
    host.way.block(UP, DOWN)
    simulation.heal_later(20.0, host, partial(host.way.unblock, UP, DOWN))
    simulation.loop.after(
        chance.uniform(1, 15), lambda: simulation.operator_reruns(simulation.tasks_on(host))
    )


def operator_changes_program(simulation: Simulation, host: Host, chance: Random) -> None:
    """The same command again, with other bytes of what is shipped: a new generation."""
    del host
    simulation.submit_again(chance.randbytes(chance.choice((1, 70, 300))))


def operator_terminates(simulation: Simulation, host: Host, chance: Random) -> None:
    """SIGTERM to one of the processes of an agent."""
    del simulation
    if (agent := _agent(host, chance)) is not None:
        agent.terminate(chance.choice(("link", "supervisor")))


def _some_tasks(simulation: Simulation, chance: Random) -> list[TaskId]:
    tasks = simulation.tasks()
    return chance.sample(tasks, min(len(tasks), chance.choice((1, 3, 10))))


def master_disk_full(simulation: Simulation, host: Host, chance: Random) -> None:
    """Whatever needs a new page cannot be committed."""
    del host
    simulation.fill_disk(chance.choice(SPANS_S))


GENTLE = (
    link_dies, supervisor_dies, dies_around_a_start, relay_dies, host_clock_jumps, unknown_agent,
)  # fmt: skip
HARD = (
    both_die, agent_stopped, second_agent, host_frozen, host_suspended, host_rebooted,
    host_gone_for_good, disk_full, cut, login_refused, silent_loss, all_others_lost,
    last_host_sick, killed_in_an_outage, one_way_loss_up, one_way_loss_down, slow_network, flaky_network,
)  # fmt: skip
MASTER = (
    master_dies, master_stopped, master_suspended, master_clock_jumps, judge_hangs, judge_crashes,
    operator_kills,
)  # fmt: skip


OPERATED = (
    operator_stops, operator_pauses, operator_cancels, operator_reruns,
    operator_reruns_unheard, operator_changes_program,
    operator_terminates, master_disk_full,
)  # fmt: skip


def strike(simulation: Simulation, chance: Random) -> None:
    """Do some harm."""
    host = chance.choice(simulation.hosts)
    spared = simulation.plan.gentle and host is simulation.hosts[0]
    kinds = GENTLE + MASTER + (() if spared else HARD) + OPERATED * simulation.plan.operated
    fault = chance.choice(kinds)
    if host.gone and (fault not in MASTER + OPERATED or fault is operator_terminates):
        return
    simulation.watch.note(fault.__name__.replace("_", " "))
    host.touch()
    fault(simulation, host, chance)
