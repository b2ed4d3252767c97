"""What becomes of a host that falls silent, and of one that comes back: engine and policy."""

from __future__ import annotations

from typing import Any

import pytest

from corral.engine import exchange, queries, upkeep
from corral.ids import Incarnation
from corral.protocol import Report
from corral.scheduler import health
from corral.scheduler.lease import Silence, Terms
from tests.support.invariants import Checks
from tests.support.world import Agent, World, ended


def hosts(world: World) -> dict[str, str]:
    with world.store.reader() as reader:
        return {name: state for name, state, *_ in reader.rows("hosts_known")}


def two_hosts(world: World) -> tuple[Agent, Agent]:
    return world.agent("a1", host="one", slots=1), world.agent("a2", host="two", slots=1)


def test_a_silent_host_gets_no_new_task() -> None:
    world = World()
    one, _ = two_hosts(world)
    world.submit("true {1..4}")
    one.take()
    world.do(upkeep.suspect_agent, Incarnation("a1"), why="nothing is heard of it")
    assert hosts(world)["one"] == "suspect"
    one.running = one.held
    assert len(one.say().leases) == 0  # its word makes it usable again, its slot is taken
    assert hosts(world)["one"] == "up"


def test_an_idle_host_takes_over_what_only_a_silent_one_has() -> None:
    world = World()
    one, two = two_hosts(world)
    world.submit("true {1..2}")
    [first], [second] = one.take(), two.take()
    world.do(upkeep.suspect_agent, Incarnation("a1"), why="nothing is heard of it")
    [twin] = [lease.ticket for lease in two.say(ended(second)).leases]
    assert (first, twin) == ("1-1-1-1", "1-1-1-2")
    assert world.attempts()[1] == (1, "straggler", "leased")
    assert "twin" in world.events()
    two.say(ended(twin))
    assert world.run().state == "done"
    assert world.recount() == {"done": 2}
    reply = one.say()  # it comes back: what it has is not wanted any more
    assert reply.drop == (first,)


def test_a_run_that_is_done_does_not_wait_for_what_a_silent_host_has() -> None:
    """Chaos found a run that ended only when its dead host had been lost, a minute later."""
    world = World()
    one, two = two_hosts(world)
    world.submit("true {1..2}")
    one.take()
    [second] = two.take()
    assert live(world) == 2
    world.do(upkeep.suspect_agent, Incarnation("a1"), why="nothing is heard of it")
    [twin] = [lease.ticket for lease in two.say(ended(second)).leases]
    assert live(world) == 2, "what it has may still be the result"
    two.say(ended(twin))
    assert live(world) == 0


def live(world: World) -> int:
    """Count what a follower of the run waits for."""
    with world.store.reader() as reader:
        count: int = reader.value("run_live_attempts", 1)
        return count


def test_what_others_have_done_ends_with_the_master_that_cannot_reach_its_host() -> None:
    world = World()
    one, two = two_hosts(world)
    world.submit("true {1..3}")
    [first] = one.take()
    [second] = two.take()
    world.do(upkeep.suspect_agent, Incarnation("a1"), why="nothing is heard of it")
    [third] = [lease.ticket for lease in two.say(ended(second)).leases]
    [twin] = [lease.ticket for lease in two.say(ended(third)).leases]
    two.say(ended(twin))
    assert left(world)
    world.do(upkeep.leave_agent, Incarnation("a1"), now=world.now)
    assert world.attempts()[:2] == [(1, "first", "lost"), (1, "straggler", "accepted")]
    assert one.say(ended(first)).answered == (first,)  # back again, to the next master
    assert world.attempts()[0] == (1, "first", "superseded")


def test_what_is_still_wanted_outlasts_the_master_that_cannot_reach_its_host() -> None:
    world = World()
    one = world.agent("a1", host="one", slots=1)
    world.submit("true 1")
    [first] = one.take()
    world.do(upkeep.suspect_agent, Incarnation("a1"), why="nothing is heard of it")
    world.do(upkeep.leave_agent, Incarnation("a1"), now=world.now)
    assert world.attempts() == [(1, "first", "leased")]
    assert not left(world), "a master in the background would not reach it either"
    one.say(ended(first))
    assert world.attempts() == [(1, "first", "accepted")]
    assert left(world)


def left(world: World) -> bool:
    """Say whether a master in the background is started to send agents home."""
    with world.store.reader() as reader:
        return bool(reader.value("agents_left"))


def test_no_third_one_takes_over_what_a_twin_has() -> None:
    world = World()
    one, two = two_hosts(world)
    three = world.agent("a3", host="three", slots=1)
    world.submit("true {1..3}")
    one.take()
    [second], [third] = two.take(), three.take()
    world.do(upkeep.suspect_agent, Incarnation("a1"), why="nothing is heard of it")
    assert len(two.say(ended(second)).leases) == 1
    assert three.say(ended(third)).leases == ()


def test_the_first_valid_result_of_twins_wins() -> None:
    world = World()
    one, two = two_hosts(world)
    world.submit("true {1..2}")
    [first], [second] = one.take(), two.take()
    world.do(upkeep.suspect_agent, Incarnation("a1"), why="nothing is heard of it")
    [twin] = [lease.ticket for lease in two.say(ended(second)).leases]
    one.say(ended(first))
    two.held = two.running = [twin]
    assert two.say().drop == (twin,)
    two.say(ended(twin))  # it had just ended
    assert sorted(outcome or "" for _, _, outcome in world.attempts()) == [
        "accepted",
        "accepted",
        "superseded",
    ]


def test_a_lost_hosts_tasks_wait_for_another_and_its_late_result_counts_once() -> None:
    world = World()
    one, two = two_hosts(world)
    world.submit("true {1..2}")
    [first], [second] = one.take(), two.take()
    world.do(upkeep.lose_agent, Incarnation("a1"), why="too long", now=world.now)
    assert hosts(world)["one"] == "lost"
    assert world.attempts()[0] == (1, "first", "lost")
    [again] = [lease.ticket for lease in two.say(ended(second)).leases]
    assert world.attempts()[1] == (1, "lost", "leased")
    reply = one.say(ended(first))  # back again, and done
    assert reply.answered == (first,)
    assert hosts(world)["one"] == "up"
    two.say(ended(again))
    outcomes = [outcome for _, _, outcome in world.attempts()]
    assert outcomes == ["accepted", "superseded", "accepted"]
    assert {"lost", "late"} <= set(world.events())


def test_a_late_result_that_is_to_be_checked_keeps_its_task_from_going_out_again() -> None:
    world = World()
    one, two = two_hosts(world)
    world.submit("true 1", checks=("nonempty",))
    [ticket] = one.take()
    world.do(upkeep.lose_agent, Incarnation("a1"), why="too long", now=world.now)
    world.parts.low = True  # nothing is handed out before it is back
    one.say(ended(ticket))
    world.parts.low = False
    assert two.say().leases == ()
    assert world.recount() == {"active": 1}


def test_a_late_failure_is_charged_like_any() -> None:
    """Bug: its task waited again by then, and was not charged."""
    world = World()
    one, two = two_hosts(world)
    world.submit("false 1", retries=1)
    [ticket] = one.take()
    world.do(upkeep.lose_agent, Incarnation("a1"), why="too long", now=world.now)
    one.say(ended(ticket, exit_code=1))
    two.say(ended(two.take()[0], exit_code=1))
    assert world.recount() == {"failed": 1}


def test_a_host_that_comes_back_goes_on_with_what_is_still_wanted() -> None:
    world = World()
    one, _ = two_hosts(world)
    world.submit("true 1")
    [first] = one.take()
    one.running = [first]
    world.do(upkeep.lose_agent, Incarnation("a1"), why="too long", now=world.now)
    assert one.say().kill == ()  # nobody else has begun it, or has it done
    one.say(ended(first))
    assert world.run().state == "done"
    assert world.attempts()[0] == (1, "first", "accepted")


def test_a_host_that_comes_back_is_not_given_again_what_it_still_runs() -> None:
    """Bug: it had free slots, the task waited, and so two copies of it ran on one host."""
    world = World()
    one = world.agent("a1", host="one", slots=2)
    world.submit("true 1")
    [first] = one.running = one.take()
    world.do(upkeep.lose_agent, Incarnation("a1"), why="too long", now=world.now)
    assert one.say().leases == ()
    held = world.do(exchange.grant, Incarnation("a1"), one.number, world.parts, world.now)
    assert held.leases == ()
    one.say(ended(first))
    assert world.attempts() == [(1, "first", "accepted")]


def test_a_host_that_comes_back_is_not_given_again_what_it_has_finished() -> None:
    """Bug: the report waits for its files to go up first, and the task was started once more."""
    world = World()
    one = world.agent("a1", host="one", slots=2)
    world.submit("true 1")
    [first] = one.take()
    world.do(upkeep.lose_agent, Incarnation("a1"), why="too long", now=world.now)
    one.held = []
    assert one.say(ended=(first,)).leases == ()
    one.say(ended(first))
    assert world.attempts() == [(1, "first", "accepted")]


def test_two_results_of_a_task_in_one_exchange_are_one_result() -> None:
    """Bug (seed 2009): both were accepted, and the exchange ended in an error for good."""
    world = World()
    one = world.agent("a1", host="one", slots=2)
    world.submit("true {1..3}")
    tickets = one.take()
    world.do(upkeep.lose_agent, Incarnation("a1"), why="too long", now=world.now)
    one.held = []
    again = one.take()  # as if nothing of it had ever arrived
    assert {ticket.rpartition("-")[0] for ticket in again} == {
        ticket.rpartition("-")[0] for ticket in tickets
    }
    one.say(*(ended(ticket) for ticket in tickets + again))
    outcomes = sorted(outcome or "" for _, _, outcome in world.attempts()[:4])
    assert outcomes == ["accepted", "accepted", "superseded", "superseded"]
    Checks(world.store._connection).everything()


def test_a_host_gives_no_twin_to_what_it_still_runs() -> None:
    """Bug: as above, of a task that a silent host has by now."""
    world = World()
    one, two = two_hosts(world)
    world.submit("true 1")
    [first] = one.running = one.take()
    world.do(upkeep.lose_agent, Incarnation("a1"), why="too long", now=world.now)
    two.take()
    world.do(upkeep.suspect_agent, Incarnation("a2"), why="nothing is heard of it")
    one.slots = 2
    world.do(lambda tx: tx.change("agent_slots", "a1", 2))
    assert one.say().leases == ()
    one.say(ended(first))
    assert world.recount() == {"done": 1}


def test_what_a_host_that_is_gone_again_went_on_with_goes_to_its_next_agent() -> None:
    world = World()
    one = world.agent("a1", host="one", slots=2)
    world.submit("true 1")
    one.running = one.take()
    world.do(upkeep.lose_agent, Incarnation("a1"), why="too long", now=world.now)
    one.say()
    world.do(upkeep.end_agent, Incarnation("a1"), why="it died", host_state="gone", now=world.now)
    assert len(world.agent("a2", host="one").take()) == 1


def test_what_a_lost_host_had_not_started_is_given_back() -> None:
    world = World()
    one, two = two_hosts(world)
    world.submit("true {1..2}")
    [first] = one.take()
    world.do(upkeep.lose_agent, Incarnation("a1"), why="too long", now=world.now)
    assert one.say().back == (first,)
    two.take()
    assert world.recount() == {"active": 1, "waiting": 1}


def test_what_was_lost_and_comes_back_unstarted_was_not_the_first_start() -> None:
    world = World()
    one, _ = two_hosts(world)
    world.submit("true 1")
    [first] = one.take()
    world.do(upkeep.lose_agent, Incarnation("a1"), why="too long", now=world.now)
    assert one.say().back == (first,)
    reply = one.say(Report(ticket=first, digest="r", ended="returned"))
    assert [lease.ticket for lease in reply.leases] == ["1-1-1-2"]
    assert world.attempts() == [(1, "first", "returned"), (1, "first", "leased")]
    Checks(world.store._connection).everything()


def test_what_was_lost_and_started_was_the_first_start() -> None:
    world = World()
    one, two = two_hosts(world)
    world.submit("true 1")
    [first] = one.running = one.take()
    one.say()
    world.do(upkeep.lose_agent, Incarnation("a1"), why="too long", now=world.now)
    one.say(Report(ticket=first, digest="r", ended="returned", started=world.now))
    two.take()
    assert {reason for _, reason, _ in world.attempts()[1:]} == {"lost"}
    Checks(world.store._connection).everything()


def test_lost_twice_is_lost_once() -> None:
    world = World()
    one, _ = two_hosts(world)
    world.submit("true 1")
    one.take()
    for _ in range(2):
        world.do(upkeep.lose_agent, Incarnation("a1"), why="too long", now=world.now)
    assert world.events().count("lost") == 1
    assert world.recount() == {"waiting": 1}


def test_a_quarantined_host_proves_itself_with_one_task() -> None:
    world = World()
    bad = world.agent("a1", host="bad", slots=4)
    good = world.agent("a2", host="good", slots=1)
    world.submit("true {1..40}")
    good.say(ended(good.take()[0]))
    leases = bad.say().leases
    for _ in range(3):
        [lease] = leases  # one at a time, for it has not succeeded yet
        leases = bad.say(ended(lease.ticket, exit_code=1)).leases
    assert hosts(world)["bad"] == "quarantined"
    with world.store.reader() as reader:
        [said] = [host.reason for host in queries.known_hosts(reader) if host.name == "bad"]
    assert said == "3 failures blamed on it, 0 successes; the last: exit 1"
    assert leases == bad.say().leases == ()
    with world.store.reader() as reader:
        [(host, _)] = reader.rows("hosts_quarantined")
    world.do(upkeep.probe_host, host)
    [probe] = bad.take()
    bad.say(ended(probe))
    assert hosts(world)["bad"] == "up"


def test_a_host_gets_what_it_failed_again_only_when_all_that_can_be_asked_have() -> None:
    """Bug: failures on hosts in quarantine counted for those that had not tried."""
    world = World()
    sick = [world.agent(f"s{n}", host=f"sick{n}") for n in range(2)]
    last, good = world.agent("a1", host="last"), world.agent("a2", host="good")
    world.submit("true 1", retries=9)
    for agent in (*sick, last):
        [ticket] = agent.take()
        agent.say(ended(ticket, exit_code=1))
    world.do(_quarantine, "sick0")
    world.do(_quarantine, "sick1")
    assert last.say().leases == ()
    assert len(good.say().leases) == 1


def test_a_task_waits_for_the_probe_of_another_host_rather_than_fail_for_good() -> None:
    """Bug (seed 4703): the last usable host was a sick one, and failed whatever was left."""
    world = World()
    sick, well = world.agent("a1", host="sick", slots=1), world.agent("a2", host="well", slots=1)
    world.submit("true {1..2}")
    [first], [ticket] = well.take(), sick.take()
    well.say(ended(first))
    world.do(_quarantine, "well")
    assert sick.say(ended(ticket, ended="failed", exit=None, kind="spawn")).leases == ()
    assert world.recount() == {"done": 1, "waiting": 1}
    world.do(lambda tx: upkeep.probe_host(tx, upkeep.name_host(tx, "well")))
    well.say(ended(well.take()[0]))
    assert world.recount() == {"done": 2}


def test_a_task_that_is_blamed_itself_waits_for_nobody_in_quarantine() -> None:
    """Bug (seed 4725): what fails everywhere waited for probes, each twice as late as the one before."""
    world = World()
    well = world.agent("a1", host="well", slots=1)
    world.agent("a2", host="sick", slots=1)
    world.submit("true {1..2}", retries=1)
    world.now += 10.0  # it was not reached: nothing is kept for it any more
    well.say(ended(well.take()[0]))
    world.do(_quarantine, "sick")
    for ticket in ("1-1-2-1", "1-1-2-2"):
        well.say(ended(ticket, exit_code=1))
    assert world.recount() == {"done": 1, "failed": 1}


def test_a_host_that_was_probed_in_vain_too_often_is_not_waited_for() -> None:
    world = World()
    sick, dead = world.agent("a1", host="sick", slots=1), world.agent("a2", host="dead", slots=1)
    world.submit("true 1")
    world.do(_quarantine, "dead")
    world.do(_blame, "dead", health.HOPELESS - 1)
    [ticket] = sick.take()
    assert sick.say(ended(ticket, ended="failed", exit=None, kind="spawn")).leases == ()
    world.do(_blame, "dead", 1)
    [again] = sick.take()
    sick.say(ended(again, ended="failed", exit=None, kind="spawn"))
    assert world.recount() == {"failed": 1}
    assert dead.say().leases == ()


def _blame(tx: Any, host: str, times: int) -> None:
    for _ in range(times):
        tx.change("host_run_blame", upkeep.name_host(tx, host), 1)


def _quarantine(tx: Any, host: str) -> None:
    tx.change("host_set", upkeep.name_host(tx, host, slots=2), "quarantined", "it is sick")


def test_a_task_on_which_three_hosts_died_is_parked_and_may_be_retried() -> None:
    world = World()
    agents = [world.agent(f"a{n}", host=f"h{n}", slots=1) for n in range(4)]
    world.submit("true 1")
    for number, agent in enumerate(agents[:3]):
        assert world.recount() == {"waiting": 1}
        agent.running = agent.take()
        agent.say()
        world.do(upkeep.lose_agent, Incarnation(f"a{number}"), why="too long", now=world.now)
    assert world.recount() == {"parked": 1}
    assert "parked" in world.events()
    assert agents[3].say().leases == ()
    assert world.run().state == "done"
    world.verb("retry")
    assert len(agents[3].say().leases) == 1


def test_the_late_result_of_a_parked_task_counts() -> None:
    world = World()
    agents = [world.agent(f"a{n}", host=f"h{n}", slots=1) for n in range(3)]
    world.submit("true {1..2}")
    first = ""
    for number, agent in enumerate(agents):
        agent.running = agent.take()[:1]
        first = first or agent.running[0]
        agent.say()
        world.do(upkeep.lose_agent, Incarnation(f"a{number}"), why="too long", now=world.now)
    assert world.recount() == {"parked": 1, "waiting": 1}
    agents[0].say(ended(first))
    assert world.attempts()[0] == (1, "first", "accepted")
    assert world.recount() == {"done": 1, "active": 1}  # and the other one goes to that host


def test_a_host_that_is_not_of_the_run_gets_nothing_of_it() -> None:
    world = World()
    one, _ = two_hosts(world)
    world.hosts = ["two"]
    world.submit("true {1..4}")
    assert one.say().leases == ()


@pytest.mark.parametrize(
    ("silent_s", "standing"), [(5.9, "well"), (6.0, "suspect"), (59.9, "suspect"), (60.0, "lost")]
)
def test_three_missed_beats_are_suspect_a_minute_is_lost(silent_s: float, standing: str) -> None:
    assert Terms().standing(silent_s=silent_s, hold_s=2.0) == standing
    assert Terms(silence_counts=False).standing(silent_s=silent_s, hold_s=2.0) == "well"


def test_an_idle_agents_rarer_word_is_no_silence() -> None:
    assert Terms().beat(holds_tickets=False) == 20.0
    assert Terms().standing(silent_s=59.0, hold_s=20.0) == "well"
    assert Terms(agents=400).beat(holds_tickets=True) == 4.0


def test_silence_is_counted_from_the_last_request_and_not_while_one_is_in_hand() -> None:
    silence = Silence(2.0)
    silence.asked()
    assert [silence.tick(1.0) for _ in range(9)] == [0.0] * 9
    silence.answered(
        2.0, after_s=9.0, newest=True
    )  # held for long, then told to speak in two seconds
    assert silence.tick(1.0) == 3.0


def test_a_request_that_was_overtaken_does_not_make_a_silence_longer() -> None:
    """Bug (seed 1138): held for 17 s, it ended after a newer one was answered, and counted from its own start."""
    silence = Silence(2.0)
    silence.asked()
    silence.asked()
    silence.answered(2.0, after_s=0.1, newest=True)
    silence.answered(20.0, after_s=17.0, newest=False)
    assert silence.hold_s == 2.0
    assert silence.tick(1.0) == 1.1


def test_any_word_ends_a_silence() -> None:
    silence = Silence(2.0)
    assert silence.tick(1.0) == 1.0
    silence.heard()
    assert silence.tick(1.0) == 1.0


def test_a_master_that_stood_still_blames_nobody() -> None:
    silence = Silence(2.0)
    assert silence.tick(3600.0) == 4.0  # an hour asleep is worth two beats
    assert Terms().standing(silent_s=silence.tick(0.5), hold_s=2.0) == "well"


def test_a_master_that_stood_still_with_a_request_in_hand_blames_nobody() -> None:
    """Bug (seed 3): its answer counted for a beat, and the tick after it for two more."""
    silence = Silence(2.0)
    silence.asked()
    silence.answered(2.0, after_s=70.0, newest=True)
    assert silence.tick(70.0) == 4.0
    assert silence.tick(1.0) == 5.0
