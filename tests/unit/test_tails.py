"""What the master keeps of running tasks that are followed: a little, in order, for who reads it."""

from __future__ import annotations

import asyncio

import pytest

from corral.errors import StateError
from corral.ids import Incarnation
from corral.master.tails import FOLLOWED, FORGET_S, KEPT, Tails

ONE = Incarnation("one")
OTHER = Incarnation("other")


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at

    def ticks(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps here")


class Room:
    """Tails, and one reader of attempt ``t``."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.tails = Tails(self.clock)

    def put(self, offset: int, data: bytes, n: int = 0) -> tuple[bool, int]:
        return self.tails.take("t", ONE, n, offset=offset, data=data)

    def read(self, out: int | None, err: int | None = None) -> tuple[bytes, bytes]:
        return asyncio.run(self.tails.read("t", (out, err), within_s=0))


@pytest.fixture
def room() -> Room:
    return Room()


def test_the_agent_hears_of_a_reader_once_and_of_one_elsewhere_again(room: Room) -> None:
    assert room.tails.ask("t", ONE, (0, 0))
    assert not room.tails.ask("t", ONE, (0, 0))
    before = room.tails.words(ONE)
    assert room.tails.wanted(ONE) == (("t", 0, 0), ("t", 1, 0))
    assert room.tails.ask("t", ONE, (7, 0))
    assert room.tails.words(ONE) != before
    assert room.tails.wanted(ONE) == (("t", 0, 7), ("t", 1, 0))
    assert room.tails.wanted(OTHER) == ()


def test_pieces_come_in_order_and_once(room: Room) -> None:
    room.tails.ask("t", ONE, (0, None))
    assert room.put(0, b"abc") == (True, 3)
    assert room.put(0, b"abc") == (False, 3)
    assert room.put(5, b"fg") == (False, 3)
    assert room.put(3, b"de") == (True, 5)
    assert (room.read(0), room.read(4)) == ((b"abcde", b""), (b"e", b""))


def test_a_stream_that_nobody_reads_is_not_taken(room: Room) -> None:
    assert room.put(0, b"abc") == (False, 0)
    room.tails.ask("t", ONE, (0, None))
    assert room.put(0, b"abc", n=1) == (False, 0)
    assert room.tails.take("t", OTHER, 0, offset=0, data=b"abc") == (False, 0)


def test_who_reads_slowly_keeps_the_agent_waiting_and_misses_nothing(room: Room) -> None:
    room.tails.ask("t", ONE, (0, None))
    assert room.put(0, bytes(KEPT))[0]
    assert room.put(KEPT, b"x") == (False, KEPT)
    assert len(room.read(0)[0]) == KEPT
    room.tails.ask("t", ONE, (KEPT, None))
    assert room.put(KEPT, b"x") == (True, KEPT + 1)
    assert room.read(KEPT) == (b"x", b"")


def test_one_who_comes_late_gets_all_from_the_beginning(room: Room) -> None:
    room.tails.ask("t", ONE, (100, None))
    room.put(100, b"later")
    assert room.tails.ask("t", ONE, (0, None))
    assert room.read(0) == (b"", b"")
    assert room.put(105, b"!") == (False, 0)
    assert room.put(0, b"early") == (True, 5)
    assert room.read(0) == (b"early", b"")


def test_a_reader_is_answered_the_moment_something_comes(room: Room) -> None:
    async def both() -> tuple[bytes, bytes]:
        room.tails.ask("t", ONE, (0, 0))
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(room.tails.read("t", (0, 0), within_s=10), name="read")
            await asyncio.sleep(0)
            room.put(0, b"oh", n=1)
        return reading.result()

    assert asyncio.run(both()) == (b"", b"oh")


def test_a_master_that_ends_keeps_no_reader_waiting(room: Room) -> None:
    room.tails.ask("t", ONE, (0, 0))
    room.tails.close()
    assert asyncio.run(room.tails.read("t", (0, 0), within_s=10)) == (b"", b"")


def test_what_nobody_reads_any_more_is_forgotten(room: Room) -> None:
    room.tails.ask("t", ONE, (0, 0))
    room.clock.at += FORGET_S + 1
    assert room.tails.wanted(ONE) == ()
    assert not room.tails.follows("t", ONE)


def test_only_so_many_tasks_are_followed_at_once(room: Room) -> None:
    for n in range(FOLLOWED):
        room.tails.ask(f"t{n}", ONE, (0, 0))
    with pytest.raises(StateError, match="followed already"):
        room.tails.ask("t", ONE, (0, 0))
    room.clock.at += FORGET_S + 1
    room.tails.ask("t", ONE, (0, 0))
