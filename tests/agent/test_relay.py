"""Do both ends of a login understand each other, and does a new relay take the place of an old one?"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.agent import FRAME
from corral.fleet import relay
from corral.fleet.bootstrap import SHELL, Payload
from corral.fleet.relay import Login
from tests.agent.support import AGENT, alive, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RELAY = (
    "import importlib.util, sys;"
    "spec = importlib.util.spec_from_file_location('agent', sys.argv[1]);"
    "agent = importlib.util.module_from_spec(spec); spec.loader.exec_module(agent);"
    "agent.title_relay({'owner': 'o', 'incarnation': 'i'});"
    "relay = agent.Relay(sys.argv[2].encode()); agent.os.write(2, b'up'); relay.run()"
)


# ---------------------------------------------------------------- the master's end


class Pipe(asyncio.Transport):
    """The login's stdin: keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        del high, low

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


class Listener(asyncio.Protocol):
    """The master's listener: keeps what it is told."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.told: list[str] = []  # to wait with its words, or to go on
        self.lost = False
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def pause_writing(self) -> None:
        self.told.append("wait")

    def resume_writing(self) -> None:
        self.told.append("go on")

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.lost = True


class World:
    """A login with ends that are only kept."""

    def __init__(self, listener: type[Listener] = Listener) -> None:
        self._listener = listener
        self.payload = Payload({"owner": "o"})
        self.pipe = Pipe()
        self.listeners: list[Listener] = []
        self.committed = 0
        self.login = Login(self.payload, connect=self._connect, committed=self._commit)
        self.login.connection_made(self.pipe)

    def hear(self, data: bytes, sizes: list[int]) -> None:
        """Have the login read this in pieces of these sizes, over and over."""
        place, turn = 0, 0
        while place < len(data):
            size = sizes[turn % len(sizes)]
            self.login.data_received(data[place : place + size])
            place, turn = place + size, turn + 1

    def answer(self) -> bytes:
        return SHELL + b"\n\n" + self.payload.mark + b' {"folder": "/f"}\n'

    def _connect(self) -> Listener:
        self.listeners.append(self._listener())
        return self.listeners[-1]

    def _commit(self) -> None:
        self.committed += 1


def frame(number: int, data: bytes) -> bytes:
    return number.to_bytes(4, "big") + len(data).to_bytes(4, "big") + data


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Take frames apart."""
    found = []
    while data:
        size = int.from_bytes(data[4:8], "big")
        found.append((int.from_bytes(data[:4], "big"), data[8 : 8 + size]))
        data = data[8 + size :]
    return found


SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=6)
NOISE = st.lists(st.binary(max_size=30).filter(lambda b: not b.endswith(SHELL)), max_size=5)


@given(noise=NOISE, sizes=SIZES, said=st.lists(st.tuples(st.integers(1, 5), st.binary(min_size=1))))
def test_however_it_arrives_each_stream_is_heard_whole(
    noise: list[bytes], sizes: list[int], said: list[tuple[int, bytes]]
) -> None:
    async def hear() -> None:
        world = World()
        order = sorted({number for number, _ in said})  # streams are numbered as they are opened
        opens = b"".join(frame(number, b"<") for number in order)
        before = b"".join(line.replace(b"\n", b"") + b"\n" for line in noise)
        world.hear(before + world.answer() + opens + b"".join(frame(*one) for one in said), sizes)
        assert world.login.answer.result() == {"folder": "/f"}
        assert world.committed == 1
        assert bytes(world.pipe.written) == world.payload.whole() + frame(0, b"")
        heard = {n: bytes(one.heard) for n, one in zip(order, world.listeners, strict=True)}
        assert heard == {n: b"<" + b"".join(d for m, d in said if m == n) for n in order}

    asyncio.run(hear())


@given(st.lists(st.binary(max_size=3 * FRAME), min_size=1, max_size=4))
@settings(max_examples=20)
def test_streams_take_turns_in_frames_of_limited_size(said: list[bytes]) -> None:
    async def speak() -> None:
        world = World()
        world.login.data_received(world.answer())
        world.pipe.written.clear()
        for number in range(1, len(said) + 1):
            world.login.data_received(frame(number, b"?"))
        world.login.pause_writing()
        for one, data in zip(world.listeners, said, strict=True):
            one.transport.write(data)
            one.transport.close()
        assert not world.pipe.written
        world.login.resume_writing()
        sent = frames(bytes(world.pipe.written))
        assert all(len(data) <= FRAME for _, data in sent)
        for number, data in enumerate(said, 1):
            mine = [piece for n, piece in sent if n == number]
            assert b"".join(mine) == data
            assert mine[-1] == b""
        full = [n for n, data in sent if len(data) == FRAME]
        assert full[: len(set(full))] == sorted(set(full))  # nobody twice before each had a turn

    asyncio.run(speak())


@pytest.mark.parametrize("size", [FRAME + 1, 2**32 - 1])
def test_a_frame_larger_than_any_of_ours_ends_the_login(size: int) -> None:
    async def hear() -> None:
        world = World()
        world.login.data_received(world.answer())
        world.login.data_received((1).to_bytes(4, "big") + size.to_bytes(4, "big"))
        assert world.pipe.closed
        assert not world.listeners

    asyncio.run(hear())


def test_late_words_of_a_stream_that_ended_here_open_no_other() -> None:
    async def hear() -> None:
        world = World()
        world.login.data_received(world.answer() + frame(1, b"a"))
        world.listeners[0].transport.close()
        world.login.data_received(frame(1, b"late") + frame(2, b"b"))
        assert [bytes(one.heard) for one in world.listeners] == [b"a", b"b"]

    asyncio.run(hear())


def test_a_host_cannot_open_streams_without_end() -> None:
    async def hear() -> None:
        world = World()
        world.login.data_received(world.answer())
        for number in range(1, 1000):
            world.login.data_received(frame(number, b"?"))
        assert len(world.listeners) == relay.MOST_STREAMS

    asyncio.run(hear())


def test_a_stream_too_many_is_ended_and_never_begun_in_its_middle() -> None:
    async def hear() -> None:
        world = World()
        world.login.data_received(world.answer())
        for number in range(1, relay.MOST_STREAMS + 2):
            world.login.data_received(frame(number, b"a"))
        late = relay.MOST_STREAMS + 1
        assert frames(bytes(world.pipe.written).partition(frame(0, b""))[2]) == [(late, b"")]
        world.login.data_received(frame(1, b"") + frame(late, b"b") + frame(late + 1, b"c"))
        assert [bytes(one.heard) for one in world.listeners] == [b"a"] * relay.MOST_STREAMS + [b"c"]

    asyncio.run(hear())


def test_who_answers_a_host_that_does_not_read_is_told_to_wait() -> None:
    async def speak() -> None:
        world = World()
        world.login.data_received(world.answer() + frame(1, b"?"))
        one = world.listeners[0]
        world.login.pause_writing()
        one.transport.write(bytes(relay.MOST_PENDING))
        assert one.told == []
        for _ in range(3):
            one.transport.write(b"x")
        assert one.told == ["wait"]
        world.login.resume_writing()
        assert one.told == ["wait", "go on"]
        one.transport.write(b"x")
        assert one.told == ["wait", "go on"]

    asyncio.run(speak())


def test_what_is_said_on_being_told_to_go_on_comes_after_what_was_said_before() -> None:
    class Eager(Listener):
        def resume_writing(self) -> None:
            super().resume_writing()
            self.transport.write(b"last")

    async def speak() -> None:
        world = World(Eager)
        world.login.data_received(world.answer() + frame(1, b"?"))
        said = bytes(range(256)) * (relay.MOST_PENDING // 256 + 1)
        world.pipe.written.clear()
        world.login.pause_writing()
        world.listeners[0].transport.write(said)
        world.login.resume_writing()
        assert b"".join(data for _, data in frames(bytes(world.pipe.written))) == said + b"last"

    asyncio.run(speak())


def test_of_a_stream_that_was_given_up_nothing_more_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "STREAM_BYTES", 100)

    async def hear() -> None:
        world = World()
        world.login.data_received(world.answer() + frame(1, b"?"))
        one = world.listeners[0]
        one.transport.pause_reading()
        world.login.pause_writing()  # nor does the host read
        for _ in range(10):
            world.login.data_received(frame(1, b"x" * 50))
        await asyncio.sleep(0)
        assert one.lost
        one.transport.resume_reading()
        assert bytes(one.heard) == b"?"

    asyncio.run(hear())


def test_a_listener_that_has_closed_hears_nothing_more() -> None:
    async def hear() -> None:
        world = World()
        world.login.data_received(world.answer() + frame(1, b"?"))
        one = world.listeners[0]
        world.pipe.written.clear()
        world.login.pause_writing()
        one.transport.write(b"bye")
        one.transport.close()
        world.login.data_received(frame(1, b"more"))
        assert bytes(one.heard) == b"?"
        world.login.resume_writing()
        assert frames(bytes(world.pipe.written)) == [(1, b"bye"), (1, b"")]

    asyncio.run(hear())


def test_a_start_up_file_may_print_without_end_and_little_is_kept() -> None:
    async def hear() -> None:
        world = World()
        for _ in range(64):
            world.login.data_received(b"x" * (1 << 16))
        for _ in range(64):
            world.login.data_received(b"y\n" * (1 << 12))
        assert len(world.login.noise) <= relay.NOISE
        world.login.data_received(b"half a line " + world.answer())
        assert world.login.answer.result() == {"folder": "/f"}

    asyncio.run(hear())


def test_no_secret_is_sent_before_our_command_is_heard() -> None:
    async def hear() -> None:
        world = World()
        world.login.data_received(
            b"corral-no-python\nPassword:\n" + world.payload.mark[:40] + b"\n"
        )
        assert not world.pipe.written
        assert world.login.old_pythons is None
        assert not world.login.answer.done()

    asyncio.run(hear())


def test_an_answer_that_could_not_be_stored_is_none() -> None:
    """Bug: half a character in an error ended the master that wrote down why the host failed."""

    async def hear() -> None:
        world = World()
        world.login.data_received(SHELL + b"\n" + world.payload.mark + b'{"error": "x \\ud800"}\n')
        said = world.login.answer.result()
        assert said is not None
        assert said["error"].startswith("its agent gave no answer but")
        said["error"].encode()

    asyncio.run(hear())


def test_when_the_login_ends_every_stream_is_lost() -> None:
    async def hear() -> None:
        world = World()
        world.login.data_received(world.answer() + frame(1, b"a") + frame(2, b"b"))
        world.login.connection_lost(None)
        await asyncio.sleep(0)
        assert [one.lost for one in world.listeners] == [True, True]
        assert world.login.over.is_set()

    asyncio.run(hear())


# ---------------------------------------------------------------- the host's end


@contextmanager
def living_agent(folder: Path) -> Iterator[None]:
    """Hold the lock that an agent holds."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(lock)


class OneRelay:
    """A relay process, with our end of its login."""

    def __init__(self, folder: Path) -> None:
        self.ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", RELAY, str(AGENT), str(folder)],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
            )

    def wait_up(self) -> None:
        assert self.process.stderr is not None
        assert self.process.stderr.read(2) == b"up"

    def end(self) -> None:
        self.ours.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def relays(tmp_path: Path) -> Iterator[Callable[[], OneRelay]]:
    """Start relays in one agent's folder; the agent lives as long as the test."""
    started: list[OneRelay] = []

    def start() -> OneRelay:
        started.append(OneRelay(tmp_path))
        return started[-1]

    with living_agent(tmp_path):
        yield start
        for one in started:
            one.end()


def dial(folder: Path) -> socket.socket:
    """Connect as the link does."""
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(5)
    place = os.open(folder, os.O_PATH)  # a path may pass 107 bytes
    try:
        link.connect(f"/proc/self/fd/{place}/sock")
    finally:
        os.close(place)
    return link


def talks(folder: Path, one: OneRelay) -> bool:
    """Say whether words go both ways through a relay."""
    one.ours.settimeout(5)
    with dial(folder) as link:
        link.sendall(b"ping")
        head = one.ours.recv(12, socket.MSG_WAITALL)
        one.ours.sendall(head[:4] + (4).to_bytes(4, "big") + b"pong")
        return head[8:] == b"ping" and link.recv(4, socket.MSG_WAITALL) == b"pong"


def test_many_connections_are_carried_both_ways(
    tmp_path: Path, relays: Callable[[], OneRelay]
) -> None:
    """Real relay, real pipe: each connection is told a megabyte back as it said it."""
    one = relays()
    one.wait_up()

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    async def talk(number: int) -> None:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "sock"))
        said = bytes([number]) * ((1 << 20) + number)
        writer.write(said)
        assert await reader.readexactly(len(said)) == said
        writer.close()

    async def carry() -> None:
        payload = Payload({})
        login = Login(payload, connect=Echo, committed=lambda: None)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: login, sock=one.ours)
        login.data_received(payload.mark + b" {}\n")
        async with asyncio.timeout(15), asyncio.TaskGroup() as group:
            for number in range(relay.MOST_STREAMS):
                group.create_task(talk(number))
        login.close()
        await login.over.wait()

    asyncio.run(carry())
    assert one.process.wait(5) == 0


def test_a_relay_ends_with_its_login(relays: Callable[[], OneRelay]) -> None:
    one = relays()
    one.wait_up()
    one.ours.close()
    assert one.process.wait(5) == 0


def test_a_relay_ends_with_its_agent(tmp_path: Path) -> None:
    with living_agent(tmp_path):
        one = OneRelay(tmp_path)
        one.wait_up()
    assert one.process.wait(5) == 0
    one.end()


def test_a_relay_ends_at_words_that_are_not_the_masters(relays: Callable[[], OneRelay]) -> None:
    one = relays()
    one.wait_up()
    one.ours.sendall((1).to_bytes(4, "big") + (FRAME + 1).to_bytes(4, "big"))
    assert one.process.wait(5) == 0


@pytest.mark.parametrize("state", ["idle", "stuck", "stopped"])
def test_a_new_relay_takes_the_place_of_one_whose_login_is_dead(
    tmp_path: Path, relays: Callable[[], OneRelay], state: str
) -> None:
    old = relays()
    old.wait_up()
    if state == "stuck":  # its login takes nothing more
        with dial(tmp_path) as link, pytest.raises(TimeoutError):
            link.settimeout(0.2)
            while True:
                link.send(b"x" * FRAME)
    if state == "stopped":
        old.process.send_signal(signal.SIGSTOP)
    new = relays()
    new.wait_up()
    wait_until(lambda: not alive(old.process.pid), what="the old one is gone")
    assert talks(tmp_path, new)


def test_of_many_relays_at_once_one_stays(tmp_path: Path, relays: Callable[[], OneRelay]) -> None:
    crowd = [relays() for _ in range(6)]
    wait_until(lambda: [one.process.poll() for one in crowd].count(None) == 1, what="one is left")
    last = next(one for one in crowd if one.process.poll() is None)
    last.wait_up()
    assert talks(tmp_path, last)
