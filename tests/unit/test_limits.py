"""What limits mean, when a run halts by itself, and that it goes on when it is told to."""

from __future__ import annotations

import pytest

from corral.engine import limits, queries, upkeep
from corral.errors import UsageError
from corral.ids import Incarnation, RunId
from corral.model.limits import Halt, Limits
from corral.protocol import Report
from corral.scheduler import health
from corral.scheduler.limits import LEARNED, has_failed_enough, timeout_s
from corral.work import limits as texts
from corral.work import runfile
from tests.support.world import Agent, World, ended

HALTS = {"soon": Halt(when="soon", failures=1), "now": Halt(when="now", failures=1)}


@pytest.fixture
def world() -> World:
    return World()


def ended_unstarted(ticket: str) -> Report:
    return Report(ticket=ticket, ended="returned", message="no room", digest="d" + ticket)


def fail_next(agent: Agent, count: int) -> None:
    """Take tasks and report them as failed, one after the other."""
    for _ in range(count):
        agent.say(ended(agent.held.pop() if agent.held else agent.take()[0], exit_code=1))


@pytest.mark.parametrize(
    ("text", "halt"),
    [
        ("soon,fail=1", Halt(when="soon", failures=1)),
        ("now,fail=10", Halt(when="now", failures=10)),
        ("now,fail=2.5%", Halt(when="now", percent=2.5)),
    ],
)
def test_a_halt_is_read(text: str, halt: Halt) -> None:
    assert texts.halt(text) == halt


@pytest.mark.parametrize(
    "text", ["", "soon", "fail=1", "later,fail=1", "now,fail=0", "now,fail=101%", "now,fail=-1"]
)
def test_a_halt_that_is_none_is_refused_with_the_way_out(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        texts.halt(text)
    assert "now,fail=5%" in str(raised.value.hint)


def test_a_run_file_says_every_limit() -> None:
    text = (
        'run = "x"\ntimeout = "200%"\nrun_timeout = 7200\nhalt = "soon,fail=5%"\n'
        'output_cap = "2M"\nmem = ["1G", "4G"]\ndisk_floor = 0\n'
    )
    assert texts.read(runfile.load(text, path="job.toml")) == Limits(
        timeout_percent=200.0,
        run_timeout_s=7200.0,
        halt=Halt(when="soon", percent=5.0),
        output_cap=2 << 20,
        memory=(1 << 30, 4 << 30),
        disk_floor=0,
    )


def test_wrong_limits_in_a_run_file_are_named_all_at_once() -> None:
    text = 'run = "x"\nhalt = "often"\nmem = ["4G", "1G"]\noutput_cap = true\ntimeout = "50%"\n'
    with pytest.raises(UsageError) as raised:
        runfile.load(text, path="job.toml")
    for key in ("halt", "mem", "output_cap", "timeout"):
        assert f"`{key}` must be" in raised.value.message


@pytest.mark.parametrize(
    ("failed", "ended", "tasks", "enough"),
    [(0, 50, 100, False), (1, 1, 100, False), (2, 2, 100, True), (9, 100, 100, False),
     (10, 100, 100, True), (1, 10, 10, True)],
)  # fmt: skip
def test_a_share_of_failures_is_of_what_has_ended_but_never_of_a_few(
    failed: int, ended: int, tasks: int, enough: bool
) -> None:
    halt = Halt(when="soon", percent=10.0)
    assert has_failed_enough(halt, failed=failed, ended=ended, tasks=tasks) == enough


def test_after_so_many_failures_nothing_more_is_handed_out(world: World) -> None:
    world.submit("false {1..9}", limits=Limits(halt=Halt(when="soon", failures=2)))
    agent = world.agent()
    first, second = agent.take()
    agent.say(ended(first, exit_code=1))
    assert world.run().state == "open"
    agent.held += [lease.ticket for lease in agent.say().leases]
    reply = agent.say(ended(second, exit_code=1))
    assert reply.leases == ()
    assert reply.kill == ()
    assert world.run().state == "halted"
    assert world.run().reason == "2 of 2 tasks failed (--halt soon,fail=2)"
    assert world.events()[-1] == "halted"


@pytest.mark.parametrize("when", HALTS)
def test_halting_now_kills_what_runs_and_soon_does_not(world: World, when: str) -> None:
    world.submit("false {1..9}", limits=Limits(halt=HALTS[when]))
    agent = world.agent()
    first, second = agent.take()
    agent.running = [first, second]
    agent.say()
    reply = agent.say(ended(first, exit_code=1))
    assert world.run().state == "halted"
    assert reply.kill == ((second,) if when == "now" else ())


def test_halting_now_kills_what_runs_on_a_host_that_was_given_up(world: World) -> None:
    """It came back, and was let run to the end of its task though nothing was to run."""
    world.submit("true {1..2}")
    agent = world.agent()
    agent.running = agent.take()
    agent.say()
    world.do(upkeep.lose_agent, Incarnation(agent.name), why="silence", now=world.now)
    world.verb("kill")
    assert agent.say().drop == tuple(agent.running)


def test_a_resumed_run_halts_only_after_as_many_new_failures(world: World) -> None:
    world.submit("false {1..9}", limits=Limits(halt=Halt(when="soon", failures=2)))
    agent = world.agent(slots=1)
    fail_next(agent, 2)
    assert world.run().state == "halted"
    world.verb("resume")
    fail_next(agent, 1)
    assert world.run().state == "open"
    fail_next(agent, 1)
    assert world.run().state == "halted"
    world.verb("retry")
    assert world.run().state == "open"
    fail_next(agent, 1)
    assert world.run().state == "open"


def test_a_run_is_halted_after_its_time_in_which_it_was_served(world: World) -> None:
    world.submit("sleep {1..9}", limits=Limits(run_timeout_s=60.0))
    agent = world.agent()
    agent.running = agent.take()
    agent.say()
    world.now += 1e6  # the wall clock has no say
    world.do(limits.count_time, 59.0, world.now)
    assert world.run().state == "open"
    world.do(limits.count_time, 2.0, world.now)
    assert world.run().state == "halted"
    assert "1:00" in world.run().reason
    assert set(agent.say().kill) == set(agent.running)


def test_a_run_gets_its_time_anew_when_it_is_resumed_and_none_while_it_is_paused(
    world: World,
) -> None:
    world.submit("sleep {1..9}", limits=Limits(run_timeout_s=60.0))
    world.verb("pause")
    world.do(limits.count_time, 100.0, world.now)
    world.verb("unpause")
    world.do(limits.count_time, 59.0, world.now)
    assert world.run().state == "open"
    world.do(limits.count_time, 1.0, world.now)
    world.verb("resume")
    world.do(limits.count_time, 59.0, world.now)
    assert world.run().state == "open"


def test_a_share_of_the_median_holds_once_something_is_learned(world: World) -> None:
    world.submit("sleep {1..9}", limits=Limits(timeout_percent=300.0))
    agent = world.agent()
    first, second = agent.take()
    agent.running = [first, second]
    assert agent.say().timeouts == {}
    for _ in range(LEARNED):
        agent.say(ended(agent.running.pop(0), seconds=10.0))
        agent.running += agent.take()
    assert agent.say().timeouts == {"1-1": 30.0}  # for those that run since before, too


def test_a_share_of_the_median_is_never_less_than_a_second() -> None:
    assert timeout_s(200.0, median_s=0.002, successes=100) == 1.0
    assert timeout_s(200.0, median_s=60.0, successes=100) == 120.0
    assert timeout_s(200.0, median_s=60.0, successes=LEARNED - 1) is None


def test_runs_without_a_share_are_told_no_times(world: World) -> None:
    world.submit("sleep {1..9}", limits=Limits(timeout_s=5.0))
    agent = world.agent()
    assert agent.say(ended(agent.take()[0])).timeouts == {}


def oom(ticket: str) -> Report:
    return ended(ticket, ended="failed", kind="oom", exit=None, message="too little")


def test_a_task_that_had_too_little_memory_gets_the_next_size_for_nothing(world: World) -> None:
    world.submit("true", limits=Limits(memory=(1 << 30, 4 << 30)), retries=0)
    agent = world.agent(slots=1)
    [lease] = agent.say().leases
    assert lease.memory == 1 << 30
    [lease] = agent.say(oom(lease.ticket)).leases
    assert lease.memory == 4 << 30
    agent.say(oom(lease.ticket))
    assert world.run().counts["failed"] == 1
    assert [outcome for *_, outcome in world.attempts()] == ["failed", "failed"]


def test_many_tasks_that_need_more_memory_do_not_make_the_command_bad(world: World) -> None:
    count = health.BAD_COMMAND + 5
    world.submit(f"true {{1..{count}}}", limits=Limits(memory=(1 << 30, 4 << 30)))
    agent = world.agent(slots=count)
    tickets: list[str] = []
    while len(tickets) < count:
        tickets += agent.take()
    agent.say(*(oom(ticket) for ticket in tickets))
    assert world.run().state == "open"
    assert world.run().counts["failed"] == 0


def test_without_sizes_a_lease_has_no_limit(world: World) -> None:
    world.submit("true")
    assert world.agent().say().leases[0].memory is None


def test_while_the_masters_disk_is_low_nothing_is_handed_out(world: World) -> None:
    world.submit("true {1..9}")
    agent = world.agent()
    world.parts.low = True
    assert agent.take() == []
    world.parts.low = False
    assert agent.take()


def test_all_open_runs_are_halted_when_the_disk_is_full(world: World) -> None:
    for name in ("true", "echo"):
        world.submit(f"{name} {{1..9}}")
    world.verb("pause", run=2)
    world.do(limits.halt_all, "the disk is full", world.now)
    assert [(world.run(n).state, world.run(n).reason) for n in (1, 2)] == [
        ("halted", "the disk is full"),
        ("paused", "asked"),
    ]


SHORT = "9 MiB free: below the disk floor of 256 MiB, it starts nothing"


def test_a_host_whose_disk_is_full_gets_nothing_and_others_do(world: World) -> None:
    world.submit("true {1..9}")
    full, roomy = world.agent("a1", host="h1"), world.agent("a2", host="h2")
    assert full.say(short=SHORT).leases == ()
    assert roomy.take()
    with world.store.reader() as reader:
        notes = {host.name: host.note for host in queries.hosts_of(reader, RunId(1))}
    assert notes["h1"] == SHORT
    assert notes["h2"] == ""


def test_a_host_gets_tasks_again_when_its_disk_has_room(world: World) -> None:
    world.submit("true {1..9}")
    agent = world.agent()
    taken = agent.take()
    agent.say(*(ended_unstarted(ticket) for ticket in taken), short=SHORT)
    assert world.run().counts["waiting"] == 9
    assert agent.take()  # an exchange without the word says that there is room


def test_a_host_that_says_goodbye_is_not_short_any_more(world: World) -> None:
    world.submit("true {1..9}")
    world.agent().say(short=SHORT, bye=True)
    with world.store.reader() as reader:
        assert [host.note for host in queries.hosts(reader)] == [""]


def test_runs_without_a_limit_of_time_go_on(world: World) -> None:
    world.submit("sleep {1..9}")
    world.do(limits.count_time, 1e9, world.now)
    assert world.run().state == "open"
