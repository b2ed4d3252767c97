"""What may happen, one transaction each: grants, reports, late results, verbs."""

from __future__ import annotations

from typing import Any

import pytest

from corral.agent import STOPPING
from corral.engine import exchange, judge, queries, upkeep
from corral.errors import StateError
from corral.ids import Incarnation
from corral.protocol import Report, Stream
from tests.support.world import Agent, World, ended


@pytest.fixture
def world() -> World:
    return World()


def test_a_task_goes_from_waiting_to_done(world: World) -> None:
    world.submit("true {1..2}")
    agent = world.agent()
    first, second = agent.take()
    assert world.run().counts["active"] == 2
    agent.say(ended(first), ended(second))
    assert world.run().state == "done"
    assert world.attempts() == [(1, "first", "accepted"), (2, "first", "accepted")]
    assert world.recount() == {"done": 2}


def test_a_repeated_exchange_is_answered_with_the_same_leases(world: World) -> None:
    world.submit("true {1..9}")
    agent = world.agent()
    first = agent.say()
    again = agent.say(number=1)
    assert [lease.ticket for lease in again.leases] == [lease.ticket for lease in first.leases]
    assert len(world.attempts()) == 2


def test_an_older_exchange_that_comes_late_grants_nothing(world: World) -> None:
    world.submit("true {1..9}")
    agent = world.agent()
    agent.say(number=5)
    reply = agent.say(number=4)
    assert reply.leases == ()
    assert len(world.attempts()) == 2


def test_a_held_exchange_grants_only_while_it_is_the_newest(world: World) -> None:
    agent = world.agent()
    agent.say(number=1)
    agent.say(number=2)
    world.submit("true {1..9}")
    grant = exchange.grant
    assert world.do(grant, Incarnation("a1"), 1, world.parts, world.now) is None
    reply = world.do(grant, Incarnation("a1"), 2, world.parts, world.now)
    assert len(reply.leases) == 2


def test_leases_that_were_never_received_are_granted_again_under_the_same_tickets(
    world: World,
) -> None:
    world.submit("true {1..2}")
    agent = world.agent()
    lost = [lease.ticket for lease in agent.say().leases]
    again = [lease.ticket for lease in agent.say().leases]
    assert again == lost
    assert len(world.attempts()) == 2


def test_an_agent_that_ends_is_not_given_again_what_it_gives_back(world: World) -> None:
    """Bug: until its last task was dead it had the others back a hundred times a second."""
    world.submit("true {1..2}")
    agent = world.agent(slots=2)
    running, waiting = agent.take()
    agent.running = [running]
    given_back = Report(ticket=waiting, digest="r", ended="returned", message=STOPPING)
    assert agent.say(given_back).leases == ()
    assert len(world.agent("a2", host="two").take()) == 1


def test_a_report_counts_once_however_often_it_comes(world: World) -> None:
    world.submit("true {1..2}")
    agent = world.agent()
    first, _ = agent.take()
    for _ in range(3):
        assert first in agent.say(ended(first)).answered
    assert world.run().counts["done"] == 1
    assert world.attempts().count((1, "first", "accepted")) == 1


def test_another_report_of_the_same_ticket_is_refused_and_recorded(world: World) -> None:
    world.submit("true {1..2}")
    agent = world.agent()
    first, _ = agent.take()
    agent.say(ended(first))
    agent.say(ended(first, exit_code=1, digest="other"))
    assert world.run().counts["done"] == 1
    assert "refused" in world.events()


def test_a_ticket_of_another_agent_is_refused_and_recorded(world: World) -> None:
    world.submit("true {1..4}")
    honest, thief = world.agent("a1"), world.agent("a2")
    ticket = honest.take()[0]
    thief.say(ended(ticket))
    assert world.run().counts["done"] == 0
    assert "refused" in world.events()


def test_an_unknown_agent_is_told_to_go(world: World) -> None:
    agent = world.agent()
    world.do(upkeep.end_agent, Incarnation("a1"), why="it died", host_state="gone", now=world.now)
    assert agent.refused().gone


def test_what_a_dead_agent_held_waits_again_as_lost(world: World) -> None:
    world.submit("true {1..2}")
    world.agent("a1").take()
    world.do(upkeep.end_agent, Incarnation("a1"), why="it died", host_state="gone", now=world.now)
    assert world.run().counts["waiting"] == 2
    world.agent("a2").take()
    assert [reason for _, reason, _ in world.attempts()] == ["first", "lost", "first", "lost"]


def test_a_late_result_of_a_lost_attempt_is_accepted_and_its_successor_is_killed(
    world: World,
) -> None:
    world.submit("true 1")
    dead = world.agent("a1")
    (late,) = dead.take()
    world.do(upkeep.end_agent, Incarnation("a1"), why="it died", host_state="gone", now=world.now)
    second = world.agent("a2")
    (successor,) = second.take()
    world.do(upkeep.revive_agent, Incarnation("a1"))
    dead.held = []
    dead.say(ended(late))
    assert world.run().state == "done"
    second.running = [successor]
    assert second.say().drop == (successor,)
    second.say(Report(ticket=successor, ended="killed", digest="k"))
    outcomes = [outcome for _, _, outcome in world.attempts()]
    assert outcomes == ["accepted", "killed"]


def test_the_second_of_two_valid_results_is_superseded(world: World) -> None:
    world.submit("true 1")
    dead = world.agent("a1")
    (late,) = dead.take()
    world.do(upkeep.end_agent, Incarnation("a1"), why="it died", host_state="gone", now=world.now)
    second = world.agent("a2")
    (successor,) = second.take()
    second.say(ended(successor))
    world.do(upkeep.revive_agent, Incarnation("a1"))
    dead.held = []
    dead.say(ended(late))
    assert [outcome for _, _, outcome in world.attempts()] == ["superseded", "accepted"]


def test_retries_that_were_asked_for_are_counted(world: World) -> None:
    world.submit("true 1", retries=2)
    agent = world.agent()
    for _ in range(3):
        (ticket,) = agent.take()
        agent.say(ended(ticket, exit_code=7))
    assert world.run().counts["failed"] == 1
    assert world.run().state == "done"
    assert [reason for _, reason, _ in world.attempts()] == ["first", "failed", "failed"]


def test_an_agent_that_is_told_to_end_is_given_nothing_new(world: World) -> None:
    world.submit("true {1..5}")
    agent = world.agent(slots=4)
    agent.take()
    agent.running = agent.held[:1]
    world.parts.retiring.add(Incarnation("a1"))
    assert agent.say(ended(agent.held[0])).leases == ()
    world.parts.retiring.clear()
    assert agent.say().leases


def test_a_host_is_as_it_was_when_one_of_two_agents_on_it_ends(world: World) -> None:
    """Bug: a second agent that masters had left there took the host with it."""
    world.submit("true {1..5}")
    agent, second, third = (world.agent(name) for name in ("a1", "a2", "a3"))
    agent.take()
    second.say(bye=True)
    world.do(upkeep.end_agent, Incarnation(third.name), why="", host_state="gone", now=world.now)
    assert _state_of_host(world) == "up"
    agent.say(bye=True)
    assert _state_of_host(world) == "gone"


def _state_of_host(world: World) -> str:
    with world.store.reader() as reader:
        [host] = queries.known_hosts(reader)
        return host.state


def test_what_comes_back_unstarted_is_charged_to_nobody(world: World) -> None:
    world.submit("true 1")
    agent = world.agent()
    (ticket,) = agent.take()
    agent.say(Report(ticket=ticket, ended="returned", digest="r"))
    (again,) = agent.take()
    assert again != ticket
    assert world.attempts() == [(1, "first", "returned"), (1, "first", "leased")]


def test_what_was_never_received_comes_back_and_is_not_called_lost(world: World) -> None:
    world.submit("true 1")
    agent = world.agent()
    agent.say()  # the answer does not arrive
    world.verb("pause")
    agent.say()
    world.verb("unpause")
    agent.take()
    assert world.attempts() == [(1, "first", "returned"), (1, "first", "leased")]
    assert "lost" not in world.events()


def test_what_a_life_that_collects_does_not_have_is_lost(world: World) -> None:
    """Bug: it was taken for never received, and leased anew under its ticket."""
    world.submit("true {1..2}")
    first, second = world.agent().take()
    agent = world.agent("a2")
    agent.name = "a1"
    agent.number = 1_000_000
    reply = agent.say(ended(first), collects=True)
    assert (reply.leases, reply.answered) == ((), (first,))
    assert world.attempts()[1] == (2, "first", "lost")
    assert second


def test_what_was_started_and_came_back_was_the_first(world: World) -> None:
    world.submit("true 1")
    agent = world.agent()
    (ticket,) = agent.take()
    agent.say(Report(ticket=ticket, ended="returned", digest="r", started=world.now))
    agent.take()
    assert world.attempts() == [(1, "first", "returned"), (1, "lost", "leased")]


def test_a_paused_run_hands_out_nothing_and_takes_back_what_was_not_started(world: World) -> None:
    world.submit("true {1..4}")
    agent = world.agent()
    started, queued = agent.take()
    agent.running = [started]
    world.verb("pause")
    reply = agent.say()
    assert (reply.leases, reply.back, reply.kill) == ((), (queued,), ())
    agent.say(ended(started))
    assert world.run().counts["done"] == 1
    world.verb("unpause")
    assert len(agent.say().leases) > 0


def test_a_cancelled_run_is_killed_and_its_late_results_do_not_count(world: World) -> None:
    world.submit("true {1..4}")
    agent = world.agent()
    tickets = agent.take()
    agent.running = list(tickets)
    world.verb("cancel")
    assert set(agent.say().kill) == set(tickets)
    agent.say(*[ended(ticket) for ticket in tickets])
    assert world.run().counts["cancelled"] == 4
    assert world.run().state == "cancelled"


def test_what_reports_from_before_a_rerun_does_not_count(world: World) -> None:
    world.submit("true {1..2}")
    agent = world.agent()
    old, other = agent.take()
    world.verb("rerun", tasks=[1])
    agent.say(ended(old), ended(other))
    assert world.run().counts["done"] == 1
    (new,) = agent.take()
    agent.say(ended(new))
    assert [outcome for task, _, outcome in world.attempts() if task == 1] == [
        "superseded",
        "accepted",
    ]


def test_a_task_is_kept_for_a_moment_for_each_host_that_is_being_reached(world: World) -> None:
    one, two, three = (world.agent(f"a{n}", host=f"h{n}", slots=8) for n in (1, 2, 3))
    world.submit("true {1..9}")

    def work(agent: Agent) -> int:
        done = 0
        while tickets := agent.take():
            done += len(tickets)
            agent.say(*(ended(ticket, seconds=0.001) for ticket in tickets))
            agent.held = []
        return done

    assert work(one) == 9 - 2
    assert Incarnation("a1") in world.parts.keeping
    assert work(two) == 1
    world.now += 1.01  # the third one is not waited for any longer
    assert work(one) == 1
    assert not world.parts.keeping & {Incarnation("a1")}
    assert work(three) == 0
    assert world.run().state == "done"


def test_a_lone_task_is_kept_for_nobody(world: World) -> None:
    one, _ = (world.agent(f"a{n}", host=f"h{n}") for n in (1, 2))
    world.submit("true")
    assert one.take() == ["1-1-1-1"]


def test_a_clock_that_is_set_back_keeps_no_task_from_who_could_run_it(world: World) -> None:
    one, _ = (world.agent(f"a{n}", host=f"h{n}") for n in (1, 2))
    world.submit("true {1..2}")
    world.now -= 86_400
    [first] = one.take()
    [second] = [lease.ticket for lease in one.say(ended(first)).leases]
    one.say(ended(second))
    assert world.run().state == "done"


def test_a_growing_run_keeps_numbers_and_counts(world: World) -> None:
    world.submit("echo {1..3}")
    agent = world.agent(slots=9)
    agent.say(*[ended(ticket) for ticket in agent.take()])
    again = world.submit("echo {3..5}", reps=2)
    assert (again.tasks, again.new, again.kept) == (6, 5, 1)
    assert world.run().counts["done"] == 1
    assert world.run().counts["waiting"] == 5
    assert world.recount() == {"done": 1, "waiting": 5}


def test_fresh_begins_a_generation_and_retires_the_one_before(world: World) -> None:
    world.submit("echo {1..3}")
    agent = world.agent(slots=1)
    (old,) = agent.take()
    agent.running = [old]
    fresh = world.submit("echo {1..3}", fresh=True)
    assert fresh.generation == 2
    assert agent.say().kill == (old,)
    assert world.recount() == {"active": 1, "waiting": 2}


def test_a_bad_command_is_paused_and_an_operator_may_insist(world: World) -> None:
    world.submit("false {1..60}")
    agent = world.agent(slots=5)
    while world.run().state == "open":
        agent.say(*[ended(ticket, exit_code=1) for ticket in agent.take()])
    assert world.run().state == "paused"
    assert 20 <= world.run().counts["failed"] <= 25
    world.verb("unpause")
    while world.run().state == "open":
        agent.say(*[ended(ticket, exit_code=1) for ticket in agent.take()])
    assert world.run().state == "done"
    assert world.run().counts["failed"] == 60


def test_a_halted_run_whose_last_task_ends_well_is_done(world: World) -> None:
    world.submit("true 1")
    agent = world.agent()
    (ticket,) = agent.take()
    agent.running = [ticket]
    world.verb("stop")
    assert world.run().state == "halted"
    agent.say(ended(ticket))
    assert world.run().state == "done"


def test_a_halted_runs_hosts_that_went_home_can_be_asked_again(world: World) -> None:
    """Bug (seed 2506): what a sick host could not start had failed for good, nobody else being there."""
    sick, well = world.agent("a1", host="sick"), world.agent("a2", host="well")
    world.submit("sim {1..2}")
    [ticket], _ = sick.take(), well.take()
    world.verb("stop")
    well.say(bye=True)
    sick.say(ended(ticket, ended="failed", exit=None, kind="spawn"))
    assert world.recount() == {"waiting": 2}
    world.verb("resume")
    assert len(world.agent("a3", host="well").take()) == 1


def test_a_verb_that_makes_no_sense_says_which_does(world: World) -> None:
    world.submit("true 1")
    agent = world.agent()
    agent.say(ended(agent.take()[0]))
    for verb in ("pause", "unpause", "stop", "cancel"):
        with pytest.raises(StateError) as raised:
            world.verb(verb)
        assert "rerun" in (raised.value.hint or "")


def test_output_is_kept_with_the_attempt(world: World) -> None:
    world.submit("echo 1")
    agent = world.agent()
    (ticket,) = agent.take()
    agent.say(ended(ticket, stdout=Stream(size=2, inline=b"1\n")))
    with world.store.reader() as reader:
        rows = reader.rows("results", 1, 1, 0)
    assert rows[0][17] == b"1\n"


def reported(world: World, command: str = "true {1..2}", **options: Any) -> list[int]:
    """Have two tasks of a checked run reported; gives the attempts."""
    world.submit(command, checks=("nonempty",), **options)
    agent = world.agent()
    agent.say(*[ended(ticket) for ticket in agent.take()])
    with world.store.reader() as reader:
        return [row[0] for row in reader.rows("attempts_to_judge", 0, 10)]


def test_what_is_checked_waits_for_a_verdict(world: World) -> None:
    first, second = reported(world)
    assert world.run().counts["active"] == 2
    world.do(judge.judge, first, judge.Verdict(ok=True), world.now)
    world.do(judge.judge, second, judge.Verdict(ok=False, reason="stdout is empty"), world.now)
    assert world.attempts() == [(1, "first", "accepted"), (2, "first", "rejected")]
    assert (world.run().counts["done"], world.run().counts["failed"]) == (1, 1)
    assert world.run().state == "done"


def test_a_rejected_task_goes_out_again_as_often_as_asked_on_one_host_too(world: World) -> None:
    first, second = reported(world, retries=1)
    for attempt in (first, second):
        world.do(judge.judge, attempt, judge.Verdict(ok=False, reason="empty"), world.now)
    agent = world.agent("a2")
    agent.take()
    assert [reason for _, reason, _ in world.attempts()] == ["first", "rejected"] * 2


def test_no_verdict_three_times_pauses_the_run_keeps_the_result_and_names_it(world: World) -> None:
    first, second = reported(world)
    for _ in range(2):
        world.do(judge.no_verdict, first, "./check.py: signal 11", world.now)
    assert world.run().state == "open"
    world.do(judge.no_verdict, first, "./check.py: signal 11", world.now)
    assert world.run().state == "paused"
    assert world.run().reason == "no verdict on task 1: ./check.py: signal 11"
    assert world.attempts() == [(1, "first", "reported"), (2, "first", "reported")]
    assert world.events().count("paused") == 1
    with world.store.reader() as reader:
        assert [row[0] for row in reader.rows("attempts_to_judge", 0, 10)] == [second]
        assert reader.value("run_live_attempts", 1) == 1, "a follower need not wait for it"


@pytest.mark.parametrize("verb", ["unpause", "resume"])
def test_a_run_that_goes_on_has_what_was_not_judged_looked_at_again(
    world: World, verb: str
) -> None:
    first, second = reported(world)
    for attempt in (first, second):
        for _ in range(3):
            world.do(judge.no_verdict, attempt, "./check.py: signal 11", world.now)
    world.verb(verb)
    with world.store.reader() as reader:
        assert [row[0] for row in reader.rows("attempts_to_judge", 0, 10)] == [first, second]
    world.do(judge.judge, first, judge.Verdict(ok=True), world.now)
    world.do(judge.judge, second, judge.Verdict(ok=True), world.now)
    assert world.run().state == "done"


def test_no_verdict_on_what_was_judged_meanwhile_says_nothing(world: World) -> None:
    first, _ = reported(world)
    world.do(judge.judge, first, judge.Verdict(ok=True), world.now)
    for _ in range(3):
        world.do(judge.no_verdict, first, "late", world.now)
    assert world.run().state == "open"


def test_checks_are_part_of_what_a_run_is(world: World) -> None:
    plain = world.submit("true {1..2}")
    assert world.submit("true {1..2}", checks=("json", "nonempty")).run != plain.run
    again = world.submit("true {1..2}", checks=("nonempty", "json"))
    assert again.run == plain.run + 1


def test_a_host_keeps_the_slots_that_its_agent_found_when_another_run_names_it(
    world: World,
) -> None:
    world.submit("echo {1..2}")
    world.agent(slots=6).say()
    world.submit("date {1..2}")
    with world.store.reader() as reader:
        assert {host.slots for host in queries.hosts(reader)} == {6}


def test_a_retry_after_a_cancel_awaits_what_still_runs(world: World) -> None:
    """Bug: the task waited while its attempt ran on, and was handed out a second time."""
    world.submit("true 1")
    agent = world.agent()
    (ticket,) = agent.take()
    agent.running = [ticket]
    world.verb("cancel")
    world.verb("retry")
    assert world.run().counts["active"] == 1
    assert agent.say().leases == ()
    agent.say(ended(ticket))
    assert world.attempts() == [(1, "first", "accepted")]


@pytest.mark.parametrize("started", [True, False], ids=["running", "leased as far as is known"])
def test_what_has_ended_and_not_reported_hears_that_it_is_not_wanted(
    world: World, started: bool
) -> None:
    # Only a request that was held heard it: another one's output was sent on, for 20 s or for good.
    world.submit("sleep {1..1}")
    agent = world.agent()
    [ticket] = agent.take()
    if started:
        agent.running = [ticket]
        agent.say()
    world.verb("kill")
    agent.held = agent.running = []
    assert agent.say(ended=(ticket,)).kill == (ticket,)


def test_the_same_command_after_a_cancel_awaits_what_still_runs(world: World) -> None:
    world.submit("true 1")
    agent = world.agent()
    agent.running = agent.take()
    world.verb("cancel")
    world.submit("true 1")
    assert world.run().counts["active"] == 1
    assert agent.say().leases == ()


def test_a_repeated_exchange_takes_back_nothing_that_its_answer_gave(world: World) -> None:
    """Bug: a copy that came late gave back, in a paused run, what the agent had started."""
    world.submit("true 1")
    agent = world.agent()
    agent.say()
    world.verb("pause")
    agent.say(number=1)
    assert world.attempts() == [(1, "first", "leased")]
