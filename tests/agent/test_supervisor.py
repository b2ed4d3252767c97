"""When the supervisor starts, tells and kills, on a virtual clock."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from tests.agent import fakes
from tests.agent.fakes import PART, lease
from tests.agent.support import agent

TERM, KILL = 15, 9


class World:
    """A supervisor with its fakes; tasks live until a test ends them."""

    def __init__(self, **config: Any) -> None:
        self.clock = fakes.Clock()
        self.disk = fakes.Disk()
        self.processes = fakes.Processes(self.clock)
        self.port = fakes.Port()
        self.supervisor: Any = agent.Supervisor(
            fakes.config(**config), self.clock, self.disk, self.processes, self.port
        )
        self.tick()

    def tick(self, seconds: float = 0.0) -> None:
        until = self.clock.time + seconds
        while True:
            due = self.supervisor.tick(self.clock.time)
            if due is None or self.clock.time + due > until:
                break
            self.clock.time += due
        self.clock.time = until

    def hear(self, **message: Any) -> None:
        self.supervisor.on_port(message)
        self.tick()

    def lease(self, *numbers: int, part: dict[str, Any] | None = None, **more: Any) -> None:
        leases = [lease(n, **more) for n in numbers]
        self.hear(parts={"p": {**PART, **(part or {})}}, leases=leases)

    def exit(self, n: int, code: int | None = 0, number: int | None = None) -> None:
        """Let the own process of task ``n`` end."""
        pid = self.processes.pid_of(f"t{n}")
        self.processes.alive.discard(pid)
        self.supervisor.on_exit(pid, code, number, 0.5, 1000)
        self.tick()

    def running(self) -> list[str]:
        return list(self.supervisor.tasks)

    def ended(self) -> dict[str, dict[str, Any]]:
        records = [r for records in self.port.said("ended") for r in records]
        return {r["report"]["ticket"]: r["report"] for r in records}


@pytest.fixture
def world() -> World:
    return World()


def test_starts_in_the_order_of_the_leases_as_slots_allow(world: World) -> None:
    world.lease(3, 1, 2)
    assert world.running() == ["t3", "t1"]
    world.exit(1)
    assert world.running() == ["t3", "t2"]
    assert world.disk.starts == ["t3", "t1", "t2"]  # noted before each start


def test_fewer_slots_let_running_tasks_finish(world: World) -> None:
    world.lease(1, 2, 3)
    world.hear(slots=1)
    world.exit(1)
    assert world.running() == ["t2"]
    world.exit(2)
    assert world.running() == ["t3"]


def test_first_end_is_told_at_once_and_the_next_in_batches(world: World) -> None:
    world.hear(slots=10)
    world.lease(*range(100))
    world.tick(1.0)
    told = len(world.port.said("ended"))
    world.exit(0)
    assert len(world.port.said("ended")) == told + 1
    for n in range(1, 10):
        world.exit(n)
        world.tick(0.001)
    assert len(world.port.said("ended")) == told + 1
    world.tick(agent.TELL_S)
    assert [len(records) for records in world.port.said("ended")[told:]] == [1, 9]


def test_many_pending_ends_are_told_early(world: World) -> None:
    world.hear(slots=100)
    world.lease(*range(200))
    world.tick(1.0)
    for n in range(1 + agent.TELL_MANY):
        world.exit(n)
    assert [len(records) for records in world.port.said("ended")] == [1, agent.TELL_MANY]


def test_last_end_is_told_at_once(world: World) -> None:
    world.lease(1, 2)
    world.tick(1.0)
    world.exit(1)
    world.exit(2)
    assert set(world.ended()) == {"t1", "t2"}


def test_running_tasks_are_told_within_a_moment(world: World) -> None:
    world.lease(1)
    world.tick(agent.TELL_S)
    assert world.port.said("started") == [[["t1", 101, 5, 1000.0, 0]]]


def test_ticket_leased_twice_starts_once(world: World) -> None:
    world.lease(1)
    world.lease(1)
    world.exit(1)
    world.lease(1)  # its end is not noted yet
    assert len(world.processes.spawned) == 1


def test_nothing_starts_while_there_is_no_master(world: World) -> None:
    world.hear(hold=True)
    world.lease(1)
    assert world.running() == []
    world.hear(hold=False)
    assert world.running() == ["t1"]


def test_limit_of_a_part(world: World) -> None:
    world.lease(1, 2, part={"slots": 1})
    world.hear(parts={"q": PART}, leases=[lease(3, part="q")])
    assert world.running() == ["t1", "t3"]


GPU = {"run": "g", "needs": {"gpu": 1}, "has": {"gpu": 2}}


def test_tasks_take_as_many_slots_as_they_need(world: World) -> None:
    world.hear(slots=3)
    world.lease(1, 2, part={"cpus": 2, "has": {"cpus": 3}})
    assert world.running() == ["t1"]
    world.hear(parts={"q": PART}, leases=[lease(3, part="q")])
    assert world.running() == ["t1"]  # the third slot is kept for the second task
    world.exit(1)
    assert world.running() == ["t2", "t3"]


def test_a_task_that_lacks_something_keeps_others_from_it_alone(world: World) -> None:
    world.hear(slots=9, parts={"g": GPU, "q": PART})
    both = {**GPU, "needs": {"gpu": 2}}
    world.hear(parts={"b": both}, leases=[lease(1, part="g"), lease(2, part="b")])
    world.hear(leases=[lease(3, part="g"), lease(4, part="q")])
    assert world.running() == ["t1", "t4"]
    world.exit(1)
    assert world.running() == ["t4", "t2"]
    world.exit(2)
    assert world.running() == ["t4", "t3"]


def test_a_task_is_told_which_of_a_resource_it_has(world: World) -> None:
    world.hear(slots=9, parts={"p": GPU}, leases=[lease(1), lease(2), lease(3)])
    world.exit(1)
    said = {
        ticket: next(v for v in env if v.startswith(b"CORRAL_GPU="))
        for ticket in ("t1", "t2", "t3")
        for env in [world.processes.environments[world.processes.pid_of(ticket)]]
    }
    assert said == {"t1": b"CORRAL_GPU=0", "t2": b"CORRAL_GPU=1", "t3": b"CORRAL_GPU=0"}


def test_lease_is_given_back_only_if_it_has_not_started(world: World) -> None:
    world.lease(1, 2, 3)
    world.hear(back=["t1", "t3"])
    world.tick(1.0)
    assert world.running() == ["t1", "t2"]
    assert {t: r["ended"] for t, r in world.ended().items()} == {"t3": "returned"}


def test_timeout_is_by_the_clock_of_the_host(world: World) -> None:
    world.lease(1, part={"timeout_s": 10, "grace_s": 2.0})
    pid = world.processes.pid_of("t1")
    world.tick(9.9)
    assert world.processes.signals == []
    world.tick(0.2)
    assert (pid, TERM) in world.processes.signals
    world.tick(1.7)
    assert (pid, KILL) not in world.processes.signals
    world.tick(0.2)
    assert (pid, KILL) in world.processes.signals
    world.exit(1, None, KILL)
    assert world.ended()["t1"]["kind"] == "timeout"


def test_no_grace_means_no_sigterm(world: World) -> None:
    world.lease(1, part={"grace_s": 0.0})
    world.hear(kill=["t1"])
    assert TERM not in {number for _, number in world.processes.signals}
    assert KILL in {number for _, number in world.processes.signals}


def test_slot_stays_taken_until_the_whole_tree_is_dead(world: World) -> None:
    world.hear(slots=1)
    world.lease(1, 2)
    world.processes.orphans = {500: ("t1", None, None)}
    world.processes.alive.add(500)
    world.processes.stubborn.add(500)
    world.exit(1)
    assert world.running() == ["t1"]
    world.processes.stubborn.clear()
    world.tick(1.0)
    assert world.running() == ["t2"]
    assert world.ended()["t1"]["ended"] == "exited"


def test_what_cannot_be_killed_is_named_and_left(world: World) -> None:
    world.lease(1, part={"grace_s": 0.0})
    pid = world.processes.pid_of("t1")
    world.processes.stubborn.add(pid)
    world.hear(kill=["t1"])
    world.tick(agent.UNCLEAN_S + 1)
    assert world.ended()["t1"]["message"] == f"unclean: pid {pid}"
    assert world.running() == []


def test_who_was_stopped_as_it_killed_tries_for_as_long_as_any(world: World) -> None:
    """Bug: after an hour of standing still it gave the slot away while the tree was alive."""
    world.lease(1, part={"grace_s": 0.0})
    world.processes.stubborn.add(world.processes.pid_of("t1"))
    world.hear(kill=["t1"])
    world.clock.time += 3600.0
    world.tick(agent.UNCLEAN_S - 1)
    assert world.running() == ["t1"]
    world.tick(2.0)
    assert world.running() == []


@pytest.mark.parametrize(
    ("origin", "dies"),
    [
        pytest.param(("t1", None, None), True, id="its tag"),
        pytest.param(("t2", None, None), False, id="another's tag"),
        pytest.param(("t9", None, None), True, id="tag of one that ended"),
        pytest.param(("", 101, None), True, id="its session"),
        pytest.param(("", 102, None), False, id="another's session"),
        pytest.param(("", 7, 0), True, id="its slot"),
        pytest.param(("", 7, 1), False, id="another's slot"),
        pytest.param(("", 7, None), False, id="no trace, another may have started it"),
    ],
)
def test_orphan_dies_with_the_task_that_started_it(
    world: World, origin: tuple[str, int | None, Any], dies: bool
) -> None:
    world.lease(1, 2)
    world.processes.orphans = {500: origin}
    world.processes.alive.add(500)
    world.exit(1)
    assert (500 not in world.processes.alive) == dies
    world.exit(2)
    assert 500 not in world.processes.alive


def test_orphan_without_trace_outlives_tasks_that_came_after_it(world: World) -> None:
    world.lease(1, 2)
    world.processes.orphans = {500: ("", None, None)}
    world.processes.alive.add(500)
    world.exit(1)
    world.lease(3)
    world.exit(2)
    world.tick(agent.KILL_AGAIN_S)  # it looks again whether all is dead
    assert world.running() == ["t3"]
    assert 500 not in world.processes.alive  # t3 cannot have started it


def test_new_link_gets_all_that_is_known(world: World) -> None:
    world.lease(1, 2, 3, 4)
    world.exit(1)
    world.hear(kill=["t4"])
    world.hear(noted=["t1"])
    world.supervisor.on_port_closed()
    world.tick()
    [port] = world.processes.peers
    [table] = port.said("table")
    assert [row[0] for row in table["running"]] == ["t2", "t3"]
    assert table["queued"] == []
    assert [record["report"]["ticket"] for record in table["ended"]] == ["t4"]
    assert table["parts"] == {"p": PART}


def test_links_that_die_young_are_started_ever_more_slowly(world: World) -> None:
    times = []
    for n in range(1, 6):
        world.supervisor.on_port_closed()
        died = world.clock.time
        while len(world.processes.peers) < n:
            world.tick(0.001)
        times.append(round(world.clock.time - died, 2))
    assert times == [0.0, 0.02, 0.04, 0.08, 0.16]


def test_ends_when_no_link_can_live_and_nothing_runs(world: World) -> None:
    world.lease(1)
    for _ in range(100):
        world.supervisor.on_port_closed()
        world.tick(1.0)
    assert not world.supervisor.over
    world.exit(1)
    world.supervisor.on_port_closed()
    assert world.supervisor.over


def test_drain_returns_the_queue_and_now_kills_the_rest(world: World) -> None:
    world.lease(1, 2, 3, part={"grace_s": 0.0})
    world.hear(stop="drain")
    world.tick(1.0)
    assert world.ended()["t3"]["ended"] == "returned"
    assert world.running() == ["t1", "t2"]
    world.hear(stop="now")
    world.exit(1, None, KILL)
    world.exit(2, None, KILL)
    assert {r["ended"] for r in world.ended().values()} == {"returned", "killed"}


def test_program_that_cannot_start_frees_its_slot(world: World) -> None:
    world.processes.cannot = agent.CannotStart("spawn", "no such program: x")
    world.lease(*range(5))
    world.tick(1.0)
    assert {(r["ended"], r["kind"]) for r in world.ended().values()} == {("failed", "spawn")}
    assert len(world.ended()) == 5
    world.processes.cannot = None
    world.lease(7)
    assert world.running() == ["t7"]


def test_parts_of_old_runs_are_dropped(world: World) -> None:
    for n in range(agent.PARTS * 3):
        world.hear(parts={f"p{n}": PART}, leases=[lease(n, part=f"p{n}")])
        world.exit(n)
    assert len(world.supervisor.parts) <= agent.PARTS + 1


def test_a_time_that_is_learned_later_holds_for_what_runs(world: World) -> None:
    world.lease(1, 2, part={"grace_s": 0.0})
    world.tick(5.0)
    world.hear(timeouts={"p": 8.0})
    world.exit(1)
    world.tick(2.9)
    assert world.running() == ["t2"]
    world.tick(0.2)
    assert tuple(number for _, number in world.processes.signals if number == KILL)[:1] == (KILL,)
    world.exit(2, None, 9)
    report = world.ended()["t2"]
    assert (report["ended"], report["kind"]) == ("failed", "timeout")
    assert report["message"] == "not done after 8 s"


def test_a_time_that_is_told_before_its_part_holds(world: World) -> None:
    world.hear(timeouts={"p": 3.0})
    world.lease(1, part={"grace_s": 0.0})
    world.tick(3.1)
    assert world.processes.signals


MIB = 1 << 20


def test_a_task_above_its_memory_is_killed_at_once(world: World) -> None:
    world.lease(1, 2, memory=100 * MIB)
    pid = world.processes.pid_of("t1")
    world.processes.weights[pid] = 101 * MIB
    world.tick(agent.WEIGH_S + 0.1)
    assert (pid, KILL) in world.processes.signals
    assert (pid, TERM) not in world.processes.signals
    world.exit(1, None, 9)
    report = world.ended()["t1"]
    assert (report["ended"], report["kind"]) == ("failed", "oom")
    assert report["message"] == "it used 101 MiB of memory, more than its 100 (polled)"
    assert world.running() == ["t2"]


def test_only_tasks_with_a_limit_are_weighed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    weighed: list[dict[int, Any]] = []

    def weigh(tasks: dict[int, Any]) -> dict[int, int]:
        weighed.append(tasks)
        return {}

    monkeypatch.setattr(world.processes, "weigh", weigh)
    world.lease(1)
    world.tick(5.0)
    assert weighed == []
    world.lease(2, memory=MIB)
    world.tick(5.0)
    assert {ticket for tasks in weighed for ticket, _ in tasks.values()} == {"t2"}


@pytest.fixture
def grouped(world: World) -> World:
    """A supervisor on a host that has control groups."""
    world.processes.confines = True
    return world


def test_only_tasks_with_a_limit_get_a_group(grouped: World) -> None:
    grouped.lease(1)
    grouped.lease(2, memory=MIB)
    assert list(grouped.processes.groups) == ["t2"]


def test_a_task_that_the_kernel_killed_in_its_group_needed_more(grouped: World) -> None:
    grouped.lease(1, memory=100 * MIB)
    grouped.processes.groups["t1"].kills = 1
    grouped.processes.groups["t1"].peak = 102400
    grouped.exit(1, None, 9)
    report = grouped.ended()["t1"]
    assert (report["ended"], report["kind"], report["peak_kb"]) == ("failed", "oom", 102400)
    assert report["message"] == "it needed more than its 100 MiB of memory (cgroup v2)"
    assert not grouped.processes.groups


def test_what_the_kernel_left_of_a_task_is_killed(grouped: World) -> None:
    grouped.lease(1, memory=MIB)
    pid = grouped.processes.pid_of("t1")
    grouped.tick(agent.WEIGH_S)
    assert not grouped.processes.signals
    grouped.processes.groups["t1"].kills = 1
    grouped.tick(agent.WEIGH_S)
    assert (pid, KILL) in grouped.processes.signals
    grouped.exit(1, None, 9)
    assert grouped.ended()["t1"]["kind"] == "oom"


def test_a_success_in_a_group_in_which_nothing_was_killed_is_one(grouped: World) -> None:
    grouped.lease(1, memory=MIB)
    grouped.exit(1)
    report = grouped.ended()["t1"]
    assert (report["ended"], report["peak_kb"]) == ("exited", 1000)  # this kernel counts no peak
    assert not grouped.processes.groups


def test_a_slot_is_not_free_while_anything_is_in_its_group(grouped: World) -> None:
    grouped.lease(1, memory=MIB)
    inside = grouped.processes.groups["t1"].inside
    inside.add(7)
    grouped.exit(1)
    assert grouped.running() == ["t1"]
    assert (7, KILL) in grouped.processes.signals
    inside.clear()
    grouped.tick(agent.KILL_PAUSE_S)
    assert grouped.ended()["t1"]["ended"] == "exited"


@pytest.mark.parametrize(
    ("cannot", "kind"),
    [
        (agent.CannotStart("spawn", "no such program"), "spawn"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "env"),
    ],
    ids=["program", "process"],
)
def test_no_group_is_left_of_a_task_that_cannot_start(
    grouped: World, cannot: Any, kind: str
) -> None:
    grouped.processes.cannot = cannot
    grouped.lease(1, memory=MIB)
    assert grouped.ended()["t1"]["kind"] == kind
    assert not grouped.processes.groups


@pytest.mark.parametrize(("number", "code", "argv"), [(9, None, ["x"]), (None, 137, None)])
def test_what_the_kernel_kills_out_of_memory_is_known(
    world: World, number: int | None, code: int | None, argv: Any
) -> None:
    world.lease(1, argv=argv, line="x")
    world.tick(1.0)
    world.processes.kills += 1
    world.exit(1, code, number)
    assert world.ended()["t1"]["kind"] == "oom"


def test_a_kill_long_after_the_kernels_is_not_the_kernels(world: World) -> None:
    world.lease(1, 2)
    world.processes.kills += 1
    world.tick(2 * agent.LOOK_LAST_S + agent.OOM_S)
    world.exit(1, None, 9)
    assert world.ended()["t1"]["kind"] == "signal"
    world.processes.kills += 1
    world.exit(2, 1)
    assert world.ended()["t2"]["ended"] == "exited"  # it died of nothing
