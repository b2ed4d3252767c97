"""Every message between master and agent, on one page (prose: docs/protocol.md).

The agent asks, the master answers; HTTP/1.1 over a unix socket in the agent's own folder.

- ``POST /agent/v1/exchange``: an `Exchange`, answered by a `Reply`.
- ``PUT /agent/v1/attempts/{ticket}/files/{n}?offset=``: bytes of one output file, `CHUNK` at the
  most; answered by `Received`. 409 with `Received` when ``offset`` is not where the part ends:
  go on from ``size``. Number 0 is stdout, 1 stderr, the declared files follow from 2.
- ``PUT /agent/v1/attempts/{ticket}/tail/{n}?offset=``: what a running task that `Reply.follow` names
  has written to stdout (0) or stderr (1), at most `TAIL` bytes; answered by `Received`. 409 with
  `Received`: go on from ``size``, after a moment.
- ``GET /agent/v1/blobs/{sha256}?offset=``: at most `CHUNK` bytes of a shipped file.

Every request carries the headers ``corral-agent`` (the incarnation), ``corral-number`` (of the
exchange; for files a number that only rises) and ``corral-signature``; every reply the last.
Authority is the key, never the ticket.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Annotated, Literal

import msgspec

PROTOCOL = 1
CHUNK = 1 << 20  # bytes; one piece of a file in a request or reply: bounds memory on both sides
INLINE = 64 * 1024  # bytes; stdout or stderr up to this travels inside the report
TAIL = 128 * 1024  # bytes; one piece of what a running task writes
RESULT = 64 * 1024  # bytes of what a task writes to CORRAL_RESULT; more fails it (`output`)

Number = Annotated[int, msgspec.Meta(ge=-(1 << 62), le=1 << 62)]  # what a database can hold
FileNumber = Annotated[int, msgspec.Meta(ge=0, le=1 << 31)]
Moment = Annotated[float, msgspec.Meta(ge=0, le=250_000_000_000)]  # seconds since 1970; year 9892
Span = Annotated[float, msgspec.Meta(ge=0, le=250_000_000_000)]  # seconds
Named = Annotated[
    str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")
]  # a ticket: stands in paths
Sha256 = Annotated[str, msgspec.Meta(pattern=r"\A([0-9a-f]{64})?\Z")]  # "" = of nothing


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of what travels: unknown fields of a newer peer are ignored, defaults left out."""


# ---------------------------------------------------------------- agent -> master


class Facts(Message, frozen=True, kw_only=True):
    """What the agent found on its host; said in the first exchange of each link."""

    protocol: Number
    platform: str  # "linux-x86_64"
    python: str  # "3.6.8"
    cores: Number  # usable ones (affinity), at least 1
    memory: Number  # bytes
    disk_free: Number  # bytes, where the work folder is
    hostname: str
    folder: str  # absolute path of the agent's folder
    memory_by: str = ""  # what holds a task to its memory: "cgroup v2", "cgroup v1",
    #   "polled every 500 ms"; "" = nothing
    time: float = 0.0  # its wall clock, seconds since 1970


class Stream(Message, frozen=True, kw_only=True):
    """Captured stdout or stderr: inline if small, else uploaded as file 0 or 1."""

    size: Number = 0  # bytes
    inline: bytes = b""  # base64 in JSON; the whole of it when size <= INLINE
    sha256: Sha256 = ""  # set when it was uploaded


class OutputFile(Message, frozen=True, kw_only=True):
    """A declared file that the task wrote; uploaded as file ``n``."""

    n: FileNumber
    name: str  # relative path in the task's folder, checked again by the master
    size: Number
    sha256: Sha256
    mode: Number = 0o644


class Report(Message, frozen=True, kw_only=True):
    """How an attempt ended. Idempotent by (ticket, digest)."""

    ticket: Named
    ended: Literal["exited", "failed", "killed", "returned"]
    """exited: it ran to its own end, whatever the code. failed: `kind` says why it could not.
    killed: the master asked for it. returned: never started, or ended through no fault of its own
    (the supervisor died); uncharged."""
    kind: Literal["", "spawn", "env", "signal", "oom", "timeout", "output"] = ""
    exit: Number | None = None
    signal: Number | None = None
    message: str = ""  # for people: "no such program: ./sim"
    slot: Number = 0
    started: Moment = 0.0  # wall clock of the host, for display only
    seconds: Span = 0.0  # monotonic
    cpu_s: Span = 0.0
    peak_kb: Number = 0
    stdout: Stream = Stream()
    stderr: Stream = Stream()
    files: tuple[OutputFile, ...] = ()
    result: str = ""  # what the task wrote to CORRAL_RESULT, at most RESULT bytes
    digest: str  # SHA-256 of the report's other fields as the agent wrote them


class Exchange(Message, frozen=True, kw_only=True):
    """All that the agent holds and has to say."""

    incarnation: str
    number: Number  # rises; a retry repeats it
    queued: tuple[str, ...] = ()  # tickets leased and not started
    running: tuple[tuple[str, float], ...] = ()  # ticket, seconds since its start
    ended: tuple[str, ...] = ()  # tickets whose report (or upload) is not answered yet
    reports: tuple[Report, ...] = ()
    want: Number = 0  # slots that are free and have nothing queued for them
    short: str = ""  # why it starts nothing for now, its disk being full; "" = it does
    load: float = 0.0
    progress: tuple[tuple[str, str], ...] = ()
    """Ticket and the last line of its CORRAL_PROGRESS: of running ones, where it is another."""
    facts: Facts | None = None
    collects: bool = False  # a second life: its tasks are dead, it hands in what ended before
    bye: bool = False  # nothing is left here; the processes end after this answer


# ---------------------------------------------------------------- master -> agent


class Input(Message, frozen=True, kw_only=True):
    """A shipped file: content ``sha256``, to stand at ``path`` in the task's folder."""

    path: str
    sha256: str
    size: int
    mode: int = 0o644


class RunPart(Message, frozen=True, kw_only=True):
    """What all leases of one run share; sent once in each reply that leases from it."""

    run: str  # CORRAL_RUN: the run's name
    names: tuple[str, ...] = ()  # of the parameters, in the order of Lease.values
    task_count: int = 0
    shell: str = "/bin/sh"
    dir: str | None = None  # run there instead of in a folder of the task's own (--here)
    env: bytes | None = None
    """The whole environment to start from, as ``env -0`` writes it (base64 in JSON); None = the agent's
    own."""
    add: dict[str, str] = {}  # on top of it
    inputs: tuple[Input, ...] = ()
    timeout_s: float | None = None
    grace_s: float = 5.0  # between SIGTERM and SIGKILL
    stop_after_s: float | None = None  # without a master its tasks are ended; None: they go on
    disk_floor: int = 256 << 20  # bytes free on the host, or no task is started
    output_cap: int = 1 << 30  # bytes of stdout, and of stderr; more: head and tail are kept
    slots: int | None = None  # tasks of this run at once on this host; None = the host's slots
    cpus: int = 1  # slots that each task takes
    needs: dict[str, int] = {}  # what else each task takes, by name: "memory" (bytes), "gpu"
    has: dict[str, int] = {}  # what of that the host has in all; of "cpus", if fewer than its slots


class Output(Message, frozen=True, kw_only=True):
    """A declared output: ``file`` must exist, ``glob`` must match, ``dir`` comes home whole."""

    name: str
    kind: Literal["file", "glob", "dir"] = "file"


class InputText(Message, frozen=True, kw_only=True):
    """A small input file that only this task gets, to be written into its folder."""

    path: str
    text: str
    mode: int = 0o644


class Lease(Message, frozen=True, kw_only=True):
    """One attempt to run. ``argv`` starts without a shell; else ``line`` goes to ``shell -c``."""

    ticket: str
    part: str  # key into Reply.parts
    task: int
    attempt: int
    argv: tuple[str, ...] | None = None  # "\0slot\0" in a word stands for the slot's number
    line: str | None = None
    values: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = ()  # beside the part's
    texts: tuple[InputText, ...] = ()
    outputs: tuple[Output, ...] = ()
    memory: Number | None = None  # bytes of its processes together; above it is killed (kind oom)


class Reply(Message, frozen=True, kw_only=True):
    """What to do until the next exchange. Only the reply to the newest number counts."""

    number: int
    hold_s: float = 2.0  # the next request is due so many seconds after this one was sent
    slots: int = 1  # tasks at once on this host
    parts: dict[str, RunPart] = {}
    leases: tuple[Lease, ...] = ()
    kill: tuple[str, ...] = ()  # end these: SIGTERM, grace, SIGKILL; a queued one is returned
    drop: tuple[str, ...] = ()  # end these without any grace: another attempt gave the result
    back: tuple[str, ...] = ()  # return these if they have not been started; else they go on
    answered: tuple[str, ...] = ()  # reports that are stored: forget them and their files
    timeouts: dict[str, float] = {}  # part -> seconds for each of its tasks, running ones too
    upload: tuple[str, ...] = ()  # their uploaded bytes do not match: send files and report again
    follow: tuple[tuple[str, Number, Number], ...] = ()
    """Ticket, 0 (stdout) or 1 (stderr), and the byte from which on somebody reads what a task writes
    while it runs: sent as ``tail``. All that is followed stands in every reply."""
    stop: Literal["", "drain", "now"] = ""
    """drain: start nothing, return what is queued, say bye when nothing runs and all is answered.
    now: kill what runs, then the same."""


class Received(Message, frozen=True, kw_only=True):
    """How much of a file has arrived."""

    size: int


class Refusal(Message, frozen=True, kw_only=True):
    """Why a request was not taken. ``gone`` = this agent is not wanted any more: end at once."""

    error: str
    gone: bool = False


# ---------------------------------------------------------------- signatures


def agent_key(secret: bytes, incarnation: str) -> bytes:
    """Derive an agent's key from the state folder's secret; it is stored nowhere."""
    return hmac.digest(secret, b"agent" + incarnation.encode(), "sha256")


def signature(key: bytes, direction: str, method: str, path: str, number: int, body: bytes) -> str:
    """Sign a message: HMAC-SHA256 over its fields, each led by its length (4 bytes, big endian).

    ``direction`` is ``request`` or ``reply 200`` (with the status); ``path`` with its query.
    """
    fields = (
        direction.encode(),
        method.encode(),
        path.encode(),
        str(number).encode(),
        hashlib.sha256(body).digest(),
    )
    data = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    return hmac.digest(key, data, "sha256").hex()


def user_token(secret: bytes) -> str:
    """Derive what the command line shows a master to prove that it can read the secret."""
    return hmac.digest(secret, b"user", "sha256").hex()
