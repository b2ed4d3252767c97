"""What a link sends of running tasks that somebody follows: only that, only theirs, never twice."""

from __future__ import annotations

import pytest

from tests.agent.fakes import PART, Request, ended, lease
from tests.agent.support import agent
from tests.agent.test_link import World

SLOT = 4
PID = 101


class Followed(World):
    """A link one of whose tasks runs, in slot 4, and is followed."""

    def __init__(self) -> None:
        super().__init__()
        self.answer(self.last, parts={"p": PART}, leases=[lease(0)])
        self.hear(started=[["t0", PID, 5, self.clock.time, SLOT]])

    def writes(self, data: bytes, name: str = "stdout") -> None:
        self.disk.slots[SLOT, name] = self.disk.slots.get((SLOT, name), b"") + data

    def follow(self, *follow: tuple[str, int, int]) -> None:
        """Answer the next exchange, asking for what ``follow`` says."""
        self.tick(self.link.hold_s)
        self.answer(self.last, follow=follow)

    def queue_ended_with_file(self) -> None:
        """Have a task end that left a long stdout."""
        self.disk.slots[0, "spool"] = b"result"
        self.answer(self.last, leases=[lease(1)])
        self.hear(ended=[ended(1, stdout={"size": 6})])

    @property
    def tails(self) -> list[Request]:
        return [sent for sent in self.transport.sent if "/tail/" in sent.path]

    def pieces(self) -> list[tuple[str, bytes]]:
        return [(sent.path.partition("/attempts/")[2], sent.body) for sent in self.tails]


@pytest.fixture
def world() -> Followed:
    return Followed()


def test_nothing_is_sent_unasked(world: Followed) -> None:
    world.writes(b"one\n")
    world.follow()
    world.tick(1.0)
    assert world.pieces() == []


def test_each_stream_is_sent_from_where_the_master_is(world: Followed) -> None:
    world.writes(b"one\n")
    world.writes(b"oh\n", "stderr")
    world.follow(("t0", 0, 1), ("t0", 1, 0))
    world.answer(world.tails[-1], size=4)
    world.tick(agent.TAIL_S)
    world.answer(world.tails[-1], size=3)
    world.writes(b"two\n")
    world.tick(agent.TAIL_S)
    assert world.pieces() == [
        ("t0/tail/0?offset=1", b"ne\n"),
        ("t0/tail/1?offset=0", b"oh\n"),
        ("t0/tail/0?offset=4", b"two\n"),
    ]


def test_a_stream_that_is_not_asked_for_is_not_sent(world: Followed) -> None:
    world.writes(b"one\n")
    world.writes(b"oh\n", "stderr")
    world.follow(("t0", 1, 0))
    assert world.pieces() == [("t0/tail/1?offset=0", b"oh\n")]


def test_a_master_without_room_is_asked_again_after_a_moment(world: Followed) -> None:
    world.writes(b"one\n")
    world.follow(("t0", 0, 0))
    world.answer(world.tails[-1], status=409, size=0)
    assert len(world.tails) == 1
    world.tick(agent.TAIL_S)
    assert world.pieces() == [("t0/tail/0?offset=0", b"one\n")] * 2


def test_a_master_that_reads_elsewhere_is_followed_there(world: Followed) -> None:
    world.writes(b"one\n")
    world.follow(("t0", 0, 2))
    world.answer(world.tails[-1], status=409, size=0)
    world.tick(agent.TAIL_S)
    assert world.pieces()[-1] == ("t0/tail/0?offset=0", b"one\n")


def test_pieces_are_small_and_two_never_fly_at_once(world: Followed) -> None:
    world.writes(bytes(agent.TAIL_BYTES + 1))
    world.follow(("t0", 0, 0))
    world.tick(1.0)
    assert [len(data) for _, data in world.pieces()] == [agent.TAIL_BYTES]
    world.answer(world.tails[-1], size=agent.TAIL_BYTES)
    world.tick(agent.TAIL_S)
    assert [len(data) for _, data in world.pieces()] == [agent.TAIL_BYTES, 1]


def test_what_another_task_writes_into_the_slot_is_not_sent(world: Followed) -> None:
    world.processes.starts[PID] = 6  # reaped, and the slot with its files may be another's
    world.writes(b"of the next task\n")
    world.follow(("t0", 0, 0), ("t0", 1, 0))
    world.tick(1.0)
    assert world.pieces() == []


def test_beyond_what_is_surely_kept_nothing_is_sent(world: Followed) -> None:
    world.link.parts["p"]["output_cap"] = 10
    world.writes(b"0123456789")
    world.follow(("t0", 0, 0))
    world.answer(world.tails[-1], size=5)
    world.tick(1.0)
    assert world.pieces() == [("t0/tail/0?offset=0", b"01234")]


def test_nobody_follows_any_more(world: Followed) -> None:
    world.writes(b"one\n")
    world.follow(("t0", 0, 0))
    world.answer(world.tails[-1], size=4)
    world.follow()
    world.writes(b"two\n")
    world.tick(1.0)
    assert len(world.tails) == 1


def test_a_tail_whose_connection_breaks_is_sent_again(world: Followed) -> None:
    world.writes(b"one\n")
    world.follow(("t0", 0, 0))
    world.link.on_closed(agent.FILE_LANE)
    world.tick(agent.BACKOFF_LAST_S)
    assert world.pieces() == [("t0/tail/0?offset=0", b"one\n")] * 2


def test_a_result_waits_for_one_piece_at_the_most(world: Followed) -> None:
    world.writes(bytes(10 * agent.TAIL_BYTES))
    world.follow(("t0", 0, 0))
    world.queue_ended_with_file()
    world.answer(world.tails[-1], size=agent.TAIL_BYTES)
    assert "/files/0" in world.transport.sent[-1].path


def test_a_refused_tail_is_given_up(world: Followed) -> None:
    world.writes(b"one\n")
    world.follow(("t0", 0, 0))
    world.answer(world.tails[-1], status=403, error="not a ticket of this agent")
    world.tick(1.0)
    assert len(world.tails) == 1
    assert not world.link.gone
