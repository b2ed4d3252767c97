"""What tasks need of a host: who may run them, how many at once, and that nothing is given twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.engine import queries
from corral.errors import UsageError
from corral.ids import RunId, run_of
from corral.model.host import HostSpec
from corral.model.needs import Needs, Offer
from corral.model.run import Input
from corral.protocol import Report
from corral.scheduler import needs as policy
from corral.work import needs as texts
from tests.agent.test_supervisor import World as Supervised
from tests.support.world import Agent, World, ended

G = 1 << 30


@pytest.fixture
def world() -> World:
    return World()


# ------------------------------------------------------------------- words


def test_needs_as_typed() -> None:
    given = texts.typed(["cpus=2,memory=4G,gpu=1", "tags=fast,tags=big", "platform=linux-x86_64"])
    assert texts.read(given) == Needs(
        cpus=2,
        memory=4 * G,
        tags=("fast", "big"),
        platform="linux-x86_64",
        resources={"gpu": 1},
    )


@pytest.mark.parametrize(
    ("text", "column", "said", "hint"),
    [
        ("cpus=2,gpu", 8, "'gpu' is not NAME=VALUE", "cpus=2,memory=4G,gpu=1"),
        ("cpu=2", 1, "unknown need `cpu`", "did you mean `cpus`?"),
        ("gpu=1,memroy=4G", 7, "unknown need `memroy`", "did you mean `memory`?"),
        ("gpu=0", 1, "`gpu` must be a whole number from 1", "it is 0"),
        ("memory=1K", 1, "`memory` must be a size from 1M", 'it is "1K"'),
        ("platform=Linux", 1, '`platform` must be such as "linux-x86_64"', 'it is "Linux"'),
        ("slot=1", 1, "`slot` is no name for a resource", "small letters"),
        ("gpu=1,gpu=2", 7, "gpu is given twice", "leave one out"),
        ("cpus=" + "9" * 5000, 1, "`cpus` must be a whole number from 1", "it is"),
    ],
)
def test_needs_that_cannot_be_meant(text: str, column: int, said: str, hint: str) -> None:
    with pytest.raises(UsageError) as found:
        texts.typed([text])
    assert said in found.value.message
    assert hint in (found.value.hint or "")
    assert found.value.column == column


SMALL = Offer(cpus=8, memory=16 * G, platform="linux-x86_64", tags=("fast",), resources={"gpu": 2})


@pytest.mark.parametrize(
    ("needs", "why", "of_all"),
    [
        (Needs(cpus=8, memory=16 * G, tags=("fast",), resources={"gpu": 2}), "", None),
        (Needs(cpus=64), "it has 8 cpus, 64 are needed", "no host has 64 cpus; the largest is h3 with 8"),
        (
            Needs(memory=64 * G),
            "it has 16 GB of memory, 64 GB are needed",
            "no host has 64 GB of memory; the largest is h3 with 16 GB",
        ),
        (Needs(resources={"gpu": 3}), "it has 2 gpu, 3 are needed", "no host has 3 gpu; the largest is h3 with 2"),
        (Needs(resources={"tpu": 1}), "it has no tpu, 1 is needed", "no host has 1 tpu"),
        (Needs(tags=("big",)), "it has no tag big", "no host has the tag big"),
        (
            Needs(platform="linux-aarch64"),
            "it is linux-x86_64, linux-aarch64 is needed",
            "no host is linux-aarch64; there is linux-x86_64",
        ),
    ],
)  # fmt: skip
def test_why_a_host_never_can(needs: Needs, why: str, of_all: str | None) -> None:
    assert policy.why_never(needs, SMALL) == why
    if of_all is not None:
        less = msgspec.structs.replace(SMALL, cpus=2, memory=G, resources={})
        assert policy.unmeetable(needs, {"h1": less, "h3": SMALL}).what == of_all


def test_what_is_not_known_yet_keeps_nobody_away() -> None:
    assert policy.why_never(Needs(cpus=64, memory=G, platform="x-y"), Offer()) == ""


def test_what_only_different_hosts_have_is_named_together() -> None:
    offers = {"a": Offer(cpus=8), "b": Offer(cpus=1, resources={"gpu": 1})}
    said = policy.unmeetable(Needs(cpus=2, resources={"gpu": 1}), offers)
    assert said.what == "no host has all of cpus=2, gpu=1"


# ------------------------------------------------------------------- grants


def test_a_task_takes_as_many_slots_as_the_cpus_it_needs(world: World) -> None:
    world.submit("true {1..9}", needs=Needs(cpus=2))
    agent = world.agent(slots=5)
    reply = agent.say()
    assert len(reply.leases) == 2
    [part] = reply.parts.values()
    assert (part.cpus, part.slots) == (2, 2)


def test_memory_and_resources_bound_what_is_handed_out(world: World) -> None:
    world.specs["localhost"] = HostSpec(name="localhost", host="localhost", resources={"gpu": 2})
    world.submit("true {1..9}", needs=Needs(memory=2 * G, resources={"gpu": 1}))
    reply = world.agent(slots=8, memory=3 * G).say()
    assert len(reply.leases) == 1
    [part] = reply.parts.values()
    assert part.needs == {"memory": 2 * G, "gpu": 1}
    assert part.has == {"memory": 3 * G, "gpu": 2}


def test_a_host_that_never_can_gets_nothing_and_is_said_to(world: World) -> None:
    world.submit("true {1..9}")  # so that both hosts are known
    big, small = world.agent("a1", host="big", slots=8), world.agent("a2", host="small", slots=2)
    big.say()
    small.say()
    world.verb("cancel")
    world.submit("sleep {1..9}", needs=Needs(cpus=4))
    with world.store.reader() as reader:
        hosts = {host.name: host.unfit for host in queries.hosts_of(reader, RunId(2))}
    assert hosts["small"] == "it has 2 cpus, 4 are needed"
    assert hosts["big"] == ""
    assert small.say().leases == ()
    assert {run_of(lease.ticket)[0] for lease in big.say().leases} == {2}


def test_a_host_that_joins_later_is_looked_at_then(world: World) -> None:
    world.hosts = ["h"]
    world.submit("true {1..9}", needs=Needs(platform="linux-riscv64"))
    assert world.agent("a1", host="h").say().leases == ()
    with world.store.reader() as reader:
        [host] = queries.hosts_of(reader, RunId(1))
        error = queries.unusable(reader, queries.run(reader, RunId(1)), [host])
    assert host.unfit == "it is linux-x86_64, linux-riscv64 is needed"
    assert error is not None
    assert error.message == "no host is linux-riscv64; there is linux-x86_64"


def test_a_host_that_joined_after_the_end_gets_no_rerun_that_it_cannot_run(world: World) -> None:
    # Only runs that were open when it joined were looked at.
    world.hosts = ["big", "small"]
    world.submit("true {1..1}", needs=Needs(cpus=4))
    big = world.agent("a1", host="big", slots=4)
    [ticket] = big.take()
    big.say(ended(ticket))
    assert world.run().state == "done"
    small = world.agent("a2", host="small", slots=2)
    small.say()
    world.verb("rerun", 1, [1])
    assert small.say().leases == ()
    assert len(big.say().leases) == 1


def test_a_failed_task_is_not_kept_for_a_host_that_never_can(world: World) -> None:
    world.hosts = ["big", "small"]
    world.submit("true {1..1}", needs=Needs(cpus=4), retries=2)
    big, small = world.agent("a1", host="big", slots=4), world.agent("a2", host="small")
    small.say()
    [ticket] = big.take()
    again = big.say(ended(ticket, exit_code=3)).leases
    assert len(again) == 1


def test_a_task_that_failed_on_all_that_can_goes_round_again(world: World) -> None:
    # A host that never can had not failed it, and so it was kept for that for ever.
    world.hosts = ["b1", "b2", "small"]
    world.submit("true {1..1}", needs=Needs(cpus=4), retries=5)
    big, bigger = (world.agent(name, host=name, slots=4) for name in ("b1", "b2"))
    world.agent("small", host="small").say()
    [ticket] = big.take()
    big.say(ended(ticket, exit_code=3))
    [ticket] = bigger.take()
    assert len(bigger.say(ended(ticket, exit_code=3)).leases) == 1


def test_one_task_of_a_run_that_has_none_waits_for_what_others_hold(world: World) -> None:
    agent = world.agent(slots=2)
    world.submit("true {1..9}")
    agent.running += agent.take()
    world.submit("sleep {1..9}", needs=Needs(cpus=2))
    waiting = agent.take()
    assert [run_of(ticket)[0] for ticket in waiting] == [2]
    reply = agent.say(ended(agent.running[0]))
    assert reply.leases == ()  # the free slot is kept for it


def test_a_run_without_needs_gets_the_slots_that_are_left(world: World) -> None:
    world.specs["localhost"] = HostSpec(name="localhost", host="localhost", resources={"gpu": 1})
    world.submit("sleep {1..9}", needs=Needs(cpus=2, resources={"gpu": 1}))
    world.submit("true {1..9}")
    runs = Counter(run_of(ticket)[0] for ticket in world.agent(slots=5).take())
    assert runs == {1: 1, 2: 3}


def test_more_slots_than_cores_do_not_make_cpus(world: World) -> None:
    world.submit("true {1..9}", needs=Needs(cpus=2), slots=4)
    agent = world.agent(slots=2)
    assert len(agent.take()) == 1


def test_hosts_of_a_platform_get_its_files(world: World) -> None:
    world.hosts = ["arm", "intel", "riscv"]
    world.submit(
        "./sim {1..9}",
        inputs=(
            Input(path="sim", sha256="aa", size=1, mode=0o755, platform="linux-aarch64"),
            Input(path="sim", sha256="bb", size=1, mode=0o755, platform="linux-x86_64"),
        ),
    )
    sent = {}
    for host in world.hosts:
        kind = {"arm": "aarch64", "intel": "x86_64"}.get(host, host)
        reply = world.agent(host, host=host, platform=f"linux-{kind}").say()
        sent[host] = [file.sha256 for part in reply.parts.values() for file in part.inputs]
    assert sent == {"arm": ["aa"], "intel": ["bb"], "riscv": []}
    with world.store.reader() as reader:
        unfit = {host.name: host.unfit for host in queries.hosts_of(reader, RunId(1))}
    assert unfit["riscv"] == "it is linux-riscv, and no program is given for that"


def test_other_platforms_get_the_files_of_all(world: World) -> None:
    world.submit(
        "./sim {1..9}",
        inputs=(
            Input(path="sim", sha256="aa", size=1, mode=0o755, platform="linux-aarch64"),
            Input(path="sim", sha256="cc", size=1, mode=0o755),
        ),
    )
    [part] = world.agent().say().parts.values()
    assert [file.sha256 for file in part.inputs] == ["cc"]


# ------------------------------------------------------------------- the engine and the agent together


class Site:
    """A host: the engine's view of its agent, and the agent's own supervisor with fake processes."""

    def __init__(self, world: World, host: str, has: dict[str, int]) -> None:
        self.agent: Agent = world.agent(host, host=host, slots=has["cpus"], memory=has["memory"])
        self.has = has
        self.supervised = Supervised(slots=has["cpus"])
        self.reports: list[Report] = []

    def exchange(self) -> None:
        reports, self.reports = self.reports, []
        self.agent.running = self.supervised.running()
        reply = self.agent.say(*reports)
        self.agent.held += [lease.ticket for lease in reply.leases]
        self.supervised.hear(
            slots=reply.slots,
            parts=msgspec.to_builtins(reply.parts),
            leases=msgspec.to_builtins(reply.leases),
        )
        self.check()

    def finish(self, at: int) -> None:
        """Let one of the running tasks end."""
        running = self.supervised.running()
        ticket = running[at % len(running)]
        pid = self.supervised.processes.pid_of(ticket)
        self.supervised.processes.alive.discard(pid)
        self.supervised.supervisor.on_exit(pid, 0, None, 0.5, 1000)
        self.supervised.tick()
        self.reports.append(ended(ticket))
        self.check()

    def check(self) -> None:
        """Nothing is given twice: neither a slot, nor memory, nor a gpu."""
        taken: Counter[str] = Counter()
        held: list[int] = []
        for task in self.supervised.supervisor.tasks.values():
            taken.update({"cpus": task.part.cpus, **task.part.needs})
            held += task.holds.get("gpu", [])
            assert len(task.holds.get("gpu", [])) == task.part.needs.get("gpu", 0)
        assert all(taken[name] <= self.has[name] for name in taken), (taken, self.has)
        assert len(set(held)) == len(held)
        assert all(number < self.has["gpu"] for number in held)


HAS = st.fixed_dictionaries(
    {"cpus": st.integers(1, 6), "memory": st.integers(1, 8).map(lambda n: n * G), "gpu": st.integers(1, 3)}
)  # fmt: skip
NEEDS = st.builds(
    Needs,
    cpus=st.integers(1, 4),
    memory=st.integers(0, 4).map(lambda n: n * G),
    resources=st.one_of(st.just({}), st.integers(1, 2).map(lambda n: {"gpu": n})),
)


@given(
    hosts=st.lists(HAS, min_size=1, max_size=3),
    wanted=st.lists(NEEDS, min_size=1, max_size=4),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 99)), max_size=60),
)
def test_nothing_is_given_twice_and_everything_ends(
    hosts: list[dict[str, int]], wanted: list[Needs], steps: list[tuple[bool, int]]
) -> None:
    world = World()
    world.hosts = [f"h{n}" for n in range(len(hosts))]
    for name, has in zip(world.hosts, hosts, strict=True):
        world.specs[name] = HostSpec(name=name, host=name, resources={"gpu": has["gpu"]})
    for number, needs in enumerate(wanted):
        world.submit(f"r{number} {{1..7}}", needs=needs)
    sites = [Site(world, name, has) for name, has in zip(world.hosts, hosts, strict=True)]
    for talks, at in steps:
        site = sites[at % len(sites)]
        if talks or not site.supervised.running():
            site.exchange()
        else:
            site.finish(at)
    _see_through(world, sites)
    for number, needs in enumerate(wanted, 1):
        fits = any(policy.at_once(needs.amounts, has) for has in hosts)
        done = world.run(number).counts["done"]
        assert done == (7 if fits else 0), (number, needs)


def _see_through(world: World, sites: list[Site]) -> None:
    """Let everything end that runs, again and again; each round must end something."""
    while True:
        for site in sites:
            site.exchange()
        if not any(site.supervised.running() for site in sites):
            assert all(not site.agent.held for site in sites), "a ticket that nothing starts"
            return
        for site in sites:
            while site.supervised.running():
                site.finish(0)


def test_a_large_task_is_not_starved_by_small_ones() -> None:
    world = World()
    site = Site(world, "localhost", {"cpus": 4, "memory": 8 * G, "gpu": 1})
    small = world.submit("small {1..500}").run
    site.exchange()
    large = world.submit("large {1..3}", needs=Needs(cpus=4)).run
    ends: Counter[Any] = Counter()
    while not world.run(large).counts["done"]:
        site.exchange()
        ends[run_of(site.supervised.running()[0])[0]] += 1
        site.finish(0)
        site.exchange()
        assert ends[small] < 20, "it starves"
