"""The rules of exchange numbers, retries and farewells, on a virtual clock."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from corral import protocol
from tests.agent import fakes
from tests.agent.fakes import PART, Request, ended, lease
from tests.agent.support import agent

SLOT = 1
TABLE = {"slots": 2, "stop": "", "short": "", "parts": {}, "queued": [], "running": [], "ended": []}


class World:
    """A link with its fakes; replies are signed as the master signs them."""

    def __init__(self, *, collect: bool = False, disk: fakes.Disk | None = None) -> None:
        self.clock = fakes.Clock()
        self.transport = fakes.Transport()
        self.disk = disk or fakes.Disk()
        self.processes = fakes.Processes(self.clock)
        self.port = fakes.Port()
        self.due: float | None = None
        self.link: Any = agent.Link(
            fakes.config(),
            self.clock,
            self.transport,
            self.disk,
            self.processes,
            None if collect else self.port,
            {"protocol": 1},
        )
        if not collect:
            self.hear(table=TABLE)
        self.tick()

    def tick(self, seconds: float = 0.0) -> None:
        """Let time pass, doing what is due when it is due."""
        until = self.clock.time + seconds
        while True:
            self.due = self.link.tick(self.clock.time)
            if self.due is None or self.clock.time + self.due > until:
                break
            self.clock.time += self.due
        self.clock.time = until

    def hear(self, **message: Any) -> None:
        self.link.on_port(message)
        self.tick()

    @property
    def last(self) -> Request:
        return self.exchanges[-1]

    @property
    def exchanges(self) -> list[Request]:
        return [sent for sent in self.transport.sent if sent.method == "POST"]

    def answer(
        self, request: Request, status: int = 200, key: bytes = fakes.KEY, **reply: Any
    ) -> None:
        words = {"number": request.number, "slots": 2} | reply
        body = msgspec.json.encode(words)
        self.answer_bytes(request, body, status, key)

    def answer_bytes(
        self, request: Request, body: bytes, status: int = 200, key: bytes = fakes.KEY
    ) -> None:
        signed = protocol.signature(
            key, f"reply {status}", request.method, request.path, request.number, body
        )
        self.link.on_reply(request.lane, status, signed, body)
        self.tick()

    def queue(self, count: int) -> None:
        """Have so many leases queued at the supervisor, and the last exchange answered."""
        self.answer(self.last, parts={"p": PART}, leases=[lease(n) for n in range(count)])


@pytest.fixture
def world() -> World:
    return World()


def test_first_word_waits_for_the_supervisors_table() -> None:
    transport = fakes.Transport()
    clock = fakes.Clock()
    link = agent.Link(
        fakes.config(), clock, transport, fakes.Disk(), fakes.Processes(clock), fakes.Port(), {}
    )
    assert link.tick(clock.now()) is None
    assert transport.sent == []


def test_first_exchange_says_facts_and_want(world: World) -> None:
    assert len(world.exchanges) == 1
    said = world.last.said
    assert (said["facts"], said["want"]) == ({"protocol": 1}, 2)
    world.answer(world.last, leases=[], hold_s=2.0)
    world.tick(2.0)
    assert "facts" not in world.last.said


def test_facts_are_repeated_until_an_answer_counts(world: World) -> None:
    world.tick(agent.SLOW_S)
    world.hear(ended=[ended(1)])
    assert [r.said["facts"] for r in world.exchanges] == [{"protocol": 1}] * 2


def test_every_message_decodes_as_the_protocol_says(world: World) -> None:
    world.queue(3)
    world.hear(started=[["t0", 101, 5, world.clock.time, SLOT]])
    world.tick(1.5)
    world.hear(ended=[ended(1, stdout={"size": 1, "inline": "eA=="})])
    exchange = msgspec.json.decode(world.last.body, type=protocol.Exchange)
    assert exchange.queued == ("t2",)
    assert exchange.running == (("t0", 1.5),)
    assert exchange.ended == ("t1",)
    [report] = exchange.reports
    assert report.stdout.inline == b"x"
    assert len(report.digest) == 64


def test_next_exchange_is_due_hold_s_after_the_last_was_sent(world: World) -> None:
    world.answer(world.last, hold_s=3.0)
    world.tick(0.5)
    world.answer(world.last, hold_s=3.0)
    world.tick(2.4)
    assert len(world.exchanges) == 2
    world.tick(0.2)
    assert len(world.exchanges) == 3


def test_an_idle_host_that_may_be_held_longer_is_so_at_once(world: World) -> None:
    """It would hear of nothing until then: a lone task would wait for it, or a stop."""
    world.answer(world.last, hold_s=20.0)
    assert len(world.exchanges) == 2
    assert world.link.newest.state == "flying"
    world.tick(29.9)
    assert len(world.exchanges) == 2


def test_free_slots_are_told_at_once_after_something_was_given(world: World) -> None:
    world.answer(world.last, parts={"p": PART}, leases=[lease(1)], hold_s=5.0)
    assert world.last.said["want"] == 1  # one of two slots has nothing queued
    assert len(world.exchanges) == 2


def test_answer_with_nothing_new_is_not_asked_for_again_at_once(world: World) -> None:
    world.answer(world.last, hold_s=5.0)
    world.answer(world.last, hold_s=5.0, kill=["unknown"], answered=["unknown"])
    world.tick(4.9)
    assert len(world.exchanges) == 2


def test_report_while_one_is_held_goes_out_as_the_next_number_on_the_other_lane(
    world: World,
) -> None:
    world.answer(world.last, hold_s=1.0)
    world.tick(1.0)
    held = world.last
    world.hear(ended=[ended(1)])
    newest = world.last
    assert newest.number == held.number + 1
    assert newest.lane != held.lane
    assert [r["ticket"] for r in newest.said["reports"]] == ["t1"]


def test_only_the_reply_to_the_newest_number_counts(world: World) -> None:
    world.answer(world.last, hold_s=1.0)
    world.tick(1.0)
    held = world.last
    world.hear(ended=[ended(1)])
    world.answer(held, parts={"p": PART}, leases=[lease(7)], stop="now")
    assert world.port.said("leases") == []
    assert world.port.said("stop") == []
    world.answer(world.last, parts={"p": PART}, leases=[lease(7)], answered=["t1"])
    assert [[x["ticket"] for x in leases] for leases in world.port.said("leases")] == [["t7"]]


def test_exchange_with_reports_is_overtaken_only_when_the_master_is_slow(world: World) -> None:
    for _ in range(2):
        world.answer(world.last, hold_s=9.0)
    world.hear(ended=[ended(1)])
    first = world.last
    world.tick(0.2)
    world.hear(ended=[ended(2)])
    assert world.last is first
    world.tick(agent.SLOW_S)
    assert world.last.number == first.number + 1
    assert [r["ticket"] for r in world.last.said["reports"]] == ["t1", "t2"]


def test_third_exchange_waits_for_a_lane(world: World) -> None:
    world.answer(world.last, hold_s=20.0)
    world.tick(20.0)
    world.hear(ended=[ended(1)])
    world.tick(agent.SLOW_S)
    world.hear(ended=[ended(2)])
    count = len(world.exchanges)
    world.tick(2 * agent.SLOW_S)
    assert len(world.exchanges) == count
    world.answer(world.exchanges[-2])  # the overtaken one
    assert len(world.exchanges) == count + 1


def test_retry_repeats_number_and_bytes_after_a_growing_pause(world: World) -> None:
    first = world.last
    pauses = []
    for _ in range(10):
        world.link.on_closed(world.last.lane)
        broken_at = world.clock.time
        count = len(world.exchanges)
        while len(world.exchanges) == count:
            world.tick(0.001)
        pauses.append(round(world.clock.time - broken_at, 2))
    assert {(r.number, r.body) for r in world.exchanges} == {(first.number, first.body)}
    assert pauses == [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0, 1.0]


def test_news_wait_while_the_newest_is_being_retried(world: World) -> None:
    first = world.last
    world.link.on_closed(first.lane)
    world.hear(ended=[ended(1)])
    world.tick(0.05)
    assert world.last.body == first.body
    world.answer(world.last)
    assert [r["ticket"] for r in world.last.said["reports"]] == ["t1"]


def test_overtaken_exchange_is_not_retried(world: World) -> None:
    world.answer(world.last, hold_s=1.0)
    world.tick(1.0)
    held = world.last
    world.hear(ended=[ended(1)])
    count = len(world.exchanges)
    world.link.on_closed(held.lane)
    world.tick(0.9)
    assert len(world.exchanges) == count


def test_silence_breaks_the_connection_and_repeats(world: World) -> None:
    first = world.last
    world.tick(2.0 + agent.REPLY_S - 0.1)
    assert world.transport.closed == []
    world.tick(0.2)
    assert world.transport.closed == [first.lane]
    assert world.last.body == first.body
    assert len(world.exchanges) == 2


def test_wrong_signature_closes_and_repeats(world: World) -> None:
    first = world.last
    world.answer(first, key=b"other", stop="now", leases=[lease(1)], parts={"p": PART})
    assert world.transport.closed == [first.lane]
    assert world.port.said("stop") == world.port.said("leases") == []
    world.tick(0.02)
    assert (world.last.number, world.last.body) == (first.number, first.body)


def test_reply_to_another_number_is_no_reply(world: World) -> None:
    first = world.last
    other = Request(first.lane, first.method, first.path, first.number + 1, first.body)
    world.answer(other, stop="now")
    assert world.port.said("stop") == []


@pytest.mark.parametrize("status", [400, 401, 500, 503])
def test_refusal_is_retried_without_hurry(world: World, status: int) -> None:
    first = world.last
    world.answer_bytes(first, b'{"error": "later"}', status)
    world.tick(0.9)
    assert len(world.exchanges) == 1
    world.tick(0.2)
    assert world.last.body == first.body


def test_signed_gone_ends_it_and_unsigned_does_not(world: World) -> None:
    world.answer_bytes(world.last, b'{"error": "?", "gone": true}', 410, key=b"forged")
    assert world.port.said("stop") == []
    world.tick(0.02)
    world.answer_bytes(world.last, b'{"error": "?", "gone": true}', 410)
    assert world.port.said("stop") == ["now"]
    assert world.link.over == "remove"


def test_burst_is_told_in_steps(world: World) -> None:
    world.queue(100)
    count = len(world.exchanges)
    for n in range(50):
        world.hear(ended=[ended(n)])
        if world.last.lane in world.link.flights:
            reported = [r["ticket"] for r in world.last.said["reports"]]
            world.answer(world.last, answered=reported)
        world.tick(0.005)
    steps = len(world.exchanges) - count
    assert 4 <= steps <= 6  # 0.25 s, one in 50 ms


def test_deep_queue_is_told_of_in_longer_steps(world: World) -> None:
    world.queue(agent.DEEP * 2 + 50)
    sent_at = world.clock.time
    world.hear(ended=[ended(1)])
    world.tick(agent.DEEP_S - 0.01)
    assert "t1" not in [r["ticket"] for r in world.last.said["reports"]]
    world.tick(0.02)
    assert [r["ticket"] for r in world.last.said["reports"]] == ["t1"]
    assert world.clock.time - sent_at < 0.2


def test_report_is_told_at_once_when_the_queue_runs_dry(world: World) -> None:
    world.queue(3)
    world.hear(started=[["t0", 101, 5, 0.0, SLOT], ["t1", 102, 5, 0.0, SLOT]])
    world.tick(0.001)
    world.hear(ended=[ended(0)])
    assert [r["ticket"] for r in world.last.said["reports"]] == ["t0"]


def test_ticket_leased_twice_counts_once(world: World) -> None:
    world.queue(1)
    world.answer(world.last, parts={"p": PART}, leases=[lease(0), lease(1)])
    world.hear(ended=[ended(1)])
    world.answer(world.last, parts={"p": PART}, leases=[lease(1)])
    given = [x["ticket"] for leases in world.port.said("leases") for x in leases]
    assert given == ["t0", "t1"]


@pytest.mark.parametrize("ticket", ["", "../x", "a/b", ".hidden", "x" * 65, "a\0b"])
def test_ticket_that_cannot_name_a_file_is_ignored(world: World, ticket: str) -> None:
    world.answer(world.last, parts={"p": PART}, leases=[lease(1, ticket=ticket)])
    assert world.port.said("leases") == []


def test_want_respects_the_limit_of_a_run(world: World) -> None:
    narrow = {"run": "r", "slots": 1}
    world.answer(world.last, parts={"p": narrow}, leases=[lease(1), lease(2), lease(3)])
    assert world.last.said["want"] == 1  # the second slot cannot be used by this run


def test_want_counts_the_slots_that_each_task_takes(world: World) -> None:
    wide = {"run": "r", "cpus": 2}
    leases = [lease(1, part="w"), lease(2), lease(3)]
    world.answer(world.last, slots=6, parts={"w": wide, "p": PART}, leases=leases)
    assert world.last.said["want"] == 2  # four of six are taken


def test_answered_reports_are_forgotten(world: World) -> None:
    world.answer(world.last)
    world.hear(ended=[ended(1), ended(2)])
    assert [r["report"]["ticket"] for r in world.disk.lines] == ["t1", "t2"]
    assert world.port.said("noted") == [["t1", "t2"]]
    world.answer(world.last, answered=["t1"])
    assert [r["report"]["ticket"] for r in world.disk.lines] == ["t2"]
    world.tick(2.0)
    assert world.last.said["ended"] == ["t2"]
    assert [r["ticket"] for r in world.last.said["reports"]] == ["t2"]


def test_lease_is_given_back_only_if_it_has_not_started(world: World) -> None:
    missing = {"path": "data", "sha256": "ab", "size": 3}
    world.disk.absent = {"ab"}
    leases = [lease(0), lease(1), lease(2, inputs=[missing])]
    world.answer(world.last, parts={"p": PART}, leases=leases, hold_s=0.1)
    world.hear(started=[["t0", 101, 5, 0.0, SLOT]])
    world.tick(0.1)
    world.answer(world.last, back=["t0", "t1", "t2", "unknown"])
    assert world.port.said("back") == [["t1"]]
    assert world.port.said("kill") == []
    world.tick(agent.BURST_S)
    assert [(r["ticket"], r["ended"]) for r in world.last.said["reports"]] == [("t2", "returned")]


def test_files_are_removed_after_the_journal_says_so(world: World) -> None:
    """Bug: a link that died in between reported again, without the files."""
    world.answer(world.last)
    world.hear(ended=[ended(1) | {"outputs": [["out", "file"]]}])
    world.answer(world.last, answered=["t1"])
    assert world.disk.forgotten == ["t1"]


def test_table_counts_once(world: World) -> None:
    """Bug: a link that got its table too late had started tasks granted again."""
    world.queue(1)
    world.hear(table=TABLE | {"slots": 7, "queued": [lease(5)]})
    world.tick(2.0)
    assert world.last.said["queued"] == ["t0"]
    assert world.last.said["want"] == 1


def test_full_disk_leaves_the_record_with_the_supervisor(world: World) -> None:
    world.answer(world.last)
    world.disk.full = True
    world.hear(ended=[ended(1)])
    assert world.port.said("noted") == []
    assert world.last.said["reports"][0]["ticket"] == "t1"
    world.answer(world.last, answered=["t1"])
    assert world.port.said("noted") == [["t1"]]


def test_reports_beyond_an_exchange_follow_in_the_next(world: World) -> None:
    world.answer(world.last)
    big = {"size": 60000, "inline": "A" * 80000}
    world.hear(ended=[ended(n, stdout=big) for n in range(20)])
    first = [r["ticket"] for r in world.last.said["reports"]]
    assert len(world.last.body) < 1 << 20
    assert 5 < len(first) < 20
    world.answer(world.last, answered=first)
    second = [r["ticket"] for r in world.last.said["reports"]]
    assert second[0] == f"t{len(first)}"


def test_without_a_master_nothing_new_starts_and_then_it_ends(world: World) -> None:
    world.queue(1)
    world.link.on_closed(world.last.lane)
    silence = {"start": world.clock.time}
    while not world.link.over:
        world.tick(0.1)
        for lane in list(world.link.flights):
            world.link.on_closed(lane)
        if world.port.said("hold") and world.port.said("hold")[-1] and "hold" not in silence:
            silence["hold"] = world.clock.time
        if world.port.said("stop") and "stop" not in silence:
            silence["stop"] = world.clock.time
            world.hear(ended=[agent.returned("t0", "stopping")])
    assert silence["hold"] - silence["start"] == pytest.approx(15, abs=0.2)
    assert silence["stop"] - silence["start"] == pytest.approx(60, abs=0.2)
    assert world.port.said("stop") == ["drain"]
    assert world.link.over == "keep"
    assert [line["report"]["ended"] for line in world.disk.lines] == ["returned"]


def test_master_that_comes_back_releases_the_hold(world: World) -> None:
    world.queue(1)
    for _ in range(160):
        world.link.on_closed(world.last.lane)
        world.tick(0.1)
    assert world.port.said("hold")[-1] is True
    world.tick(1.0)
    world.answer(world.last)
    assert world.port.said("hold")[-1] is False


def test_running_task_keeps_it_alive_without_a_master(world: World) -> None:
    world.queue(1)
    world.hear(started=[["t0", 101, 5, 0.0, SLOT]])
    for _ in range(700):
        if world.last.lane in world.link.flights:
            world.link.on_closed(world.last.lane)
        world.tick(0.2)
    assert not world.link.over
    world.hear(ended=[ended(0)])
    world.tick(0.1)
    assert world.link.over == "keep"


def test_a_run_that_asked_for_it_is_ended_when_no_master_comes(world: World) -> None:
    part = PART | {"stop_after_s": 100.0}
    leases = [lease(0), lease(1, part="q")]
    world.answer(world.last, parts={"p": part, "q": PART}, leases=leases)
    world.hear(started=[[f"t{n}", 101 + n, 5, world.clock.time, SLOT] for n in (0, 1)])
    lost_at = world.clock.time
    while not world.port.said("kill"):
        for lane in list(world.link.flights):
            world.link.on_closed(lane)
        world.tick(0.5)
    assert world.clock.time - lost_at == pytest.approx(100, abs=3)  # from the first word unanswered
    assert world.port.said("kill") == [["t0"]]  # the other one's run would rather go on
    world.hear(ended=[ended(0, ended="killed", exit=None, signal=15)])
    [line] = world.disk.lines
    assert line["report"]["ended"] == "returned"  # nobody asked for it: it costs the task nothing
    assert not world.link.over


def test_an_agent_with_nothing_to_tell_leaves_nothing_behind(world: World) -> None:
    world.answer(world.last)
    while not world.link.over:
        for lane in list(world.link.flights):
            world.link.on_closed(lane)
        world.tick(0.5)
    assert world.link.over == "remove"


def test_bye_is_said_when_all_is_answered(world: World) -> None:
    world.queue(1)
    world.answer(world.last, stop="drain")
    assert world.port.said("stop") == ["drain"]
    assert not world.last.said.get("bye")
    world.hear(ended=[ended(0)])
    assert not world.last.said.get("bye")
    world.answer(world.last, answered=["t0"])
    assert world.last.said["bye"]
    assert not world.link.over
    world.answer(world.last)
    assert world.link.over == "remove"


def test_bye_that_nobody_hears_is_said_for_a_while(world: World) -> None:
    world.answer(world.last, stop="now")
    assert world.last.said["bye"]
    for _ in range(20):
        if world.last.lane in world.link.flights:
            world.link.on_closed(world.last.lane)
        world.tick(1.0)
    assert world.link.over == "remove"


def test_lease_that_comes_while_draining_is_returned(world: World) -> None:
    world.answer(world.last, stop="drain", parts={"p": PART}, leases=[lease(5)])
    assert [r["ended"] for r in world.last.said["reports"]] == ["returned"]
    assert world.last.said["want"] == 0


def test_collecting_life_reports_the_journal_and_goes() -> None:
    disk = fakes.Disk()
    disk.lines = [ended(1), ended(2)]
    disk.generation = 3
    world = World(collect=True, disk=disk)
    assert world.last.number > 4 * agent.GENERATION
    assert world.last.said["want"] == 0
    assert world.last.said["collects"]
    assert [r["ticket"] for r in world.last.said["reports"]] == ["t1", "t2"]
    world.answer(world.last, answered=["t1", "t2"])
    assert world.last.said["bye"]
    world.answer(world.last)
    assert world.link.over == "remove"


def test_dead_supervisors_started_tasks_are_returned_and_the_queue_goes_on(world: World) -> None:
    world.queue(4)
    world.hear(started=[["t0", 101, 5, 0.0, SLOT]])
    world.processes.alive = {101}
    world.disk.starts = ["t0", "t1"]  # t1 was started and not told
    world.link.on_port_closed()
    world.tick()
    assert (101, 9) in world.processes.signals
    world.tick(agent.BURST_S)
    reports = [r for sent in world.exchanges for r in sent.said["reports"]]
    assert {(r["ticket"], r["ended"]) for r in reports} == {("t0", "returned"), ("t1", "returned")}
    assert all(r["started"] for r in reports)  # bug: the next attempt was called the first
    [port] = world.processes.peers
    assert [[x["ticket"] for x in leases] for leases in port.said("leases")] == [["t2", "t3"]]


def test_new_supervisor_waits_until_the_old_ones_tasks_are_dead(world: World) -> None:
    world.queue(1)
    world.hear(started=[["t0", 101, 5, 0.0, SLOT]])
    world.processes.alive = world.processes.stubborn = {101}
    world.link.on_port_closed()
    world.tick(agent.UNCLEAN_S - 0.5)
    assert world.processes.peers == []
    world.tick(2.0)
    assert len(world.processes.peers) == 1
    [report] = list(world.link.ended.values())
    assert report["report"]["message"] == "the supervisor died; unclean: pid 101"


def test_link_that_was_stopped_as_it_killed_tries_for_as_long_as_any(world: World) -> None:
    world.queue(1)
    world.hear(started=[["t0", 101, 5, 0.0, SLOT]])
    world.processes.alive = world.processes.stubborn = {101}
    world.link.on_port_closed()
    world.tick()
    world.clock.time += 3600.0
    world.tick(agent.UNCLEAN_S - 0.5)
    assert world.processes.peers == []
    world.tick(2.0)
    assert len(world.processes.peers) == 1


def test_supervisors_that_die_young_are_started_ever_more_slowly(world: World) -> None:
    times = []
    for n in range(1, 6):
        world.link.on_port_closed()
        died = world.clock.time
        while len(world.processes.peers) < n:
            world.tick(0.001)
        times.append(round(world.clock.time - died, 2))
    assert times == [0.01, 0.02, 0.04, 0.08, 0.16]


def test_supervisors_that_cannot_live_end_the_agent(world: World) -> None:
    """Bug: with its folder removed, one died after another, and what was leased waited for ever."""
    world.queue(2)
    for n in range(1, agent.YOUNG_DEATHS):
        world.link.on_port_closed()
        while len(world.processes.peers) < n:
            world.tick(0.01)
    assert not world.link.stop
    world.link.on_port_closed()
    world.tick(agent.BACKOFF_LAST_S)
    assert len(world.processes.peers) == agent.YOUNG_DEATHS - 1
    reports = [r for sent in world.exchanges for r in sent.said["reports"]]
    assert {(r["ticket"], r["ended"]) for r in reports} == {("t0", "returned"), ("t1", "returned")}
    world.answer(world.last, answered=["t0", "t1"])
    assert world.last.said["bye"]


def test_supervisors_that_lived_do_not_end_the_agent(world: World) -> None:
    for n in range(1, 2 * agent.YOUNG_DEATHS):
        world.answer(world.last)
        world.tick(agent.MEND_S + 1.0)
        world.link.on_port_closed()
        world.tick(agent.BACKOFF_FIRST_S)
        assert len(world.processes.peers) == n
    assert not world.link.stop


def test_file_that_altered_is_fetched_again(world: World) -> None:
    item = {"path": "data", "sha256": "ab", "size": 3}
    world.answer(world.last, parts={"p": PART}, leases=[lease(1, inputs=[item])])
    world.hear(altered=[["t1", "ab", "444"]])
    fetch = world.transport.sent[-1]
    assert (fetch.method, fetch.path) == ("GET", "/agent/v1/blobs/ab?offset=0")
    world.answer_bytes(fetch, b"abc")
    given = [x["ticket"] for leases in world.port.said("leases") for x in leases]
    assert given == ["t1", "t1"]


def test_progress_is_told_until_an_answer_counts_and_then_only_when_it_changes(
    world: World,
) -> None:
    world.queue(2)
    world.hear(started=[["t0", 101, 5, world.clock.time, SLOT]])
    world.disk.progresses["t0"] = "half"
    world.tick(2.0)
    assert world.last.said["progress"] == [["t0", "half"]]
    world.tick(30.0)  # no answer comes: it is said again, by the same bytes
    assert world.last.said["progress"] == [["t0", "half"]]
    world.answer(world.last)
    world.tick(2.0)
    assert "progress" not in world.last.said
    world.disk.progresses["t0"] = "done"
    world.answer(world.last)
    world.tick(2.0)
    assert world.last.said["progress"] == [["t0", "done"]]


def test_progress_is_looked_for_once_a_second(world: World) -> None:
    world.queue(2)
    world.hear(
        started=[["t0", 101, 5, world.clock.time, SLOT], ["t1", 102, 5, world.clock.time, SLOT]]
    )
    world.disk.progresses["t0"] = "half"
    world.tick(agent.PROGRESS_S + 0.1)
    world.hear(ended=[ended(1)])
    assert world.last.said["progress"] == [["t0", "half"]]
    world.answer(world.last)
    world.disk.progresses["t0"] = "more"
    world.hear(ended=[ended(2)])
    assert "progress" not in world.last.said


def test_a_full_disk_is_told_at_once_and_wants_nothing(world: World) -> None:
    world.answer(world.last)
    world.hear(short="no room")
    assert (world.last.said["short"], world.last.said["want"]) == ("no room", 0)
    world.answer(world.last)
    world.hear(short="")
    assert "short" not in world.last.said
    assert world.last.said["want"] == 2


def test_an_idle_host_without_room_still_listens(world: World) -> None:
    """It wanted nothing, so it heard of a stop only at its next beat, 20 s later."""
    world.hear(short="no room", ended=[ended(1)])
    world.answer(world.last, answered=["t1"], hold_s=20.0)
    assert world.link.newest.state == "flying"


def test_times_are_passed_on_when_they_change_and_to_a_new_supervisor(world: World) -> None:
    for _ in range(2):
        world.answer(world.last, timeouts={"p": 4.5})
        world.tick(2.0)
    assert world.port.said("timeouts") == [{"p": 4.5}]
    world.link.on_port_closed()
    world.tick(1.0)
    assert world.processes.peers[-1].said("timeouts") == [{"p": 4.5}]
