"""Run tasks on one host and bring home what they leave: corral's agent.

One file, standard library only, Python 3.6 or newer; it imports nothing of corral and is shipped
as its own source. It does as told and decides nothing. Prose: docs/protocol.md.

Two processes live here. The **link** talks to the master: it holds the leases, keeps the journal
of what ended, carries files. The **supervisor** starts, reaps and kills tasks. Either may die at
any instant; the other one starts it anew, and no task runs twice or is left behind.

From top to bottom: the words both use; ``Link`` with its ``Courier``, and ``Supervisor``: pure
logic, driven by events, with the world handed in; then that world (``SystemClock``,
``SocketTransport``, ``Port``, ``Disk``, ``ProcessTable``, ``Groups``); the two loops; ``Relay``, which carries
the link's words where a host is reached by a login; the commands.
"""

import _posixsubprocess
import _signal
import _socket
import binascii
import ctypes
import errno
import fcntl
import os
import select
import stat
import sys
import time
from _collections import OrderedDict
from _operator import _compare_digest

# The modules around these import enum, re and OpenSSL, which would be a third of an agent's start.
try:
    from _json import encode_basestring_ascii, make_encoder, make_scanner
except ImportError:
    make_scanner = None
try:
    from _sha256 import sha256 as plain_sha256
except ImportError:
    try:
        from _sha2 import sha256 as plain_sha256
    except ImportError:
        from hashlib import sha256 as plain_sha256

PROTOCOL = 1
CHUNK = 1 << 20  # bytes; one piece of a file in a request or reply
RECEIVE = 64 << 10  # bytes taken from a socket at once; more would be mapped anew each time
INLINE = 64 * 1024  # bytes; stdout or stderr up to this travels inside the report
RESULT_BYTES = 64 * 1024  # of what a task writes to CORRAL_RESULT
PROGRESS_BYTES = 1024  # from the end of CORRAL_PROGRESS that its last line is looked for in
PROGRESS_CHARS = 200  # of that line
PROGRESS_S = 1.0  # at most one look at what the tasks say of their progress in this time
DISK_FLOOR = 256 << 20  # bytes free, or no task is started, unless its run says otherwise
ROOM_S = 0.2  # what was found of the free space holds so long; looked at again after ...
SHORT_S = 1.0  # ... so long while it was too little
NUMBERED = 1000  # of a resource have numbers: those of more fit into no variable, nor does memory
OUTPUT_CAP = 1 << 30  # bytes of a task's stdout, and of its stderr, unless its run says otherwise
CAP_SLACK = 16 << 20  # bytes beyond the cap that a stream may hold between two looks
REPORTS_BYTES = 768 * 1024  # of reports in one exchange (or one report, however long)
TAIL_BYTES = 128 * 1024  # of what followed tasks write, in one request ...
TAIL_S = 0.05  # ... and at most one in this time: results go first

BACKOFF_FIRST_S = 0.01  # between tries to reach the master, doubled ...
BACKOFF_LAST_S = 1.0  # ... up to this
FIRST_HOLD_S = 2.0  # the master may hold an exchange for so long until it has said for how long
REPLY_S = 10.0  # beyond hold_s: a reply that takes longer is not coming
FILE_REPLY_S = 60.0  # a chunk moves in milliseconds; a slow line gets its minute
BURST_S = 0.05  # at most one exchange in this time while there is enough to do
DEEP_S = 0.15  # ... and in this while so many leases per slot are queued that none runs out
DEEP = 64
SLOW_S = 1.0  # a master that commits gets this long before a newer exchange overtakes
LOOK_FIRST_S = 0.05  # after a task's start until the first look at what it has used
LOOK_S = 0.5  # between looks; sooner for one that writes fast ...
LOOK_LEAST_S = 0.01  # ... down to this, later for one that writes nothing ...
LOOK_LAST_S = 4.0  # ... up to this
WEIGH_S = 0.5  # between looks at the memory of tasks that have a limit
OOM_S = 5.0  # a kernel that ran out of memory so long ago may have killed what has just died
TELL_S = 0.02  # at most one message of ends in this time from supervisor to link
TELL_MANY = 64  # ... unless so many ends are pending
NO_MASTER_S = 15.0  # without an answer: nothing new starts
BYE_S = 15.0  # all is answered and the master gone: the farewell need not be heard
LEAVE_S = 2.0  # what a SIGTERM leaves the link to report in
UNCLEAN_S = 10.0  # what cannot be killed in this time is named and left
KILL_AGAIN_S = 0.01  # first pause between two rounds of killing, doubled up to ...
KILL_PAUSE_S = 0.5
MEND_S = 10.0  # a process that lived shorter than this is started anew only after a pause
STOPPING = "stopping"  # why an agent that ends gives back what it has: it takes no more
YOUNG_DEATHS = 8  # of supervisors in a row: none can live here, as where the folder was removed
FETCH_TRIES = 3  # for a shipped file that arrives wrong or is refused
PARTS = 64  # of runs, remembered; more are dropped when no lease needs them
TIDY_ENTRIES = 100  # files removed at a stretch: a few milliseconds
LOG_BYTES = 1 << 20  # the log starts again at this size
SETUP_S = 120.0  # for a host's setup: `module load` on a busy file system takes seconds
SETUP_SHELLS = (b"/bin/bash", b"/usr/bin/bash", b"/bin/sh")  # `source` and `module` want bash
SETUP_TELL = (
    b'\nif [ -r /proc/self/environ ]; then exec cat /proc/self/environ > "$CORRAL_SETUP"; fi'
    b'\nexec env -0 > "$CORRAL_SETUP"\n'
)
ROOM_BYTES = 64 << 20  # free space a work folder must have
RING = 1024  # starts remembered on disk; more than can be untold (TELL_MANY + slots)
RING_WIDTH = 64  # bytes for one ticket
GENERATION_DIGITS = 9  # more links are not started
LARGE = 64 << 10  # bytes from which a faster SHA-256 is worth its loading
GENERATION = 10**9  # exchange numbers of one link; the next link counts on above them
CAS_MTIME_S = 946684800  # every shipped file is of 2000-01-01: any other time means it was altered
TIDY_NS = 946684800 * 10**9  # ... and so is a slot's folder that no task has touched
GONE = -1  # in place of a start time: reaped; a process of that pid is another one
SLOT_MARK = "\0slot\0"  # in a lease's words: stands for the number of the slot

TERM, CONT, STOP, KILL = (
    int(number) for number in (_signal.SIGTERM, _signal.SIGCONT, _signal.SIGSTOP, _signal.SIGKILL)
)

STREAMS = ("stdout", "stderr")
EXCHANGE_LANES = (0, 1)
FILE_LANE = 2


# ---------------------------------------------------------------- words


class CannotStart(Exception):
    """A task could not be started; ``kind`` (spawn or env) says what failed, the text how."""

    def __init__(self, kind, message):
        Exception.__init__(self, message)
        self.kind = kind
        self.message = message


class Altered(Exception):
    """A shipped file in the content store is not (or no longer) what was put there."""

    def __init__(self, digest, mode):
        Exception.__init__(self, digest)
        self.digest = digest
        self.mode = mode


class Config:
    """What the agent was told at its start; the key lives in memory only."""

    def __init__(self, given, environment):
        self.owner = given["owner"]
        self.incarnation = given["incarnation"]
        self.key = binascii.unhexlify(given["key"])
        self.host = given.get("host") or "localhost"
        self.slots = given.get("slots") or cores()
        self.collect = bool(given.get("collect"))
        self.linger_s = given.get("linger_s", 60)
        self.folder = given.get("folder") or ""
        self.environment = environment  # bytes to bytes: what tasks inherit
        self.groups = None  # where the kernel holds tasks to their memory; None: it is polled


def encode(text):
    """Give the bytes of a text that came as JSON, whatever the locale of this host is."""
    return text.encode("utf-8", "surrogateescape")


def readable(data):
    """Give text that JSON can carry, for people."""
    if isinstance(data, bytes):
        return data.decode("utf-8", "replace")
    return data.encode("utf-8", "replace").decode("utf-8")


class Scanned:
    """How JSON is read: see json.JSONDecoder, whose defaults these are."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def _no_json(value):
    raise TypeError("%r is nothing that JSON knows" % (value,))


if make_scanner is None:
    import json

    loads = json.loads

    def dumps(value):
        return json.dumps(value, separators=(",", ":"))

else:
    SCAN = make_scanner(Scanned)
    WRITE = make_encoder(
        None, _no_json, encode_basestring_ascii, None, ":", ",", False, False, True
    )

    def loads(text):
        """Read JSON; raises ValueError."""
        text = text.strip(" \t\r\n")
        try:
            value, end = SCAN(text, 0)
        except StopIteration:
            end = -1
        if end != len(text):
            raise ValueError("this is no JSON, or more than one value")
        return value

    def dumps(value):
        """Write JSON in its shortest form."""
        return "".join(WRITE(value, 0))


def sha256(data=b"", large=False):
    """Begin a SHA-256, of much by OpenSSL's: it takes milliseconds to load and is five times as fast."""
    if large or len(data) > LARGE:
        from hashlib import sha256 as fast_sha256

        return fast_sha256(data)
    return plain_sha256(data)


def hmac_sha256(key, data):
    """Give the HMAC of RFC 2104 in hex; the key has at most 64 bytes."""
    block = key.ljust(64, b"\0")
    inner = sha256(bytes(byte ^ 0x36 for byte in block) + data).digest()
    return sha256(bytes(byte ^ 0x5C for byte in block) + inner).hexdigest()


def signature(key, direction, method, path, number, body):
    """Sign a message: HMAC-SHA256 over its fields, each led by its length (protocol.signature)."""
    fields = (
        direction.encode(),
        method.encode(),
        path.encode(),
        b"%d" % number,
        sha256(body).digest(),
    )
    data = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    return hmac_sha256(key, data)


def with_digest(report):
    """Write a report as JSON, with the digest over its other fields by which it is idempotent."""
    text = dumps(report)
    return '%s,"digest":"%s"}' % (text[:-1], sha256(text.encode()).hexdigest())


def returned(ticket, message, started=None):
    """Record that an attempt is given back: unstarted, or ended through no fault of its own."""
    report = {"ticket": ticket, "ended": "returned", "message": message}
    if started is not None:
        report["started"] = round(started, 3)
    return {"report": report}


def safe_name(name):
    """Say whether a name may stand in a path: one component, nothing hidden or upward."""
    return 0 < len(name) <= RING_WIDTH and "/" not in name and "\0" not in name and name[0] != "."


def controls(text):
    """Say whether a text has control characters, which do things to terminals and line readers."""
    return any(letter < " " or "\x7f" <= letter <= "\x9f" for letter in text)


def is_number(text):
    """Say whether a text is a number that a header may say; `isdigit` alone takes ``²``, too."""
    return text.isdecimal() and len(text) < 20


def safe_path(path):
    """Say whether a path stays in the folder it is relative to."""
    parts = path.split("/")
    return not (path.startswith("/") or "\0" in path or ".." in parts or not path.strip("/."))


def earliest(*dues):
    """Give the first of some times, None if none is set."""
    first = None
    for due in dues:  # as min() would, in a third of the time: it is asked at each step
        if due is not None and (first is None or due < first):
            first = due
    return first


def slay(processes, find):
    """Kill all that ``find`` names, however it forks: freeze, look again until nothing is new, kill.

    Gives the pids that were alive: empty means that nothing is left.
    """
    frozen = set()
    for _ in range(100):  # a round in which nothing new turns up ends it; 100 bound a lost race
        new = find() - frozen
        if not new:
            break
        processes.signal(new, STOP)
        frozen |= new
    processes.signal(frozen, KILL)
    return frozen


# ---------------------------------------------------------------- the link


class Sent:
    """The newest exchange: what a retry repeats, and what it has told."""

    def __init__(self, number, body, want, heavy):
        self.number = number
        self.body = body
        self.want = want
        self.heavy = heavy  # reports or facts: the master answers at once, so it is not overtaken
        self.short = ""
        self.facts = False
        self.bye = False
        self.progress = {}  # ticket -> line
        self.at = 0.0  # when it was sent (again)
        self.state = "flying"  # or broken (to be retried), answered
        self.fruitless = False  # answered with nothing new: ask again only when due


class Link:
    """Keep the master informed and the supervisor busy.

    ``over`` is set at the end: "remove" (nothing is left to tell) or "keep" (the folder waits for
    a collecting life).
    """

    def __init__(self, config, clock, transport, disk, processes, port, facts):
        self.config = config
        self.clock = clock
        self.transport = transport
        self.disk = disk
        self.processes = processes
        self.port = port  # to the supervisor; None while there is none
        self.facts = facts  # None once the master has them
        self.collects = port is None  # what ran is dead: only what had ended is handed in
        self.over = ""

        self.number = self.file_number = disk.next_generation() * GENERATION
        self.newest = None
        self.flights = {}  # lane -> Sent
        self.expires = {}  # lane -> when the reply to it is overdue
        self.asked = {}  # lane -> (method, path, number), what the reply's signature covers
        self.retry_at = None
        self.backoff_s = BACKOFF_FIRST_S
        self.hold_s = FIRST_HOLD_S
        self.lost_at = clock.now()  # since when no master answers; None while one does
        self.held = False  # the supervisor starts nothing, for want of a master
        self.short = ""  # why the supervisor starts nothing, for want of room; the master is told

        self.slots = config.slots
        self.parts = {}
        self.timeouts = {}  # part -> seconds, as the master has learned them by now
        self.fetching = OrderedDict()  # ticket -> lease that waits for shipped files
        self.queued = OrderedDict()  # ticket -> lease that the supervisor has
        self.running = OrderedDict()  # ticket -> (pid, start time, begun, slot, part)
        self.ended = OrderedDict()  # ticket -> record, until its report is answered
        self.ready = OrderedDict()  # ticket -> report as text: those of `ended` with files sent
        self.unsent = set()  # tickets of `ready` that no exchange has told yet
        self.unnoted = set()  # tickets of `ended` that the journal could not take
        self.killing = set()  # tickets that the master wants dead
        self.forsaken = set()  # those that end because no master was there for too long
        self.progress = {}  # ticket -> the line that the master knows, of those that run
        self.look_at = 0.0  # when to look for newer ones
        self.present = set()  # (digest, mode) known to be in the content store
        self.courier = Courier(self, disk)

        self.stop = ""  # or drain, now; never taken back
        self.gone = False  # the master does not know us any more
        self.abandoned = False  # nobody came back for linger_s
        self.terminated = False
        self.leave_at = None
        self.mend_at = None  # when to look after a dead supervisor
        self.mend_until = 0.0  # what is not dead by then is left, and named
        self.mend_pause_s = 0.0  # before the next start: grows when supervisors die young
        self.young_deaths = 0  # of supervisors, in a row
        self.born_at = clock.now()  # of the supervisor
        self.doomed = None  # tickets that died with the supervisor, until they are reported
        self.met = port is None  # the supervisor's table comes before our first word, once
        for record in disk.journal():
            self._keep(record)
        if self.collects:
            self.stop = "drain"

    # ------------------------------------------------ events

    def on_reply(self, lane, status, signed, body):
        """Take a reply off ``lane``; obey it only if its signature is right."""
        asked = self.asked.pop(lane, None)
        if asked is None:
            return
        wanted = signature(self.config.key, "reply %d" % status, *asked, body)
        if not _compare_digest(wanted.encode(), signed.encode()):
            self.transport.close(lane)
            self._lose(lane)
            return
        if status != 200 and not (status == 409 and lane == FILE_LANE):
            self._refused(lane, status, body)
            return
        self._hear()
        if lane == FILE_LANE:
            self.courier.on_reply(status, body)
            return
        sent = self.flights.pop(lane)
        if sent is self.newest:
            sent.state = "answered"
            self._obey(sent, loads(body.decode()))

    def on_closed(self, lane):
        """Take note that the connection of ``lane`` ended before its reply came."""
        if self.asked.pop(lane, None) is not None:
            self._lose(lane)

    def on_port(self, message):
        """Take a message of the supervisor."""
        if "table" in message and not self.met:
            self._meet(message["table"])
        for ticket, pid, start, begun, slot in message.get("started", ()):
            lease = self.queued.pop(ticket, None)
            if lease is not None:
                self.running[ticket] = (pid, start, begun, slot, lease["part"])
        self._take_ends(message.get("ended", ()))
        for ticket, digest, mode in message.get("altered", ()):
            self.present.discard((digest, mode))
            self.disk.drop(digest, mode)
            lease = self.queued.pop(ticket, None)
            if lease is not None:
                self._take_lease(lease)
        self.short = message.get("short", self.short)
        if message.get("terminate"):
            self.on_terminate()

    def on_port_closed(self):
        """Take note that the supervisor died: what it had started must die before a new one."""
        now = self.clock.now()
        self.port = None
        self.short = ""
        self.met = True  # it may have died before it gave its table: then it had nothing
        started = self.disk.started()
        self.doomed = list(self.running) + [t for t in self.queued if t in started]
        if now - self.born_at > MEND_S:
            self.mend_pause_s = 0.0
            self.young_deaths = 0
        else:
            self.mend_pause_s = min(BACKOFF_LAST_S, self.mend_pause_s * 2 or BACKOFF_FIRST_S)
            self.young_deaths += 1
        self.mend_at = now
        self.mend_until = now + UNCLEAN_S
        if self.young_deaths == YOUNG_DEATHS:
            self.on_terminate()

    def on_terminate(self):
        """End at once: kill what runs, report it if the master answers, go."""
        self.terminated = True
        self._halt("now")

    def tick(self, now):
        """Do what is due at ``now``; give the seconds until more is, None if only events count."""
        if not self.met or self.over:
            return None
        due = earliest(
            self._mend(now),
            self._drop_overdue(now),
            self._retry(now),
            self._speak(now),
            self.courier.tick(now),
            self._watch_master(now),
            self._leave(now),
        )
        return None if due is None else max(0.0, due - now)

    # ------------------------------------------------ exchanges

    def request(self, lane, method, path, number, body, expires_s):
        """Sign and send; exactly one ``on_reply`` or ``on_closed`` answers it."""
        self.asked[lane] = (method, path, number)
        self.expires[lane] = self.clock.now() + expires_s
        headers = (
            ("corral-agent", self.config.incarnation),
            ("corral-number", str(number)),
            ("corral-signature", signature(self.config.key, "request", method, path, number, body)),
        )
        self.transport.send(lane, method, path, headers, body)

    def _speak(self, now):
        """Send the next exchange when it is due."""
        due = self._exchange_due(now)
        if due is None or due > now:
            return due
        self.newest = self._compose(now)
        self._fly(self.newest, now)
        return None

    def _exchange_due(self, now):
        last = self.newest
        if self.gone:
            return None
        if last is None:
            return now
        if last.state == "broken" or len(self.flights) == len(EXCHANGE_LANES):
            return None
        beat = last.at + self.hold_s if last.state == "answered" else None
        if not self._has_news(last):
            return beat
        busy = len(self.queued) >= self.slots and self._want() == 0
        deep = len(self.queued) >= DEEP * self.slots
        soon = last.at + (DEEP_S if deep else BURST_S) if busy else now
        if last.state == "flying" and last.heavy:
            soon = last.at + SLOW_S
        return earliest(soon, beat)

    def _has_news(self, last):
        if self.unsent or self.short != last.short or (self._may_say_bye() and not last.bye):
            return True
        if last.state == "flying":
            return self._want() > last.want
        # a host without room wants nothing, yet idle as it is must hear at once what is wanted
        return not last.fruitless and (self._want() > 0 or bool(self.short))

    def _may_say_bye(self):
        return bool(self.stop) and not self.abandoned and not self._tickets()

    def _tickets(self):
        return self.fetching or self.queued or self.running or self.ended

    def _want(self):
        """Count the slots that are free and have nothing queued for them."""
        if self.stop or self.short or self.port is None:
            return 0
        room = {key: part["slots"] for key, part in self.parts.items() if part.get("slots")}
        cpus = {key: part["cpus"] for key, part in self.parts.items() if part.get("cpus", 1) > 1}
        waiting = list(self.queued.values()) + list(self.fetching.values())
        free = self.slots
        if not room and not cpus:
            return max(0, free - len(self.running) - len(waiting))
        keys = [running[-1] for running in self.running.values()]
        for key in keys + [lease["part"] for lease in waiting]:
            left = room.setdefault(key, self.slots)
            if left > 0:
                free -= cpus.get(key, 1)
                room[key] = left - 1
        return max(0, free)

    def _compose(self, now):
        self.number += 1
        want = self._want()
        reports = self._pick_reports()
        words = {"incarnation": self.config.incarnation, "number": self.number, "want": want}
        words["queued"] = list(self.fetching) + list(self.queued)
        words["running"] = [
            [ticket, round(max(0.0, now - begun), 3)]
            for ticket, (_, _, begun, *_) in self.running.items()
        ]
        words["ended"] = list(self.ended)
        words["load"] = self.processes.load()
        progress = self._look_for_progress(now)
        if progress:
            words["progress"] = sorted(progress.items())
        if self.short:
            words["short"] = self.short
        if self.facts:
            words["facts"] = self.facts
        if self.collects:
            words["collects"] = True
        if self._may_say_bye():
            words["bye"] = True
        body = '%s,"reports":[%s]}' % (dumps(words)[:-1], ",".join(reports))
        sent = Sent(self.number, body.encode(), want, bool(reports or self.facts))
        sent.progress = progress
        sent.short = self.short
        sent.facts = "facts" in words
        sent.bye = "bye" in words
        return sent

    def _look_for_progress(self, now):
        """Find the lines that tasks wrote of their progress and that the master does not know."""
        if now < self.look_at:
            return {}
        self.look_at = now + PROGRESS_S
        lines = {ticket: self.disk.progress(ticket) for ticket in self.running}
        return {ticket: line for ticket, line in lines.items() if line != self.progress.get(ticket)}

    def _pick_reports(self):
        """Choose what fits of the unanswered reports, oldest first, at least one."""
        texts = []
        size = 0
        for ticket, text in self.ready.items():
            size += len(text)
            if texts and size > REPORTS_BYTES:
                break
            texts.append(text)
            self.unsent.discard(ticket)
        return texts

    def _fly(self, sent, now):
        lane = next(lane for lane in EXCHANGE_LANES if lane not in self.flights)
        self.flights[lane] = sent
        sent.at = now
        sent.state = "flying"
        path = "/agent/v1/exchange"
        self.request(lane, "POST", path, sent.number, sent.body, self.hold_s + REPLY_S)

    def _drop_overdue(self, now):
        """Break connections whose reply is not coming."""
        for lane in list(self.asked):
            if now >= self.expires[lane]:
                self.transport.close(lane)
                self.on_closed(lane)
        return earliest(*(self.expires[lane] for lane in self.asked))

    def _lose(self, lane):
        now = self.clock.now()
        if self.lost_at is None:
            self.lost_at = now
        if lane == FILE_LANE:
            self.courier.on_closed(now)
            return
        sent = self.flights.pop(lane)
        if sent is self.newest:  # an older one is not repeated: its reply would not count
            sent.state = "broken"
            self.retry_at = now + self.backoff_s
            self.backoff_s = min(BACKOFF_LAST_S, self.backoff_s * 2)

    def _retry(self, now):
        """Repeat number and bytes of an exchange whose connection broke."""
        last = self.newest
        if last is None or last.state != "broken" or self.gone:
            return None
        if len(self.flights) == len(EXCHANGE_LANES):
            return None
        if now >= self.retry_at:
            self._fly(last, now)
            return None
        return self.retry_at

    def _refused(self, lane, status, body):
        if _refusal(body).get("gone"):
            self.gone = True
            self._halt("now")
        if lane == FILE_LANE and 400 <= status < 500:
            self.courier.on_refused(status)
            return
        if lane == FILE_LANE:
            self.courier.on_closed(self.clock.now(), BACKOFF_LAST_S)
            return
        self.backoff_s = BACKOFF_LAST_S  # the master is there and cannot: no hurry
        self._lose(lane)

    def _hear(self):
        self.lost_at = None
        self.backoff_s = BACKOFF_FIRST_S
        if self.held:
            self.held = False
            self._tell({"hold": False})

    def _watch_master(self, now):
        """Without a master start nothing new; when nothing runs and nobody came back, end."""
        if self.lost_at is None or self.stop:
            return self._watch_stopped(now)
        hold_at = self.lost_at + NO_MASTER_S
        end_at = self.lost_at + self.config.linger_s
        if now >= hold_at and not self.held:
            self.held = True
            self._tell({"hold": True})
        forsake_at = self._forsake(now)
        if now >= end_at and not self.running and self.mend_at is None:
            self.abandoned = True
            self._halt("drain")
            return now
        end_at = None if self.running else end_at
        return earliest(None if self.held else hold_at, end_at, forsake_at)

    def _forsake(self, now):
        """End the tasks of runs that would rather lose work than go on without a master."""
        due = None
        for ticket, (*_, part) in self.running.items():
            after_s = self.parts.get(part, {}).get("stop_after_s")
            if after_s is None or ticket in self.killing:
                continue
            due = earliest(due, self.lost_at + after_s)
            if now >= self.lost_at + after_s:
                self.forsaken.add(ticket)
        for ticket in self.forsaken - self.killing:
            self._kill(ticket)
        return due

    def _watch_stopped(self, now):
        if self.lost_at is None or self.abandoned or self.gone or self.running:
            return None
        end_at = self.lost_at + self.config.linger_s
        if now < end_at:
            return end_at
        self.abandoned = True
        return now

    # ------------------------------------------------ obeying

    def _obey(self, sent, reply):
        before_s, self.hold_s = self.hold_s, reply.get("hold_s", FIRST_HOLD_S)
        if sent.facts:
            self.facts = None
        for ticket, line in sent.progress.items():
            if ticket in self.running:
                self.progress[ticket] = line
        if sent.bye:
            self.over = "remove"
            return
        if reply.get("slots", 1) != self.slots:
            self.slots = reply.get("slots", 1)
            self._tell({"slots": self.slots})
        if len(self.parts) > PARTS:
            self._drop_parts()
        self.parts.update(reply.get("parts", {}))
        fruits = [self._forget(reply.get("answered", ()))]
        fruits += [self._again(ticket) for ticket in reply.get("upload", ())]
        fruits += [self._kill(ticket) for ticket in reply.get("kill", ())]
        fruits += [self._kill(ticket, "drop") for ticket in reply.get("drop", ())]
        fruits += [self._give_back(ticket) for ticket in reply.get("back", ())]
        leases = [lease for lease in reply.get("leases", ()) if self._is_new(lease)]
        if reply.get("stop"):
            self._halt(reply["stop"])
        self._take_leases(leases)
        timeouts = reply.get("timeouts", {})
        if timeouts != self.timeouts:
            self.timeouts = timeouts
            self._tell({"timeouts": timeouts})
        self.courier.tail.wanted = {(t, n): at for t, n, at in reply.get("follow", ())}
        fruits.append(self.hold_s > before_s)  # so long it can be held only from now on
        sent.fruitless = not (leases or any(fruits))

    def _is_new(self, lease):
        ticket = lease["ticket"]
        return safe_name(ticket) and not any(
            ticket in held for held in (self.fetching, self.queued, self.running, self.ended)
        )

    def _take_leases(self, leases):
        if self.stop:
            self._take_ends([returned(lease["ticket"], STOPPING) for lease in leases])
            return
        fit = [lease for lease in leases if not self._lacks(lease)]
        self._give(fit)
        for lease in leases:
            if lease["ticket"] not in self.queued:
                self._await_files(lease)

    def _drop_parts(self):
        used = {lease["part"] for lease in self.fetching.values()}
        used.update(lease["part"] for lease in self.queued.values())
        used.update(part for *_, part in self.running.values())
        for key in set(self.parts) - used:
            del self.parts[key]

    def _take_lease(self, lease):
        self._take_leases([lease])

    def _inputs(self, lease):
        part = self.parts[lease["part"]]
        if part.get("dir") is not None:
            return ()
        return list(part.get("inputs", ())) + list(lease.get("inputs", ()))

    def _lacks(self, lease):
        """List the shipped files of a lease that are not here yet, as {(digest, mode): input}."""
        lacking = {}
        for item in self._inputs(lease):
            key = (item["sha256"], cas_mode(item))
            if key in self.present:
                continue
            if self.disk.has(key[0], key[1], item["size"]) is not None:
                self.present.add(key)
            else:
                lacking[key] = item
        return lacking

    def _await_files(self, lease):
        self.fetching[lease["ticket"]] = lease
        for (digest, mode), item in self._lacks(lease).items():
            self.courier.fetch(digest, mode, item)

    def on_fetched(self, key):
        """Pass on the leases that waited for this shipped file alone."""
        self.present.add(key)
        fit = [lease for lease in self.fetching.values() if not self._lacks(lease)]
        for lease in fit:
            del self.fetching[lease["ticket"]]
        self._give(fit)

    def on_fetch_failed(self, key, message):
        """Fail the leases that need a shipped file which cannot be had."""
        failed = [t for t, lease in self.fetching.items() if key in self._lacks(lease)]
        for ticket in failed:
            del self.fetching[ticket]
        self._take_ends(
            {"report": {"ticket": t, "ended": "failed", "kind": "env", "message": message}}
            for t in failed
        )

    def _give(self, leases):
        for lease in leases:
            self.queued[lease["ticket"]] = lease
        if leases:
            keys = {lease["part"] for lease in leases}
            parts = {key: self.parts[key] for key in keys}
            self._tell({"parts": parts, "leases": leases})

    def _tell(self, message):
        if self.port is not None:
            self.port.send(message)

    def _kill(self, ticket, how="kill"):
        """End what is not wanted any more; with "drop" without any grace."""
        if ticket in self.fetching:
            del self.fetching[ticket]
            self._take_ends([returned(ticket, "not wanted any more")])
            return True
        self.courier.cut_short(ticket)
        if ticket in self.killing or not (ticket in self.queued or ticket in self.running):
            return False
        self.killing.add(ticket)
        self._tell({how: [ticket]})
        return True

    def _give_back(self, ticket):
        """Return a lease that was not started; one that was goes on."""
        if ticket in self.fetching:
            return self._kill(ticket)
        if ticket in self.queued:
            self._tell({"back": [ticket]})
        return False

    def _halt(self, how):
        """Start nothing any more (drain); or kill what runs, too (now)."""
        if self.stop in (how, "now"):
            return
        self.stop = how
        waiting = list(self.fetching)
        self.fetching.clear()
        self.courier.forget_fetches()
        self._take_ends([returned(ticket, STOPPING) for ticket in waiting])
        self._tell({"stop": how})

    def _leave(self, now):
        """Decide whether this is the end."""
        if not self.stop or self.fetching or self.queued or self.running:
            return None
        if self.gone:
            self.over = "remove"
        elif self.abandoned:
            self.over = "keep" if self.ended else "remove"
        elif self.terminated and not self.ended and self.lost_at is not None:
            self.over = "remove"  # nothing to tell, and nobody there
        elif self.terminated:
            if self.leave_at is None:
                self.leave_at = now + LEAVE_S
            if now >= self.leave_at:
                self.over = "keep" if self.ended else "remove"
            return self.leave_at
        elif not self.ended and self.lost_at is not None:
            if now >= self.lost_at + BYE_S:
                self.over = "remove"
            return self.lost_at + BYE_S
        return None

    # ------------------------------------------------ what ended

    def _take_ends(self, records):
        """Keep records of ended attempts, on disk first, so that no death loses one."""
        fresh = OrderedDict()
        for record in records:
            ticket = record["report"]["ticket"]
            self.queued.pop(ticket, None)
            self.running.pop(ticket, None)
            self.progress.pop(ticket, None)
            self.killing.discard(ticket)
            if ticket in self.forsaken and record["report"]["ended"] == "killed":
                message = "ended, for no master was there for too long"
                record = returned(ticket, message, record["report"].get("started"))
            self.forsaken.discard(ticket)
            fresh[ticket] = record
        if not fresh:
            return
        noted = list(fresh)
        new = [record for ticket, record in fresh.items() if ticket not in self.ended]
        try:
            self.disk.write_journal(new)
        except OSError:
            self.unnoted.update(record["report"]["ticket"] for record in new)
            noted = [ticket for ticket in noted if ticket not in self.unnoted]
        for record in new:
            self._keep(record)
        if noted:
            self._tell({"noted": noted})

    def _keep(self, record):
        """Hold a record until its report is answered; files go first."""
        report = record["report"]
        self.ended[report["ticket"]] = record
        if has_files(record):
            self.courier.upload(record)
        else:
            self.on_uploaded(report)

    def on_uploaded(self, report):
        """Report an attempt whose files, if any, have arrived."""
        ticket = report["ticket"]
        self.ready[ticket] = with_digest(report)
        self.unsent.add(ticket)

    def _forget(self, tickets):
        """Let go of attempts whose reports are stored at the master."""
        known = OrderedDict((t, self.ended.pop(t)) for t in tickets if t in self.ended)
        if known:  # the journal first: who dies in between leaves files, not a report without them
            self.disk.strike(list(known), not self.ended)
        for ticket, record in known.items():
            if has_files(record):
                self.courier.forget(ticket)
                self.disk.forget(ticket)
            self.ready.pop(ticket, None)
            self.unsent.discard(ticket)
        late = self.unnoted.intersection(known)
        if late:
            self.unnoted -= late
            self._tell({"noted": list(late)})
        return bool(known)

    def _again(self, ticket):
        """Send the files of an attempt again: what arrived does not match its report."""
        record = self.ended.get(ticket)
        if record is None or self.courier.carries(ticket):
            return False
        self.ready.pop(ticket, None)
        self.unsent.discard(ticket)
        self._keep(record)
        return True

    # ------------------------------------------------ the supervisor's life

    def _meet(self, table):
        """Learn from the supervisor what it has; it outlived the link before this one."""
        self.met = True
        self.slots = table["slots"]
        self.short = table["short"]
        self.parts.update(table["parts"])
        for lease in table["queued"]:
            self.queued[lease["ticket"]] = lease
        for ticket, *facts in table["running"]:
            self.running[ticket] = facts
        self.stop = self.stop or table["stop"]
        self._take_ends(table["ended"])
        self._tell({"hold": False})

    def _mend(self, now):
        """After the supervisor's death: kill what it had, report it returned, start a new one."""
        if self.mend_at is None or now < self.mend_at:
            return self.mend_at
        if self.doomed is not None:
            self.mend_until += now - self.mend_at  # it was stopped for so long, and tried nothing
            left = slay(self.processes, self._leftovers)
            if left and now < self.mend_until:
                self.mend_at = now + KILL_AGAIN_S
                return self.mend_at
            self._return_doomed(left)
            self.mend_at = now + self.mend_pause_s
        if self.stop:
            self.mend_at = None
            self._take_ends([returned(ticket, STOPPING) for ticket in self.queued])
        elif now >= self.mend_at:
            self.mend_at = None
            self._start_supervisor(now)
        return self.mend_at

    def _leftovers(self):
        pids = {pid: start for pid, start, *_ in self.running.values()}
        for pid in self.processes.strays(()):
            pids[pid] = None
        return self.processes.tree(pids, "CORRAL_INCARNATION=" + self.config.incarnation)

    def _return_doomed(self, left):
        message = "the supervisor died"
        if left:
            message += "; unclean: pid " + " ".join(str(pid) for pid in sorted(left))
        self._take_ends([returned(t, message, self._started_at(t)) for t in self.doomed])
        self.doomed = None

    def _started_at(self, ticket):
        """Give the wall time of a start, as near as it is known: the master must know of each."""
        now = self.clock.now()
        _, _, begun, *_ = self.running.get(ticket, (None, None, now))
        return self.clock.wall() - (now - begun)

    def _start_supervisor(self, now):
        self.born_at = now
        self.port = self.processes.start_peer()
        self._tell({"slots": self.slots, "hold": self.held, "timeouts": self.timeouts})
        self._give(list(self.queued.values()))
        self._tell({"kill": list(self.killing)})


def _refusal(body):
    try:
        refusal = loads(body.decode())
    except ValueError:
        return {}
    return refusal if isinstance(refusal, dict) else {}


def has_files(record):
    """Say whether an ended attempt has bytes that do not fit into its report."""
    report = record["report"]
    return bool(record.get("outputs")) or any(
        "size" in report.get(name, ()) and "inline" not in report[name] for name in STREAMS
    )


def cas_mode(item):
    """Give the permissions under which a shipped file is kept: its x bit is all that counts."""
    return "555" if item.get("mode", 0o644) & 0o111 else "444"


class Courier:
    """Carry files both ways, one request at a time: shipped ones first, for they gate starts."""

    def __init__(self, link, disk):
        self.link = link
        self.disk = disk
        self.fetches = OrderedDict()  # (digest, mode) -> Fetch
        self.uploads = OrderedDict()  # ticket -> Upload
        self.tail = Tail(link, disk)
        self.current = None  # the job whose request is on its way
        self.wait_until = 0.0
        self.backoff_s = BACKOFF_FIRST_S

    def fetch(self, digest, mode, item):
        key = (digest, mode)
        if key not in self.fetches:
            self.fetches[key] = Fetch(key, item, self.disk)

    def upload(self, record):
        ticket = record["report"]["ticket"]
        self.uploads[ticket] = Upload(record, self.disk)

    def cut_short(self, ticket):
        """Send no more of what nobody wants any more."""
        if ticket in self.uploads:
            self.uploads[ticket].cut_short()

    def carries(self, ticket):
        return ticket in self.uploads

    def forget(self, ticket):
        self.uploads.pop(ticket, None)

    def forget_fetches(self):
        self.fetches.clear()

    def tick(self, now):
        """Take the next step: one request, or one piece hashed."""
        jobs = self.fetches or self.uploads or self.tail.wanted
        if self.current is not None or self.link.gone or not jobs:
            return None
        if now < self.wait_until:
            return self.wait_until
        job = next(iter(self.fetches.values()), None) or self.tail.due(now)
        job = job or next(iter(self.uploads.values()), None)
        if job is None:
            return self.tail.look_at
        try:
            wanted = job.step()
        except OSError as problem:
            self._fail(job, problem)
            return now
        if job.done:
            self._finish(job)
        elif wanted is not None:
            method, path, body = wanted
            self.current = job
            self.link.file_number += 1
            self.link.request(FILE_LANE, method, path, self.link.file_number, body, FILE_REPLY_S)
            return None
        return now

    def on_reply(self, status, body):
        self.backoff_s = BACKOFF_FIRST_S
        self._end_step(lambda job: job.take(status, body))

    def on_refused(self, status):
        """The master will not have this (or has it not); its reasons are its own."""
        self._end_step(lambda job: job.refuse(status))
        self.on_closed(self.link.clock.now())

    def on_closed(self, now, backoff_s=0.0):
        """The connection broke: the same step again, after a pause."""
        self.current = None
        self.backoff_s = max(backoff_s, self.backoff_s)
        self.wait_until = now + self.backoff_s
        self.backoff_s = min(BACKOFF_LAST_S, self.backoff_s * 2)

    def _end_step(self, take):
        job, self.current = self.current, None
        try:
            take(job)
        except OSError as problem:
            self._fail(job, problem)

    def _finish(self, job):
        if isinstance(job, Fetch):
            if self.fetches.pop(job.key, None) is not None:
                self.link.on_fetched(job.key)
        elif self.uploads.pop(job.ticket, None) is not None:
            self.link.on_uploaded(job.report())

    def _fail(self, job, problem):
        """Give up a shipped file; a file of a task's is left out of its report, and said so."""
        if isinstance(job, Upload):
            job.leave_out(problem)
        elif self.fetches.pop(job.key, None) is not None:
            message = "cannot fetch %s: %s" % (job.path, problem.strerror or problem)
            self.link.on_fetch_failed(job.key, readable(message))


class Fetch:
    """One shipped file on its way into the content store."""

    def __init__(self, key, item, disk):
        self.key = key
        self.path = item["path"]
        self.size = item["size"]
        self.disk = disk
        self.offset = 0
        self.tries = 0
        self.done = False

    def step(self):
        if self.offset < self.size:
            return ("GET", "/agent/v1/blobs/%s?offset=%d" % (self.key[0], self.offset), b"")
        if self.size == 0:
            self.disk.store(self.key[0], self.key[1], 0, b"")
        if self.disk.seal(self.key[0], self.key[1]):
            self.done = True
        else:
            self._again("what arrived has another SHA-256")
        return None

    def take(self, status, body):
        if not body or self.offset + len(body) > self.size:
            self._again("what arrived has another size")
            return
        self.disk.store(self.key[0], self.key[1], self.offset, body)
        self.offset += len(body)

    def refuse(self, status):
        self._again("the master refused it (%d)" % status)

    def _again(self, why):
        self.offset = 0
        self.tries += 1
        if self.tries >= FETCH_TRIES:
            raise OSError(why)


class Sending:
    """One file of an ended attempt: its bytes go up, its hash is made as they are read."""

    def __init__(self, n, name, path, size, mode, cut=None):
        self.n = n
        self.name = name
        self.path = path
        self.size = size
        self.mode = mode
        self.cut = cut  # where its middle was left out
        self.sent = 0  # bytes the master has
        self.hashed = 0
        self.sha256 = sha256(large=True)
        self.begun = False

    def hash(self, offset, data):
        """Take in what lies beyond the part already hashed (a resumed upload reads twice)."""
        if offset + len(data) > self.hashed:
            self.sha256.update(memoryview(data)[self.hashed - offset :])
            self.hashed = offset + len(data)


class Upload:
    """The files of one ended attempt on their way to the master."""

    def __init__(self, record, disk):
        self.record = record
        self.ticket = record["report"]["ticket"]
        self.disk = disk
        self.files = None  # looked for at the first step
        self.sent = []
        self.complaints = []
        self.done = False

    def step(self):
        """Give the next request; None when a piece was only hashed, or a file is through."""
        if self.files is None:
            self.files = self._gather()
        if not self.files:
            self.done = True
            return None
        file = self.files[0]
        if file.hashed < file.sent:  # the master has this part from an earlier try
            data = self._read(file, file.hashed)
            file.hash(file.hashed, data)
            return None
        if file.begun and file.sent >= file.size:
            self.sent.append(self.files.pop(0))
            return None
        data = self._read(file, file.sent) if file.size else b""
        file.hash(file.sent, data)
        path = "/agent/v1/attempts/%s/files/%d?offset=%d" % (self.ticket, file.n, file.sent)
        return ("PUT", path, data)

    def take(self, status, body):
        """Go on where the master says its part ends (409: it has another length than we thought)."""
        if not self.files:
            return
        file = self.files[0]
        file.begun = True
        file.sent = min(loads(body.decode())["size"], file.size)

    def refuse(self, status):
        """Go on with the next file: the report will show the master what is missing."""
        if self.files:
            self.sent.append(self.files.pop(0))

    def cut_short(self):
        """Send no more: it was killed. What it wrote is not all there, so it is no result."""
        self.record = {"report": dict(self.record["report"], ended="killed")}
        self.files = []
        self.sent = []
        self.complaints = ["not sent, for it is not wanted any more"]

    def leave_out(self, problem):
        """Leave out what cannot be read; a success without it is none."""
        name, kind = "output", "env"
        if self.files:
            file = self.files.pop(0)
            name, kind = file.name, ("env" if file.n < len(STREAMS) else "output")
        else:
            self.files = []
        self.complaints.append("cannot read %s: %s" % (name, problem.strerror or problem))
        report = self.record["report"]
        if report["ended"] == "exited" and report["exit"] == 0:
            self.record = dict(self.record, report=dict(report, ended="failed", kind=kind))

    def report(self):
        """Give the report, with what the files turned out to be."""
        report = dict(self.record["report"])
        for name in STREAMS:
            if "inline" not in report.get(name, {"inline": ""}):
                del report[name]  # unless it could be sent
        files = []
        for file in self.sent:
            facts = {"size": file.size, "sha256": file.sha256.hexdigest()}
            if file.n < 2:
                report[file.name] = facts
            else:
                files.append(dict(facts, n=file.n, name=file.name, mode=file.mode))
        if files:
            report["files"] = files
        if self.complaints:
            said = [report["message"]] if report.get("message") else []
            report["message"] = readable("; ".join(said + self.complaints))[:4096]
        return report

    def _gather(self):
        """List what is to be sent: large streams as 0 and 1, the declared outputs from 2."""
        report = self.record["report"]
        files = []
        for n, name in enumerate(STREAMS):
            facts = report.get(name)
            if facts and "inline" not in facts:
                path = self.disk.stream_path(self.ticket, name)
                cut = self.record.get("cuts", {}).get(name)
                files.append(Sending(n, name, path, facts["size"], 0o600, cut))
        wanted = self.record.get("outputs") or ()
        if wanted:
            found, self.complaints = self.disk.outputs(self.ticket, self.record.get("dir"), wanted)
            for n, (name, path, size, mode) in enumerate(found, 2):
                files.append(Sending(n, name, path, size, mode))
        return files

    def _read(self, file, offset):
        size = min(CHUNK, file.size - offset)
        if file.cut is None:
            data = self.disk.read(file.path, offset, size)
        else:
            data = self.disk.read_cut(file.path, offset, size, file.cut)
        if not data:
            raise OSError("it became shorter while it was read")
        return data


class Tail:
    """What followed tasks have written so far: a job without end, and no result."""

    done = False

    def __init__(self, link, disk):
        self.link = link
        self.disk = disk
        self.wanted = {}  # (ticket, 0 or 1) -> bytes of that stream the master has
        self.sent = None  # which of them went last
        self.look_at = 0.0

    def due(self, now):
        if not self.wanted or now < self.look_at:
            return None
        self.look_at = now + TAIL_S
        return self

    def step(self):
        """Give the next piece, of each stream in turn."""
        for key, offset in list(self.wanted.items()):
            self.wanted[key] = self.wanted.pop(key)
            data = self._read(key[0], key[1], offset)
            if data:
                self.sent = key
                return ("PUT", "/agent/v1/attempts/%s/tail/%d?offset=%d" % (*key, offset), data)
        return None

    def _read(self, ticket, n, offset):
        """Read what is sure to be kept, and sure to be of this task: its process lives."""
        if ticket not in self.link.running:
            return b""
        pid, start, _, slot, part = self.link.running[ticket]
        kept = self.link.parts.get(part, {}).get("output_cap", OUTPUT_CAP) // 2
        path = self.disk.stream_file(slot, STREAMS[n])
        try:
            data = self.disk.read(path, offset, max(0, min(TAIL_BYTES, kept - offset)))
        except OSError:
            return b""
        return data if self.link.processes.start_time(pid) == start else b""

    def take(self, status, body):
        """Go on where the master is; 409: elsewhere, or it has no room yet."""
        if self.sent in self.wanted:
            self.wanted[self.sent] = loads(body.decode())["size"]

    def refuse(self, status):
        self.wanted = {}  # until the next reply


# ---------------------------------------------------------------- the supervisor


class Part:
    """What the leases of one run share, made ready for the hot path."""

    OURS = ("RUN", "TASK", "TASK_COUNT", "ATTEMPT", "TICKET", "HOST", "SLOT", "CPUS")
    OURS += ("OWNER", "INCARNATION", "FOLDER", "RESULT", "PROGRESS")

    def __init__(self, given, config):
        self.given = given
        self.dir = given.get("dir")
        self.inputs = given.get("inputs") or []
        self.timeout_s = given.get("timeout_s")
        self.grace_s = given.get("grace_s", 5.0)
        self.disk_floor = given.get("disk_floor", DISK_FLOOR)
        self.output_cap = given.get("output_cap", OUTPUT_CAP)
        self.slots = given.get("slots")
        self.cpus = given.get("cpus", 1)  # slots that each task takes
        self.needs = given.get("needs") or {}  # what else it takes, by name
        self.has = given.get("has") or {}  # what of that is here in all
        self.shell = encode(given.get("shell") or "/bin/sh")
        variables = self._variables(given, config)
        self.search = variables.get(b"PATH", b"/usr/bin:/bin")
        self.environment = [name + b"=" + value for name, value in variables.items()]
        self.said = os.path.join(encode(config.folder), b"said", b"")
        self.names = [b"CORRAL_PARAM_%s=" % encode(name) for name in given.get("names", ())]
        self.running = 0

    def _variables(self, given, config):
        env = given.get("env")
        variables = dict(config.environment if env is None else _pairs(binascii.a2b_base64(env)))
        variables.update(_encoded(given.get("add") or {}))
        ours = {b"CORRAL_" + name.encode() for name in self.OURS}
        ours.update(_variable(name) for name in self.needs)
        for name in list(variables):
            if name in ours or name.startswith(b"CORRAL_PARAM_"):
                del variables[name]
        cpus = str(given.get("cpus", 1))
        variables.setdefault(b"OMP_NUM_THREADS", encode(cpus))
        variables.update(
            _encoded(
                {
                    "CORRAL_RUN": given["run"],
                    "CORRAL_TASK_COUNT": str(given.get("task_count", 0)),
                    "CORRAL_HOST": config.host,
                    "CORRAL_CPUS": cpus,
                    "CORRAL_OWNER": config.owner,
                    "CORRAL_INCARNATION": config.incarnation,
                    "CORRAL_FOLDER": config.folder,
                }
            )
        )
        return variables

    def environment_of(self, lease, slot, holds):
        ticket = lease["ticket"].encode()
        variables = [
            *self.environment,
            b"CORRAL_TASK=%d" % lease["task"],
            b"CORRAL_ATTEMPT=%d" % lease["attempt"],
            b"CORRAL_TICKET=" + ticket,
            b"CORRAL_RESULT=" + self.said + ticket + b".result",
            b"CORRAL_PROGRESS=" + self.said + ticket + b".progress",
            b"CORRAL_SLOT=%d" % slot,
        ]
        for name, value in zip(self.names, lease.get("values", ())):
            variables.append(name + encode(value))
        for name, numbers in holds.items():
            variables.append(_variable(name) + b"=" + ",".join(map(str, numbers)).encode())
        return variables

    def words_of(self, lease, slot):
        """Give the argument vector: the lease's own, or a shell with its line."""
        words = lease.get("argv")
        if words is None:
            return [self.shell, b"-c", encode(lease["line"].replace(SLOT_MARK, str(slot)))]
        return [encode(word.replace(SLOT_MARK, str(slot))) for word in words]


def _variable(resource):
    return b"CORRAL_" + resource.upper().encode()


def _encoded(variables):
    return {encode(name): encode(value) for name, value in variables.items()}


class Task:
    """One attempt that runs here. ``due`` is when it needs a look even if nothing happens."""

    def __init__(self, lease, part, slot, holds, started, begun):
        self.lease = lease
        self.ticket = lease["ticket"]
        self.part = part
        self.slot = slot
        self.holds = holds  # which of each resource it has: {"gpu": [0, 1]}
        self.started = started  # wall clock, for display
        self.begun = begun
        self.pid = None
        self.told = False  # the link knows that it runs
        self.phase = "running"  # then ending (SIGTERM was sent), killing
        self.why = ""  # killed, timeout or oom: why it is being ended
        self.memory = lease.get("memory")  # bytes it may use; None: no limit
        self.used = 0  # bytes, when it was found above that
        self.group = None  # in which the kernel holds it to that; None: it is polled
        self.due = None if part.timeout_s is None else begun + part.timeout_s
        self.give_up_at = None  # end of grace, then of killing
        self.written = 0  # bytes of its longer stream at the last look
        self.looked_at = begun
        self.pause_s = KILL_AGAIN_S
        self.roots = {}  # orphans that die with it
        self.end = None  # (exit, signal, cpu seconds, peak kB, seconds) once it is reaped


class Supervisor:
    """Start tasks in the order of their leases, reap them, kill what is to die with them.

    A slot is free only when the whole tree of its task is dead. ``over`` is set when the
    processes are to end.
    """

    def __init__(self, config, clock, disk, processes, port):
        self.config = config
        self.clock = clock
        self.disk = disk
        self.processes = processes
        self.port = port  # to the link; None while there is none
        self.over = False

        self.slots = config.slots
        self.parts = {}
        self.timeouts = {}  # part -> seconds, where the master learns them meanwhile
        self.queue = OrderedDict()  # ticket -> lease
        self.tasks = OrderedDict()  # ticket -> Task
        self.pids = {}  # pid of a task's own process -> Task
        self.busy = {}  # slot -> ticket
        self.taken = 0  # slots that running tasks take: some take several
        self.orphans = {}  # pid of an orphan -> tickets one of which has started it
        self.unclean = set()  # pids that could not be killed
        self.ended = OrderedDict()  # ticket -> record, until the link has it on disk
        self.untold = []  # records of `ended` that the link has not been told
        self.altered = []  # leases whose shipped files are not what they were
        self.stop = ""
        self.held = False  # no master: start nothing
        self.short = ""  # why nothing is started, the disk being full; the link is told
        self.short_of = 0  # bytes that must be free until something is started again
        self.free = 0  # bytes that were free when last looked at ...
        self.free_until = None  # ... which holds until then
        self.terminated = False
        self.told_at = 0.0
        self.tell_at = None  # when the link is to be told what is new
        self.look_at = None  # when to look at what running tasks have written
        self.weigh_at = None  # when to look at the memory of those that have a limit
        self.oom_kills = processes.oom_kills()  # of the kernel, when last looked at
        self.oom_at = None  # when there were last more than before
        self.link_at = None  # when to start a new link
        self.link_born_at = clock.now()
        self.link_pause_s = BACKOFF_FIRST_S
        self.unlinked_at = clock.now()  # since when no link lived for more than a moment
        self._greet()

    # ------------------------------------------------ events

    def on_port(self, message):
        """Take a message of the link."""
        if "slots" in message:
            self.slots = message["slots"]
        if "hold" in message:
            self.held = message["hold"]
        for key, given in message.get("parts", {}).items():
            known = self.parts.get(key)
            if known is None or known.given != given:
                self.parts[key] = Part(given, self.config)
                self._limit_time(key)
        for key, seconds in message.get("timeouts", {}).items():
            self.timeouts[key] = seconds
            self._limit_time(key)
        if len(self.parts) > PARTS:
            self._drop_parts(message.get("parts", {}))
        for ticket in message.get("noted", ()):
            self.ended.pop(ticket, None)
        self._take(message.get("leases", ()))
        for ticket in message.get("kill", ()):
            self._kill(ticket)
        for ticket in message.get("drop", ()):
            self._kill(ticket, 0.0)
        for ticket in message.get("back", ()):
            if ticket in self.queue:
                self._kill(ticket)
        if message.get("stop"):
            self._halt(message["stop"])
        if message.get("end"):
            self.over = True

    def on_port_closed(self):
        """Take note that the link died: the next one gets all that is known here."""
        now = self.clock.now()
        self.port = None
        if now - self.link_born_at > MEND_S:
            self.link_pause_s = BACKOFF_FIRST_S
            self.unlinked_at = now
        if not self.tasks and now - self.unlinked_at > self.config.linger_s:
            self.over = True  # no link can live here: the folder may be gone
        self.link_at = now + (0.0 if self.link_pause_s == BACKOFF_FIRST_S else self.link_pause_s)
        self.link_pause_s = min(BACKOFF_LAST_S, self.link_pause_s * 2)

    def on_exit(self, pid, code, number, cpu_s, peak_kb):
        """Take note that a child was reaped: ``code``, or the ``number`` of the signal it died of."""
        self.orphans.pop(pid, None)
        self.unclean.discard(pid)
        task = self.pids.pop(pid, None)
        now = self.clock.now()
        if task is None:
            self._look_again(pid, now)
            return
        task.end = (code, number, cpu_s, peak_kb, now - task.begun)
        if task.phase != "running":
            task.due = earliest(task.due, now)
        elif self._adopt_doomed(task) or (task.group is not None and task.group.pids()):
            self._begin_killing(task, now)
        else:
            self._finish(task)

    def on_terminate(self):
        """Have the link end it all."""
        self.terminated = True
        self._send({"terminate": True})

    def tick(self, now):
        """Do what is due at ``now``; give the seconds until more is, None if only events count."""
        if self.link_at is not None and now >= self.link_at:
            self._start_link(now)
        due = self.link_at
        for task in list(self.tasks.values()):
            if task.due is not None:
                if task.due <= now:
                    self._advance(task, now)
                if task.due is not None and task.ticket in self.tasks:
                    due = earliest(due, task.due)
        if self.short:
            due = earliest(due, self._look_for_room(now))
        if self.queue:
            self._fill()
        due = earliest(due, self._look_when_due(now), self._weigh_when_due(now))
        due = earliest(due, self._tell_when_due(now))
        if self.disk.tidy():
            return 0.0
        return None if due is None else max(0.0, due - now)

    # ------------------------------------------------ starting

    def _take(self, leases):
        for lease in leases:
            ticket = lease["ticket"]
            if ticket in self.queue or ticket in self.tasks or ticket in self.ended:
                continue
            if self.stop:
                self._record(returned(ticket, STOPPING))
            elif self.short:
                self._record(returned(ticket, "no room on the disk"))
            else:
                self.queue[ticket] = lease

    def _drop_parts(self, fresh):
        used = {lease["part"] for lease in self.queue.values()}
        used.update(task.lease["part"] for task in self.tasks.values())
        for key in set(self.parts) - used - set(fresh):
            del self.parts[key]
            self.timeouts.pop(key, None)

    def _limit_time(self, key):
        """Give the tasks of a part, running ones too, the time that was learned for them."""
        if key not in self.parts or key not in self.timeouts:
            return
        part = self.parts[key]
        part.timeout_s = self.timeouts[key]
        for task in self.tasks.values():
            if task.lease["part"] == key and task.phase == "running":
                task.part.timeout_s = part.timeout_s
                task.due = task.begun + part.timeout_s

    def _fill(self):
        """Start what fits, in the order of the leases."""
        while not self.held and not self.stop:
            slot = next((n for n in range(self.slots) if n not in self.busy), None)
            if slot is None or self.taken >= self.slots:
                return
            lease = self._next_lease()
            if lease is None:
                return
            if self._lacks_room(lease):
                self._turn_away(lease)
                return
            self._start(lease, slot)
            if len(self.queue) == self.slots - 1:
                self.tell_at = 0.0  # it runs dry: the link may want more

    def _next_lease(self):
        """Take the first that may start; who lacks something keeps those behind from what it needs."""
        kept = set()
        for ticket, lease in self.queue.items():
            part = self.parts[lease["part"]]
            if part.slots is not None and part.running >= part.slots:
                continue
            if not kept.isdisjoint(part.needs):
                continue
            if self._pick(part) is None:
                kept.update(part.needs)
                continue
            slots = min(self.slots, part.has.get("cpus", self.slots))
            if self.taken + min(part.cpus, slots) > slots:
                return None
            del self.queue[ticket]
            return lease
        return None

    def _pick(self, part):
        """Choose which of each resource a task gets; None: there is too little of one."""
        picked = {}
        for name, amount in part.needs.items():
            used = sum(task.part.needs.get(name, 0) for task in self.tasks.values())
            if used + amount > part.has[name]:
                return None
            if name != "memory" and part.has[name] <= NUMBERED:
                busy = {n for task in self.tasks.values() for n in task.holds.get(name, ())}
                picked[name] = [n for n in range(part.has[name]) if n not in busy][:amount]
        return picked

    def _lacks_room(self, lease):
        """Say whether the disk is too full to start this."""
        now = self.clock.now()
        if self.free_until is None or now >= self.free_until:
            self.free = self.disk.room()
            self.free_until = now + ROOM_S
        return self.free < self.parts[lease["part"]].disk_floor

    def _turn_away(self, lease):
        """Start nothing until there is room: what waits goes back, and may run elsewhere."""
        self.queue[lease["ticket"]] = lease
        self.short_of = self.parts[lease["part"]].disk_floor
        self.short = "%d MiB free: below the disk floor of %d MiB, it starts nothing" % (
            self.free >> 20,
            self.short_of >> 20,
        )
        self.free_until = self.clock.now() + SHORT_S
        self._return_queue("no room on the disk")
        self._send({"short": self.short})

    def _look_for_room(self, now):
        """Start again once there is room; give when to look the next time."""
        if now < self.free_until:
            return self.free_until
        self.free = self.disk.room()
        self.free_until = now + SHORT_S
        if self.free < self.short_of:
            return self.free_until
        self.short = ""
        self._send({"short": ""})
        return None

    def _return_queue(self, message):
        for ticket in list(self.queue):
            del self.queue[ticket]
            self._record(returned(ticket, message))

    def _start(self, lease, slot):
        part = self.parts[lease["part"]]
        ticket = lease["ticket"]
        now = self.clock.now()
        holds = self._pick(part)
        task = Task(lease, part, slot, holds, self.clock.wall(), now)
        try:
            inputs = part.inputs + list(lease.get("inputs", ()))
            folder = self.disk.prepare(slot, part.dir, inputs, lease.get("texts", ()))
            out, err = self.disk.streams(slot)
            self.disk.note_start(ticket)
            task.group = self.processes.confine(ticket, task.memory)
            task.pid = self.processes.spawn(
                part.words_of(lease, slot),
                part.environment_of(lease, slot, holds),
                part.search,
                folder,
                out,
                err,
                task.group,
            )
        except Altered as file:
            self.altered.append([ticket, file.digest, file.mode])
            self.tell_at = 0.0
        except CannotStart as problem:
            self.processes.release(task.group)
            self._record_unstarted(task, problem.kind, problem.message)
        except OSError as problem:
            self.processes.release(task.group)
            if problem.errno == errno.ENOENT and not os.path.exists(encode(self.config.folder)):
                raise  # somebody removed it: to die gives back all that is here, blaming nobody
            message = "cannot make the task's folder: %s" % (problem.strerror or problem)
            self._record_unstarted(task, "env", message)
        else:
            part.running += 1
            self.taken += part.cpus
            self.tasks[ticket] = task
            self.pids[task.pid] = task
            self.busy[slot] = ticket
            self.look_at = earliest(self.look_at, now + LOOK_FIRST_S)
            if task.memory is not None:
                self.weigh_at = earliest(self.weigh_at, now + LOOK_FIRST_S)
            if self.tell_at is None:
                self.tell_at = now + TELL_S

    def _record_unstarted(self, task, kind, message):
        report = {"ticket": task.ticket, "ended": "failed", "kind": kind, "slot": task.slot}
        report["message"] = readable(message)
        report["started"] = round(task.started, 3)
        self._record({"report": report})

    # ------------------------------------------------ looking at what runs

    def _look_when_due(self, now):
        """Hold running tasks to their limits; look again as soon as one might pass them."""
        if self.look_at is not None and now >= self.look_at:
            self._count_oom_kills(now)
            pauses = [self._bound_output(task, now) for task in self.tasks.values()]
            self.look_at = now + min(pauses) if pauses else None
        return self.look_at

    def _bound_output(self, task, now):
        """Give the disk back what a task wrote too much; say how long that may wait next time."""
        cap = task.part.output_cap
        size = self.disk.bound(task.slot, cap)
        grown = size - task.written
        passed_s = max(now - task.looked_at, 1e-3)
        task.written = size
        task.looked_at = now
        if grown <= 0:
            return max(LOOK_S, min(LOOK_LAST_S, 2 * passed_s))
        room = max(0, cap - size) + CAP_SLACK
        return max(LOOK_LEAST_S, min(LOOK_S, room * passed_s / grown))

    def _weigh_when_due(self, now):
        """Kill the tasks that use more memory than they may."""
        if self.weigh_at is None or now < self.weigh_at:
            return self.weigh_at
        limited = {
            task.pid: task
            for task in self.tasks.values()
            if task.memory is not None and task.phase == "running"
        }
        self.weigh_at = now + WEIGH_S if limited else None
        polled = {p: (t.ticket, t.memory) for p, t in limited.items() if t.group is None}
        for pid, used in self.processes.weigh(polled).items() if polled else ():
            if used > limited[pid].memory:
                limited[pid].used = used
                self._end(limited[pid], "oom", now, 0.0)
        for task in limited.values():
            if task.group is not None and task.group.oom_kills():
                self._end(task, "oom", now, 0.0)  # the kernel may have killed but one of it
        return self.weigh_at

    def _count_oom_kills(self, now):
        kills = self.processes.oom_kills()
        if kills > self.oom_kills:
            self.oom_at = now
            self.oom_kills = kills

    def _was_oom_killed(self, task, code, number):
        """Say whether it died as the kernel, out of memory, was killing: a shell says it by 137."""
        by_shell = code == 128 + KILL and task.lease.get("argv") is None
        if number != KILL and not by_shell:
            return False
        now = self.clock.now()
        self._count_oom_kills(now)
        return self.oom_at is not None and self.oom_at >= max(task.begun, now - OOM_S)

    # ------------------------------------------------ ending

    def _kill(self, ticket, grace_s=None):
        if self.queue.pop(ticket, None) is not None:
            self._record(returned(ticket, "not wanted any more"))
        elif ticket in self.tasks:
            self._end(self.tasks[ticket], "killed", self.clock.now(), grace_s)

    def _halt(self, how):
        self.stop = how
        self._return_queue(STOPPING)
        if how == "now":
            for task in list(self.tasks.values()):
                self._end(task, "killed", self.clock.now())

    def _end(self, task, why, now, grace_s=None):
        """Begin to end a task: SIGTERM to all of it, then wait out its grace."""
        grace_s = task.part.grace_s if grace_s is None else grace_s
        if task.phase != "running":
            return
        task.why = why
        task.phase = "ending"
        task.due = now
        task.give_up_at = now + grace_s
        if grace_s > 0:
            tree = self._tree(task)
            self.processes.signal(tree, TERM)
            self.processes.signal(tree, CONT)
        self._advance(task, now)

    def _begin_killing(self, task, now):
        task.phase = "killing"
        task.due = now
        task.give_up_at = now + UNCLEAN_S
        task.pause_s = KILL_AGAIN_S
        self._advance(task, now)

    def _advance(self, task, now):
        """Take the next step in the ending of a task."""
        if task.phase == "running":
            self._end(task, "timeout", now)
            return
        task.give_up_at += now - task.due  # who was stopped meanwhile has not tried for so long
        self._adopt_doomed(task)
        if task.phase == "ending" and now >= task.give_up_at:
            self._begin_killing(task, now)
            return
        if task.phase == "ending":
            left = self._tree(task)
        else:
            left = slay(self.processes, lambda: self._tree(task))
        if task.end is not None and not left:
            self._finish(task)
        elif task.phase == "killing" and now >= task.give_up_at:
            self._finish(task, left)
        else:
            task.due = min(now + task.pause_s, task.give_up_at)
            task.pause_s = min(KILL_PAUSE_S, task.pause_s * 2)

    def _tree(self, task):
        pids = dict(task.roots)
        pids[task.pid] = None if task.end is None else GONE
        tree = self.processes.tree(pids, "CORRAL_TICKET=" + task.ticket)
        if task.group is not None:
            tree |= task.group.pids()
        return tree - self.unclean

    def _look_again(self, pid, now):
        """An orphan died: whoever waits for that may be through."""
        for task in self.tasks.values():
            task.roots.pop(pid, None)
            if task.phase != "running":
                task.due = earliest(task.due, now)

    def _adopt_doomed(self, task):
        """Find the orphans that die with this task: its own, and those nobody else can have started.

        An orphan without tag, session or trace belongs to one of the tasks that ran when it was
        first seen; it dies with the last of them.
        """
        for pid in self.processes.strays(self.pids):
            if pid not in self.orphans and pid not in self.unclean:
                self.orphans[pid] = self._suspects(pid)
        for pid, tickets in self.orphans.items():
            tickets.discard(task.ticket)
            if not any(ticket in self.tasks for ticket in tickets):
                task.roots[pid] = None
        return bool(task.roots)

    def _suspects(self, pid):
        ticket, session, slot = self.processes.origin(pid)
        if not ticket and session is not None:
            led = (task.ticket for task in self.tasks.values() if task.pid == session)
            ticket = next(led, "")
        if not ticket:
            ticket = self.busy.get(slot, "")
        return {ticket} if ticket else set(self.tasks)

    def _finish(self, task, left=()):
        """The tree is dead: free the slot, keep what the task left."""
        del self.tasks[task.ticket]
        del self.busy[task.slot]
        task.part.running -= 1
        self.taken -= task.part.cpus
        code, number, cpu_s, peak_kb, seconds = task.end or (None, None, 0.0, 0, 0.0)
        if task.group is not None:
            task.why = task.why or ("oom" if task.group.oom_kills() else "")
            peak_kb = task.group.peak_kb() or peak_kb
            self.processes.release(task.group)
        self.pids.pop(task.pid, None)
        self.unclean.update(left)
        report = {"ticket": task.ticket, "slot": task.slot, "started": round(task.started, 3)}
        report["seconds"] = round(seconds, 6)
        report["cpu_s"] = round(cpu_s, 6)
        report["peak_kb"] = peak_kb
        report.update(self._verdict(task, code, number))
        if left:
            unclean = "unclean: pid " + " ".join(str(pid) for pid in sorted(left))
            report["message"] = "; ".join(filter(None, (report.get("message"), unclean)))
        self._add_result(task, report)
        record = {"report": report}
        self._add_files(task, record)
        self._record(record)

    def _verdict(self, task, code, number):
        """Say how it ended, in the words of the protocol."""
        facts = {"ended": "exited"}
        if code is not None:
            facts["exit"] = code
        if number is not None:
            facts["signal"] = number
        if task.why == "killed":
            facts["ended"] = "killed"
        elif task.why == "timeout":
            message = "not done after %g s" % task.part.timeout_s
            facts.update(ended="failed", kind="timeout", message=message)
        elif task.why == "oom":
            if task.group is not None:
                said = (task.memory >> 20, task.group.by)
                message = "it needed more than its %d MiB of memory (%s)" % said
            else:
                said = (task.used >> 20, task.memory >> 20)
                message = "it used %d MiB of memory, more than its %d (polled)" % said
            facts.update(ended="failed", kind="oom", message=message)
        elif self._was_oom_killed(task, code, number):
            message = "the kernel killed it: out of memory"
            facts.update(ended="failed", kind="oom", message=message)
        elif number is not None:
            facts.update(ended="failed", kind="signal", message="died of signal %d" % number)
        elif code in (126, 127) and task.lease.get("argv") is None:
            message = "the shell could not start it (exit %d)" % code
            facts.update(ended="failed", kind="spawn", message=message)
        return facts

    def _add_result(self, task, report):
        """Add what the task wrote to CORRAL_RESULT; what is too long is no result."""
        said = self.disk.take_said(task.ticket)
        if not said:
            return
        if len(said) <= RESULT_BYTES:
            report["result"] = readable(said)
        elif report["ended"] == "exited" and report["exit"] == 0:
            message = "CORRAL_RESULT holds more than %d bytes" % RESULT_BYTES
            report.update(ended="failed", kind="output", message=message)

    def _add_files(self, task, record):
        report = record["report"]
        wanted = [[out["name"], out.get("kind", "file")] for out in task.lease.get("outputs", ())]
        good = report["ended"] == "exited" and report["exit"] == 0
        if wanted and good:
            record["outputs"] = wanted
            if task.part.dir is not None:
                record["dir"] = task.part.dir
        keep_folder = "outputs" in record and task.part.dir is None
        try:
            cap = task.part.output_cap
            streams = self.disk.gather(task.slot, task.ticket, keep_folder, cap)
        except OSError as problem:
            record.pop("outputs", None)
            message = "cannot keep what the task wrote: %s" % (problem.strerror or problem)
            report.update(ended="failed", kind="env", message=readable(message))
            return
        for name, data in zip(STREAMS, streams):
            if isinstance(data, Cut):
                said = "%s: %d of %d bytes left out" % (name, data.left_out, data.written)
                report["message"] = "; ".join(filter(None, (report.get("message"), said)))
                if isinstance(data.kept, int):
                    record.setdefault("cuts", {})[name] = [data.head, data.resume, data.marker]
                data = data.kept
            if isinstance(data, int):
                report[name] = {"size": data}
            elif data:
                inline = binascii.b2a_base64(data, newline=False).decode()
                report[name] = {"size": len(data), "inline": inline}

    # ------------------------------------------------ the link

    def _record(self, record):
        self.ended[record["report"]["ticket"]] = record
        self.untold.append(record)

    def _tell_when_due(self, now):
        """Tell the link what is new: at once if it was quiet, else in batches."""
        if self.untold and self.tell_at != 0.0:
            quiet = now - self.told_at >= TELL_S
            if quiet or len(self.untold) >= TELL_MANY or not self.tasks:
                self.tell_at = 0.0
            else:
                self.tell_at = self.told_at + TELL_S
        if self.tell_at is None or now < self.tell_at:
            return self.tell_at
        self.tell_at = None
        self.told_at = now
        message = {}
        started = [task for task in self.tasks.values() if not task.told]
        if started:
            message["started"] = [self._describe(task)[:5] for task in started]
        if self.untold:
            message["ended"] = self.untold
            self.untold = []
        if self.altered:
            message["altered"] = self.altered
            self.altered = []
        self._send(message)
        return None

    def _describe(self, task):
        task.told = True
        start = self.processes.start_time(task.pid)
        return [task.ticket, task.pid, start, task.begun, task.slot, task.lease["part"]]

    def _send(self, message):
        if self.port is not None and message:
            self.port.send(message)

    def _start_link(self, now):
        self.link_at = None
        self.link_born_at = now
        self.port = self.processes.start_peer()
        self._greet()

    def _greet(self):
        """Give a new link all that is known here."""
        self._send({"table": self.table()})
        self.untold = []
        if self.terminated:
            self._send({"terminate": True})

    def table(self):
        """Tell all that is known here, as a new link needs it."""
        return {
            "slots": self.slots,
            "stop": self.stop,
            "short": self.short,
            "parts": {key: part.given for key, part in self.parts.items()},
            "queued": list(self.queue.values()),
            "running": [self._describe(task) for task in self.tasks.values()],
            "ended": list(self.ended.values()),
        }


# ---------------------------------------------------------------- the world


class SystemClock:
    """The clock. ``now()`` is monotonic and counts suspended time; ``wall()`` is for people."""

    BOOTTIME = 7  # CLOCK_BOOTTIME, which Python 3.6 cannot name

    def __init__(self):
        try:
            time.clock_gettime(self.BOOTTIME)
            self.now = lambda: time.clock_gettime(self.BOOTTIME)
        except (AttributeError, OSError):
            self.now = time.monotonic
        self.wall = time.time


class Wire:
    """One HTTP connection: what is still to be written, what has been read."""

    def __init__(self, sock):
        self.sock = sock
        self.out = []
        self.inbox = bytearray()
        self.waiting = False  # for the reply to a request


class SocketTransport:
    """The way to the master: a few lanes, each with one request at a time."""

    HEAD_BYTES = 64 * 1024
    BODY_BYTES = 256 << 20

    def __init__(self, path):
        self.path = path  # relative to the current folder: an absolute one may pass 107 bytes
        self.wires = {}
        self.unable = []  # lanes whose connection could not be made

    def send(self, lane, method, path, headers, body):
        lines = ["%s %s HTTP/1.1" % (method, path), "host: corral"]
        lines += ["content-type: application/json"] if method == "POST" else []
        lines += ["content-length: %d" % len(body)]
        lines += ["%s: %s" % header for header in headers]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        try:
            wire = self.wires.get(lane) or self._connect(lane)
        except OSError:
            self.unable.append(lane)
            return
        wire.waiting = True
        wire.out = [memoryview(head + body)]
        self._flush(wire)

    def close(self, lane):
        wire = self.wires.pop(lane, None)
        if wire is not None:
            wire.sock.close()

    def close_all(self):
        for lane in list(self.wires):
            self.close(lane)

    def interest(self):
        """Give what the loop is to poll, as {fd: mask}."""
        return {
            wire.sock.fileno(): select.POLLIN | (select.POLLOUT if wire.out else 0)
            for wire in self.wires.values()
        }

    def events(self, ready):
        """Move bytes on the ready descriptors; give what that brought."""
        events = [("closed", lane) for lane in self.unable]
        self.unable = []
        for lane, wire in list(self.wires.items()):
            mask = ready.get(wire.sock.fileno(), 0)
            if mask & select.POLLOUT:
                self._flush(wire)
            if mask & ~select.POLLOUT:
                events += self._receive(lane, wire)
        return events

    def _connect(self, lane):
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.connect(self.path)
        except OSError:
            sock.close()
            raise
        self.wires[lane] = Wire(sock)
        return self.wires[lane]

    def _flush(self, wire):
        try:
            while wire.out:
                sent = wire.sock.send(wire.out[0])
                if sent < len(wire.out[0]):
                    wire.out[0] = wire.out[0][sent:]
                    return
                wire.out.pop(0)
        except BlockingIOError:
            return
        except OSError:
            wire.out = []  # reading will find the end, or an early answer

    def _receive(self, lane, wire):
        try:
            data = wire.sock.recv(RECEIVE)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        wire.inbox += data
        reply = self._parse(wire) if data else None
        if data and reply is None:
            return []
        waiting, wire.waiting = wire.waiting, False
        if reply is None or not waiting:  # ended, not HTTP, or an answer nobody asked for
            self.close(lane)
            return [("closed", lane)] if waiting else []
        status, signed, body, last = reply
        if last:
            self.close(lane)
        return [("reply", lane, status, signed, body)]

    def _parse(self, wire):
        """Give (status, signature, body, whether the connection ends); None if it is not whole."""
        end = wire.inbox.find(b"\r\n\r\n")
        if end < 0:
            return self._nonsense(wire) if len(wire.inbox) > self.HEAD_BYTES else None
        lines = bytes(wire.inbox[:end]).decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        words = lines[0].split(" ")
        size = headers.get("content-length", "0")
        if len(words) < 2 or not is_number(words[1]) or not is_number(size):
            return self._nonsense(wire)
        if "transfer-encoding" in headers or int(size) > self.BODY_BYTES:
            return self._nonsense(wire)
        whole = end + 4 + int(size)
        if len(wire.inbox) < whole:
            return None
        body = bytes(memoryview(wire.inbox)[end + 4 : whole])
        wire.inbox = wire.inbox[whole:]
        last = headers.get("connection", "").lower() == "close"
        return (int(words[1]), headers.get("corral-signature", ""), body, last)

    def _nonsense(self, wire):
        """What came is no answer of ours: status 0, unsigned, so it is never obeyed."""
        wire.inbox = bytearray()
        return (0, "", b"", True)


class Port:
    """The way to the other process: ``send(message)``; a message is a dict of plain values.

    The other side's ``on_port`` gets them whole and in order; ``on_port_closed`` comes last.
    """

    def __init__(self, sock):
        sock.setblocking(False)
        self.sock = sock
        self.inbox = bytearray()
        self.out = bytearray()

    def send(self, message):
        data = dumps(message).encode()
        self.out += len(data).to_bytes(4, "big") + data
        self.flush()

    def flush(self):
        try:
            while self.out:
                sent = self.sock.send(self.out)
                del self.out[:sent]
        except BlockingIOError:
            return
        except OSError:
            self.out = bytearray()  # the other one is dead: the end is read next

    def interest(self):
        return {self.sock.fileno(): select.POLLIN | (select.POLLOUT if self.out else 0)}

    def receive(self, ready):
        """Give (messages, whether the other side is gone)."""
        mask = ready.get(self.sock.fileno(), 0)
        if mask & select.POLLOUT:
            self.flush()
        if not mask & ~select.POLLOUT:
            return [], False
        try:
            data = self.sock.recv(RECEIVE)
        except BlockingIOError:
            return [], False
        except OSError:
            data = b""
        self.inbox += data
        return list(self._messages()), not data

    def _messages(self):
        start = 0
        while len(self.inbox) - start >= 4:
            end = start + 4 + int.from_bytes(self.inbox[start : start + 4], "big")
            if len(self.inbox) < end:
                break
            yield loads(self.inbox[start + 4 : end].decode())
            start = end
        del self.inbox[:start]

    def close(self):
        self.sock.close()


class Cut:
    """A stream that was longer than its cap: ``head`` bytes, a line in place of the middle, a tail.

    ``kept`` is what is left, or its size if that is long: then the bytes from ``resume`` on still
    stand in the file, behind a hole.
    """

    def __init__(self, file, head, resume, lost):
        self.head = head
        self.resume = resume
        self.left_out = lost + resume - head
        self.written = lost + os.fstat(file).st_size
        line = "[corral: %d bytes left out here]\n" % self.left_out
        self.marker = line if os.pread(file, 1, head - 1) == b"\n" else "\n" + line
        self.kept = head + len(self.marker) + self.written - lost - resume
        if self.kept <= INLINE:
            tail = os.pread(file, INLINE, resume)
            self.kept = os.pread(file, head, 0) + self.marker.encode() + tail


class Disk:
    """The agent's folder. Paths are bytes; what fails raises OSError."""

    def __init__(self, folder):
        self.folder = encode(folder)
        self.cas = os.path.join(self.folder, b"cas")
        self.slots = os.path.join(self.folder, b"slots")
        self.spool = os.path.join(self.folder, b"spool")
        self.trash = os.path.join(self.folder, b"trash")
        self.said = os.path.join(self.folder, b"said")  # TICKET.result, TICKET.progress
        self.silent_ns = None  # time of `said` as long as no task has ever put anything there
        self.clean = {}  # slot -> inputs linked in its folder, all else being as it was made
        self.altered = set()  # digests of inputs that a task wrote into, as root may: now copied
        self.files = {}  # (slot, "stdout"|"stderr") -> descriptor
        self.lost = {}  # the same -> bytes gone from behind the head, and not as a hole
        self.ring = None
        self.starts = 0
        self.journal_file = None
        self.littered = False
        for path in (self.cas, self.slots, self.spool, self.trash, self.said):
            make_folder(path)

    def close(self):
        for file in self.files.values():
            os.close(file)
        for file in (self.ring, self.journal_file):
            if file is not None:
                os.close(file)
        self.files = {}
        self.ring = self.journal_file = None

    # ------------------------------------------------ link: journal

    def next_generation(self):
        """Count the links of this folder, so that the next one's numbers are above the last's."""
        path = os.path.join(self.folder, b"generation")
        try:
            with open(path, "rb") as file:
                known = file.read(GENERATION_DIGITS)
            generation = int(known) + 1
        except FileNotFoundError:
            generation = 1
        except ValueError:  # torn by a crash: seconds since 1970 are above any count
            generation = int(time.time())
        with open(path + b".new", "w") as file:
            file.write(str(generation))
        os.rename(path + b".new", path)
        return generation

    def journal(self):
        """Read the records of ended, unanswered attempts; only whole lines count."""
        path = os.path.join(self.spool, b"journal")
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        self.journal_file = os.open(path, flags, 0o600)
        with open(path, "rb") as file:
            text = file.read()
        records = OrderedDict()
        for line in text.split(b"\n")[:-1]:
            entry = self._entry(line)
            if "report" in entry:
                records[entry["report"]["ticket"]] = entry
            for ticket in entry.get("answered", ()):
                records.pop(ticket, None)
        if text and not text.endswith(b"\n"):
            os.write(self.journal_file, b"\n")
        return list(records.values())

    def _entry(self, line):
        """Give a line's record; nothing of one that a full disk or a crash tore."""
        mark, _, text = line.partition(b" ")
        return loads(text.decode()) if mark == b"%08x" % binascii.crc32(text) else {}

    def write_journal(self, records):
        self._append(records)

    def strike(self, tickets, last):
        """Note that these are answered; ``last`` = nothing is left unanswered."""
        if last:
            os.ftruncate(self.journal_file, 0)
            return
        try:
            self._append([{"answered": tickets}])
        except OSError as problem:  # they would be reported once more, which does no harm
            log("cannot note what is answered: %s" % problem)

    def _append(self, records):
        """Add a line for each, led by the CRC-32 of what follows."""
        texts = [dumps(record).encode() for record in records]
        data = b"".join(b"%08x %s\n" % (binascii.crc32(text), text) for text in texts)
        if os.write(self.journal_file, data) < len(data):
            os.write(self.journal_file, b"\n")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def started(self):
        """Give the tickets that the supervisor started last."""
        try:
            with open(os.path.join(self.folder, b"started"), "rb") as file:
                return set(file.read().replace(b"\0", b" ").decode("ascii", "replace").split())
        except FileNotFoundError:
            return set()

    # ------------------------------------------------ link: shipped files

    def _stored(self, digest, mode):
        return os.path.join(self.cas, ("%s-%s" % (digest, mode)).encode())

    def has(self, digest, mode, size):
        """Give the inode of a stored file that is as it was put there, else None."""
        try:
            found = os.lstat(self._stored(digest, mode))
        except FileNotFoundError:
            return None
        intact = found.st_size == size and found.st_mtime == CAS_MTIME_S
        return found.st_ino if intact else None

    def store(self, digest, mode, offset, data):
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if offset == 0 else 0)
        file = os.open(self._stored(digest, mode) + b".part", flags, 0o600)
        try:
            while data:
                written = os.pwrite(file, data, offset)
                offset += written
                data = data[written:]
        finally:
            os.close(file)

    def seal(self, digest, mode):
        """Make a stored file usable if its SHA-256 is right; say whether it is."""
        path = self._stored(digest, mode) + b".part"
        seen = sha256(large=True)
        with open(path, "rb") as file:
            for piece in iter(lambda: file.read(CHUNK), b""):
                seen.update(piece)
        if seen.hexdigest() != digest:
            os.unlink(path)
            return False
        os.chmod(path, int(mode, 8))
        os.utime(path, (CAS_MTIME_S, CAS_MTIME_S))
        os.rename(path, self._stored(digest, mode))
        return True

    def drop(self, digest, mode):
        remove(self._stored(digest, mode))

    # ------------------------------------------------ link: what tasks left

    def stream_path(self, ticket, name):
        return os.path.join(self.spool, ticket.encode(), name.encode())

    def outputs(self, ticket, folder, wanted):
        """Find declared outputs: ([(name, path, size, mode)], [what is wrong with what is there]).

        ``folder`` is where the task ran if not in a folder of its own. Regular files only, none
        that a link leads to from outside, and none whose name would do something to a terminal.
        """
        base = self.stream_path(ticket, "work") if folder is None else encode(folder)
        root = os.path.realpath(base)
        found = OrderedDict()
        complaints = []
        for name, kind in wanted:
            for path in self._matches(base, name, kind) if safe_path(name) else ():
                real = os.path.realpath(path)
                try:
                    relative = os.path.relpath(path, base).decode()
                    facts = os.lstat(real)
                except (UnicodeDecodeError, OSError) as problem:
                    complaints.append("%s: %s" % (readable(path), problem))
                    continue
                if controls(relative):
                    complaints.append("%r has control characters in its name" % relative)
                elif not real.startswith(root + b"/"):
                    complaints.append("%s leads out of the task's folder" % relative)
                elif stat.S_ISREG(facts.st_mode):
                    mode = stat.S_IMODE(facts.st_mode) & 0o777
                    found[relative] = (relative, real, facts.st_size, mode)
                elif kind == "file":
                    complaints.append("%s is not a regular file" % relative)
        return list(found.values()), complaints

    def _matches(self, base, name, kind):
        path = os.path.join(base, encode(name))
        if kind == "glob":
            import glob  # here, not at the top: it costs a millisecond that few need

            pattern = os.path.join(glob.escape(base), encode(name))
            return sorted(glob.glob(pattern, recursive=True))
        if kind == "file" or os.path.islink(path.rstrip(b"/")):
            return [path] if os.path.lexists(path) else []
        return sorted(
            os.path.join(folder, file)
            for folder, _, files in os.walk(path)
            for file in files
            if not os.path.islink(os.path.join(folder, file))
        )

    def progress(self, ticket):
        """Give the last line that a task wrote to CORRAL_PROGRESS; "" if there is none."""
        path = os.path.join(self.said, ticket.encode() + b".progress")
        try:
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return ""
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                return ""
            data = os.pread(file, PROGRESS_BYTES, max(0, found.st_size - PROGRESS_BYTES))
        except OSError:
            return ""
        finally:
            os.close(file)
        lines = data.decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return said[-1][:PROGRESS_CHARS] if said else ""

    def read(self, path, offset, size):
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            return os.pread(file, size, offset)
        finally:
            os.close(file)

    def read_cut(self, path, offset, size, cut):
        """Read a stream whose middle was left out, as if head, marker and tail were all of it."""
        head, resume, marker = cut
        beyond = offset - head
        if beyond < 0:
            return self.read(path, offset, min(size, -beyond))
        if beyond < len(marker):
            return marker[beyond : beyond + size].encode()
        return self.read(path, resume + beyond - len(marker), size)

    def forget(self, ticket):
        remove(os.path.join(self.spool, ticket.encode()))

    # ------------------------------------------------ supervisor

    def begin(self):
        """Start with fresh slots: what a supervisor before this one left in them is trash."""
        for path in (self.slots, self.said):
            self._discard(path)
            make_folder(path)
        self.silent_ns = os.stat(self.said).st_mtime_ns
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        self.ring = os.open(os.path.join(self.folder, b"started"), flags, 0o600)

    def room(self):
        """Give the bytes that are free where tasks run."""
        space = os.statvfs(self.folder)
        return space.f_bavail * space.f_frsize

    def note_start(self, ticket):
        """Leave a trace before the start: whatever dies now, this ticket is not started again."""
        place = self.starts % RING * RING_WIDTH
        os.pwrite(self.ring, ticket.encode().ljust(RING_WIDTH, b"\0"), place)
        self.starts += 1

    def _slot(self, slot):
        return os.path.join(self.slots, b"%d" % slot)

    def prepare(self, slot, folder, inputs, texts=()):
        """Give the folder to run in: ``folder``, or the slot's own with what is the task's in it.

        Inputs are linked into it, texts are written.
        """
        if folder is not None:
            return encode(folder)
        path = self._link_all(slot, inputs)
        for item in texts:
            self._write(path, item)
            self.clean.pop(slot, None)
        return path

    def _link_all(self, slot, inputs):
        linked = tuple([self._intact(item) for item in inputs])
        path = self._slot(slot)
        if self.clean.get(slot) == linked and self._is_untouched(path):
            return path
        self.clean.pop(slot, None)
        self._empty(path)
        links = [self._link(digest, mode, path, name) for name, digest, mode, _ in linked]
        os.utime(path, ns=(TIDY_NS, TIDY_NS))
        # below, or in a copy, a change would not be seen
        if all(links) and not any("/" in name for name, _, _, _ in linked):
            self.clean[slot] = linked
        return path

    def _write(self, folder, item):
        """Write a file of the task's own; one that is there already is a shipped one: not to touch."""
        path = self._inside(folder, item["path"])
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(path, flags, 0o600), "wb") as file:
            file.write(encode(item["text"]))
            os.fchmod(file.fileno(), item.get("mode", 0o644))

    def _inside(self, folder, name):
        """Give the path of a file in a folder, the folders on the way being made."""
        if not safe_path(name):
            raise OSError(errno.EINVAL, "not a relative path: %r" % name)
        path = os.path.join(folder, encode(name))
        make_folders(os.path.dirname(path))
        return path

    def _intact(self, item):
        digest, mode = item["sha256"], cas_mode(item)
        inode = self.has(digest, mode, item["size"])
        if inode is None:
            self.altered.add(digest)
            raise Altered(digest, mode)
        return item["path"], digest, mode, inode

    def _is_untouched(self, path):
        """Say whether nothing was made, removed or renamed in a folder since its time was set."""
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return False
        return found.st_mtime_ns == TIDY_NS and stat.S_IMODE(found.st_mode) == 0o700

    def _empty(self, path):
        try:
            if os.path.islink(path) or os.listdir(path):
                self._discard(path)
        except FileNotFoundError:
            pass
        except OSError:
            self._discard(path)
        make_folder(path)

    def _discard(self, path):
        """Remove a small folder at once; move a large one away to be removed bit by bit."""
        try:
            if remove(path, TIDY_ENTRIES):
                return
        except OSError as problem:
            log("cannot remove %s: %s" % (readable(path), problem))
        self.littered = True
        name = b"%d-%d" % (os.getpid(), time.time() * 1e9)
        os.rename(path, os.path.join(self.trash, name))

    def tidy(self):
        """Remove a little of the trash; say whether there is more."""
        if self.littered:
            try:
                self.littered = not remove(self.trash, TIDY_ENTRIES)
                make_folder(self.trash)
            except OSError as problem:
                self.littered = False  # it stays until the whole folder goes
                log("cannot remove %s: %s" % (readable(self.trash), problem))
        return self.littered

    def _link(self, digest, mode, folder, name):
        """Put a stored file into a folder; say whether by a link, else it is a copy."""
        path = self._inside(folder, name)
        if digest not in self.altered:
            try:
                os.link(self._stored(digest, mode), path)
                return True
            except FileExistsError:
                raise
            except OSError:  # a file system without hard links, or too many to this file
                pass
        copy(self._stored(digest, mode), path, int(mode, 8))
        return False

    def streams(self, slot):
        """Give the descriptors for a task's stdout and stderr; empty files."""
        return self._stream(slot, "stdout"), self._stream(slot, "stderr")

    def stream_file(self, slot, name):
        return self._slot(slot) + b"." + name.encode()

    def _stream(self, slot, name):
        file = self.files.get((slot, name))
        if file is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW
            file = self.files[slot, name] = os.open(self.stream_file(slot, name), flags, 0o600)
        return file

    def bound(self, slot, cap):
        """Free the disk of what a task wrote beyond ``cap``; give the size of its longer stream."""
        return max(self._bound_stream(slot, name, cap) for name in STREAMS)

    def _bound_stream(self, slot, name, cap):
        """Keep head and tail; where the file system knows no holes, the head and what comes after."""
        file = self.files[slot, name]
        size = os.fstat(file).st_size
        lost = self.lost.get((slot, name), 0)
        if size > cap and not punch(file, *_middle(size, cap)):
            head = _middle(size, cap)[0]
            os.ftruncate(file, head)
            self.lost[slot, name] = lost + size - head
        return size + lost

    def gather(self, slot, ticket, keep_folder, cap):
        """Take what a task left: per stream its bytes, or its size when it was put into the spool.

        A stream longer than ``cap`` is a Cut. With ``keep_folder`` the task's folder goes to the
        spool too; else it is emptied.
        """
        streams = [self._take_stream(slot, ticket, name, cap) for name in STREAMS]
        path = self._slot(slot)
        if keep_folder:
            self.clean.pop(slot, None)
            if os.path.islink(path) or not os.path.isdir(path):
                self._empty(path)  # the task took it away, or put something else in its place
            os.chmod(path, 0o700)
            os.rename(path, os.path.join(self._spool_of(ticket), b"work"))
        elif os.path.lexists(path) and not self._is_untouched(path):
            self.clean.pop(slot, None)
            self._empty(path)
        return streams

    def take_said(self, ticket):
        """Take what a task wrote to CORRAL_RESULT (a little more than is allowed at the most)."""
        if os.stat(self.said).st_mtime_ns == self.silent_ns:
            return b""
        said = b""
        for name in (b"result", b"progress"):
            path = os.path.join(self.said, ticket.encode() + b"." + name)
            if name == b"result":
                said = self._beginning(path, RESULT_BYTES + 1)
            remove(path)
        return said

    def _beginning(self, path, size):
        """Read the first bytes of a regular file; none of anything else."""
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                return file.read(size) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
        except OSError:
            return b""  # there is none, or a task put something else in its place

    def _take_stream(self, slot, ticket, name, cap):
        file = self.files[slot, name]
        size = os.fstat(file).st_size
        if size == 0:
            return b""
        lost = self.lost.pop((slot, name), 0)
        cut = None
        if size > cap or lost:
            head, resume = _middle(size, cap)
            punch(file, head, resume)
            cut = Cut(file, head, resume, lost)
        kept = size if cut is None else cut.kept
        if isinstance(kept, int) and kept > INLINE:
            os.close(self.files.pop((slot, name)))
            target = os.path.join(self._spool_of(ticket), name.encode())
            os.rename(self.stream_file(slot, name), target)
            return cut or size
        data = cut or os.pread(file, size, 0)
        os.ftruncate(file, 0)
        fcntl.fcntl(file, fcntl.F_SETFL, os.O_APPEND)  # a task may have switched it off for all
        return data

    def _spool_of(self, ticket):
        path = os.path.join(self.spool, ticket.encode())
        make_folder(path)
        return path

    def remove_all(self):
        """Remove the whole folder, and those above it that corral made and nobody uses."""
        os.chdir("/")
        remove_home(self.folder)


class ProcessTable:
    """The processes of this host. A pid is looked at only while it cannot have been reused."""

    def __init__(self, config, peer, everywhere):
        self.folder = encode(config.folder)
        self.peer = peer  # pid of the other process
        self.everywhere = everywhere  # look for tags in all processes, not only in descendants
        self.groups = config.groups
        self.me = os.getpid()
        self.nothing = os.open(os.devnull, os.O_RDWR)
        self.found = {}  # (program, search path) -> where it is
        self.linux = os.path.exists("/proc/self/stat")
        try:
            path = "/proc/self/task/%d/children" % self.me
            self.children = os.open(path, os.O_RDONLY)
        except OSError:
            self.children = None

    def close(self):
        os.close(self.nothing)
        if self.children is not None:
            os.close(self.children)

    # ------------------------------------------------ starting

    def confine(self, ticket, limit):
        """Make the control group of a task with a limit; None: its memory is to be polled."""
        if limit is None or self.groups is None:
            return None
        try:
            return self.groups.make(ticket, limit)
        except OSError as problem:
            log("the memory of %s is polled: %s" % (ticket, problem))
            return None

    def release(self, group):
        if group is not None:
            self.groups.remove(group)

    def spawn(self, words, environment, search, folder, out, err, group=None):
        program = words[0]
        streams = (self.nothing, out, err)
        enter = group and group.enter
        place = self.found.get((program, search))
        if place is not None:
            try:
                return fork_exec(words, (place,), folder, environment, streams, enter)
            except CannotStart:  # it may have moved
                del self.found[program, search]
        places = self._places(program, search)
        pid = fork_exec(words, places, folder, environment, streams, enter)
        if b"/" not in program:
            self._remember(program, search, places)
        return pid

    def _places(self, program, search):
        if b"/" in program:
            return (program,)
        return tuple(os.path.join(path or b".", program) for path in search.split(b":"))

    def _remember(self, program, search, places):
        """Save the tries along PATH next time, unless the task's own folder is among them."""
        for place in places:
            if not place.startswith(b"/"):
                return
            if os.access(place, os.X_OK) and os.path.isfile(place):
                self.found[program, search] = place
                return

    def start_peer(self):
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self.peer = os.fork()
        if self.peer == 0:
            ours.close()
            raise Become(Port(theirs), self.me)
        theirs.close()
        return Port(ours)

    # ------------------------------------------------ looking

    def reap(self):
        """Give (pid, exit code, signal, cpu seconds, peak kB) of each child that ended."""
        exits = []
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return exits
            if pid == 0:
                return exits
            code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
            cpu_s = usage.ru_utime + usage.ru_stime
            exits.append((pid, code, number, cpu_s, usage.ru_maxrss))

    def strays(self, known):
        if self.children is not None:
            data = os.pread(self.children, CHUNK, 0)
            mine = [int(pid) for pid in data.split()]
        else:
            mine = [pid for pid, facts in self._processes().items() if facts[0] == self.me]
        return [pid for pid in mine if pid not in known and pid != self.peer]

    def origin(self, pid):
        facts = self._facts(pid)
        ticket = slot = ""
        for variable in _read_proc(pid, "environ").split(b"\0"):
            if variable.startswith(b"CORRAL_TICKET="):
                ticket = variable[len(b"CORRAL_TICKET=") :].decode("utf-8", "replace")
        if not ticket:
            slot = self._slot_of(pid)
        return ticket, facts and facts[1], slot

    def _slot_of(self, pid):
        """Tell the slot by the folder a process is in, or the files it holds open."""
        ours = os.path.join(self.folder, b"slots", b"")
        for place in _places_of(pid):
            if place.startswith(ours):
                name = place[len(ours) :].split(b"/")[0].split(b".")[0]
                return int(name) if name.isdigit() else None
        return None

    def tree(self, pids, tag):
        table = self._processes()
        if not self.linux:
            return {pid for pid in pids if _exists(pid)}
        below = {}
        for pid, (parent, _, _, _) in table.items():
            below.setdefault(parent, []).append(pid)
        ours = {pid for pid in pids if pid in table and pids[pid] in (None, table[pid][2])}
        led = ours | {pid for pid in pids if pid not in table}
        roots = {pid for pid, facts in table.items() if pid in ours or facts[1] in led}
        rest = table if self.everywhere else _closure({self.me}, below)
        wanted = b"\0" + tag.encode() + b"\0"
        roots.update(
            pid
            for pid in rest
            if pid not in roots
            and pid != self.me
            and wanted in b"\0" + _read_proc(pid, "environ") + b"\0"
            and (is_own(pid) or self._has_of_ours(pid))
        )
        found = _closure(roots - {self.me, self.peer}, below) - {self.me, self.peer}
        return {pid for pid in found if table[pid][3]}

    def _has_of_ours(self, pid):
        """Say whether another account's process is in the agent's folder, or has a file of it open.

        What tags it carries says nothing: anybody may write them. Of that folder it can only have
        what a task of ours, which changed its account, has handed to it.
        """
        ours = os.path.join(self.folder, b"")
        return len(ours) > 1 and any(place.startswith(ours) for place in _places_of(pid))

    def weigh(self, tasks):
        """Give the bytes of memory that each task's processes use, as {pid: bytes}.

        Pages that several share count once as soon as that matters, which is costly to find out.
        """
        table = self._processes()
        below, led = {}, {}
        for pid, (parent, session, _, _) in table.items():
            below.setdefault(parent, []).append(pid)
            led.setdefault(session, []).append(pid)
        tickets = {ticket: pid for pid, (ticket, _) in tasks.items()}
        for stray in self.strays(tasks):
            leader = tickets.get(self.origin(stray)[0])
            if leader is not None:
                led.setdefault(leader, []).append(stray)
        weights = {}
        for pid, (_, limit) in tasks.items():
            tree = _closure([pid, *led.get(pid, ())], below)
            used = sum(_resident(one) for one in tree)
            weights[pid] = used if used <= limit else sum(_proportional(one) for one in tree)
        return weights

    def oom_kills(self):
        """Count the processes that the kernel has killed since it started as it had no memory left.

        Not those that had none left of their limit. The kernel counts a kill here before there.
        """
        kills = counted(b"/proc/vmstat", b"oom_kill") or 0  # from Linux 4.13 on
        return kills - self.groups.oom_kills() if self.groups is not None else kills

    def signal(self, pids, number):
        for pid in pids:
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                pass  # it is gone, or became another user's: what is left is looked at again

    def start_time(self, pid):
        facts = self._facts(pid)
        return facts and facts[2]

    def load(self):
        return round(os.getloadavg()[0], 2)

    def _processes(self):
        """Read the process table: {pid: (parent, session, start time, alive)}."""
        table = {}
        for name in os.listdir("/proc") if self.linux else ():
            if name.isdigit():
                facts = self._facts(int(name))
                if facts is not None:
                    table[int(name)] = facts
        return table

    def _facts(self, pid):
        words = _read_proc(pid, "stat").rpartition(b")")[2].split()
        if len(words) < 20:
            return None
        return int(words[1]), int(words[3]), int(words[19]), words[0] not in (b"Z", b"X")


def _read_all(file):
    return b"".join(iter(lambda: os.read(file, 65536), b""))


def _read_proc(pid, name):
    try:
        file = os.open("/proc/%d/%s" % (pid, name), os.O_RDONLY)
    except OSError:
        return b""
    try:
        return _read_all(file)
    except OSError:  # it ended meanwhile
        return b""
    finally:
        os.close(file)


def _places_of(pid):
    """List the folder that a process is in and the files it holds open; nothing if it is gone."""
    home = b"/proc/%d/" % pid
    try:
        links = [home + b"cwd"] + [home + b"fd/" + fd for fd in os.listdir(home + b"fd")]
    except OSError:  # it is gone
        return []
    places = []
    for link in links:
        try:
            places.append(os.readlink(link))
        except OSError:  # closed meanwhile
            pass
    return places


def is_own(pid):
    """Say whether it is this account that started a process, and so gave it its environment.

    The owner of its folder in /proc does not tell: that is root for one that may not be dumped. Nor
    does its effective user: a program with the setuid bit has what its caller gave it.
    """
    words = _read_proc(pid, "status").partition(b"\nUid:")[2].split(None, 1)
    return bool(words) and int(words[0]) == os.getuid()


def _resident(pid):
    """Give the bytes of memory that a process has, pages counted that others have, too."""
    words = _read_proc(pid, "statm").split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 else 0


def _proportional(pid):
    """Give the same with shared pages divided among those that share them (Linux 4.14)."""
    for line in _read_proc(pid, "smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) << 10
    return _resident(pid)


def _exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _closure(roots, below):
    """Give ``roots`` and all that descends from them."""
    found = set()
    ahead = list(roots)
    while ahead:
        pid = ahead.pop()
        if pid not in found:
            found.add(pid)
            ahead.extend(below.get(pid, ()))
    return found


# The arguments of _posixsubprocess.fork_exec after start_new_session, newest Python first
# (process_group, gid, gids, uid, umask, preexec_fn, allow_vfork), and how many arguments it takes.
# It is what subprocess.Popen calls; without Popen around it a start takes 0.1 ms less.
FORK_EXEC_TAILS = [
    lambda enter: (-1, None, None, None, -1, enter, True),  # 3.11 to 3.13
    lambda enter: (-1, None, None, None, -1, enter),  # from 3.14 on
    lambda enter: (None, None, None, -1, enter),  # 3.9, 3.10
    lambda enter: (enter,),  # to 3.8
]


def fork_exec(words, places, folder, environment, streams, enter=None):
    """Start a program in a session of its own; give its pid, or raise CannotStart.

    ``places`` are tried in order; ``enter`` is called in the child before that; all other descriptors of ours are close-on-exec (PEP 446).
    """
    ready, tell = os.pipe()
    out, err = streams[1:]
    try:
        pid = _call_fork_exec(
            enter,
            words,
            places,
            False,
            (),
            folder,
            environment,
            *(streams[0], -1, -1, out, -1, err, ready, tell, True, True),
        )
        os.close(tell)
        tell = None
        problem = _read_all(ready)
    except (OSError, ValueError) as wrong:  # no memory, too many processes; a NUL in a word
        kind = "env" if isinstance(wrong, OSError) else "spawn"
        reason = getattr(wrong, "strerror", None) or wrong
        raise CannotStart(kind, "cannot start %s: %s" % (readable(words[0]), reason)) from wrong
    finally:
        os.close(ready)
        if tell is not None:
            os.close(tell)
    if problem:
        os.waitpid(pid, 0)
        raise _cannot_start(problem, words[0], folder)
    return pid


def _call_fork_exec(enter, *arguments):
    """Call it with as many arguments as this Python's wants."""
    while True:
        try:
            return _posixsubprocess.fork_exec(*(arguments + FORK_EXEC_TAILS[0](enter)))
        except TypeError:
            if len(FORK_EXEC_TAILS) == 1:
                raise
            del FORK_EXEC_TAILS[0]


def _cannot_start(problem, program, folder):
    """Put into words what the child wrote before it gave up: ``OSError:<errno in hex>:<where>``."""
    _, number, where = problem.split(b":", 2)
    number = int(number, 16)
    if number == 0:  # all that Python tells of what failed before
        return CannotStart("env", "cannot enter the control group that was made for it")
    words = os.strerror(number)
    if where.startswith(b"noexec"):
        return CannotStart("env", "cannot enter %s: %s" % (readable(folder), words))
    kind = "spawn"
    if number in (errno.ENOMEM, errno.EAGAIN, errno.ETXTBSY, errno.EMFILE, errno.ENFILE, errno.EIO):
        kind = "env"
    here = os.path.join(folder, program)
    if number == errno.ENOENT and b"/" in program and os.path.exists(here):
        words += " (what it names as its interpreter)"
    return CannotStart(kind, "cannot start %s: %s" % (readable(program), words))


# ---------------------------------------------------------------- control groups


# What holds a task to its memory: files of its group with what is written to them (None: its
# limit; all but the first may be lacking), then those that count kills and tell the most it had.
GROUP_FILES = {
    "cgroup v2": (
        ((b"memory.max", None), (b"memory.swap.max", b"0"), (b"memory.oom.group", b"1")),
        b"memory.events",
        b"memory.peak",
    ),
    "cgroup v1": (
        (
            (b"memory.limit_in_bytes", None),
            (b"memory.memsw.limit_in_bytes", None),
            (b"memory.oom_control", b"0"),
        ),
        b"memory.oom_control",
        b"memory.max_usage_in_bytes",
    ),
}
GROUP_TRIAL = 1 << 30  # bytes; the limit of a group that is made to see whether it can be
GROUP_GONE_S = 1.0  # whoever was killed in a group may be a moment in leaving it


class Group:
    """The control group of one task."""

    def __init__(self, by, path):
        self.by = by
        self.path = path
        self.limits, events, peak = GROUP_FILES[by]
        self.events = os.path.join(path, events)
        self.peak = os.path.join(path, peak)

    def limit(self, size):
        for name, value in self.limits:
            path = os.path.join(self.path, name)
            if name == self.limits[0][0] or os.path.exists(path):
                put(path, b"%d" % size if value is None else value)

    def enter(self):
        """Move the process that calls this into the group."""
        put(os.path.join(self.path, b"cgroup.procs"), b"0")

    def pids(self):
        return living_in(self.path)

    def oom_kills(self):
        return counted(self.events, b"oom_kill") or 0

    def peak_kb(self):
        """Give the most memory it had at once, with what it read and wrote of files; 0: unknown."""
        try:
            with open(self.peak, "rb") as file:
                return int(file.read()) >> 10
        except OSError:  # before Linux 5.19
            return 0


class Groups:
    """The control group of the agent, with one below it for each task that has a limit."""

    def __init__(self, by, home):
        self.by = by  # cgroup v2 or v1
        self.home = home  # corral-<incarnation>, made when it is needed
        self.begin()

    def begin(self):
        """Start afresh: the tasks of whoever was supervisor before are dead."""
        self.tasks = set()
        self.kills = 0  # by the kernel, of groups that were removed
        self._clear()

    def _clear(self):
        """Kill whoever is in a task's group, also what no tag would show; remove the groups."""
        try:
            names = os.listdir(self.home)
        except FileNotFoundError:
            return  # it was never needed, or the other process of the agent ends, too
        for name in names:
            if name.startswith(b"task-"):
                place = os.path.join(self.home, name)
                for pid in living_in(place):
                    _end(pid, KILL)
                remove_groups(place)

    def make(self, ticket, limit):
        if not os.path.isdir(self.home):
            os.mkdir(self.home)
            self.share()
        group = Group(self.by, os.path.join(self.home, b"task-" + ticket.encode()))
        os.mkdir(group.path)
        try:
            group.limit(limit)
        except OSError:
            remove_groups(group.path)
            raise
        self.tasks.add(group)
        return group

    def end(self):
        """Remove what is left of it all; who still lives there goes back where it came from."""
        inner = os.path.join(self.home, b"agent")
        until = time.monotonic() + GROUP_GONE_S
        while os.path.isdir(self.home) and time.monotonic() < until:
            self._clear()
            if os.path.isdir(inner):
                move_up(inner)
            if not remove_groups(self.home):
                select.select([], [], [], KILL_AGAIN_S)

    def share(self):
        """Have groups below it get the memory that they are to limit."""
        if self.by == "cgroup v2":
            put(os.path.join(self.home, b"cgroup.subtree_control"), b"+memory")

    def remove(self, group):
        self.tasks.discard(group)
        self.kills += group.oom_kills()
        remove_groups(group.path)

    def oom_kills(self):
        return self.kills + sum(group.oom_kills() for group in self.tasks)


def find_groups(folder):
    """Find out whether the kernel can hold the tasks of the agent in ``folder`` to their memory.

    None: it cannot, or we may not ask it to. Nothing is left of trying but, where our own group may
    not have processes beside groups, that we have moved into one below.
    """
    data = [_read_proc(os.getpid(), name) for name in ("cgroup", "mountinfo")]
    note = os.path.join(folder, b"group")
    for by, own in own_groups(*data):
        groups = Groups(by, os.path.join(own, b"corral-" + os.path.basename(folder)))
        alone = by == "cgroup v2" and members(own) == {os.getpid()}
        if not may_divide(by, own, alone):
            continue
        with open(note, "wb") as file:  # first: so whoever removes the folder removes them
            file.write(groups.home)
        try:
            if not _shared(own) and alone:
                move_below(groups, own)
            if try_out(groups):
                return groups
        except OSError:
            pass  # a kernel or a container that is not as it says: it is polled
        dissolve(folder)
        os.unlink(note)
    return None


def own_groups(cgroup, mountinfo):
    """Give the groups that we are in, as (which, folder), by the two files of /proc on that."""
    paths = {}
    for line in cgroup.splitlines():
        _, names, path = line.split(b":", 2)
        if not names:
            paths["cgroup v2"] = path
        elif b"memory" in names.split(b","):
            paths["cgroup v1"] = path
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(b" - ")
        kind, *_, options = after.split()
        by = {b"cgroup2": "cgroup v2", b"cgroup": "cgroup v1"}.get(kind)
        if by not in paths or (kind == b"cgroup" and b"memory" not in options.split(b",")):
            continue
        root, point = (_unescaped(word) for word in before.split()[3:5])
        inside = os.path.relpath(paths[by], root)
        if b".." not in paths[by].split(b"/") + inside.split(b"/"):  # else it is not to be seen
            found.append((by, os.path.normpath(os.path.join(point, inside))))
    return found


def _unescaped(word):
    """Give a path of mountinfo, which has spaces and the like in octal."""
    return word.decode("unicode_escape").encode("latin-1")


def may_divide(by, own, alone):
    """Say whether groups with memory of their own can be made in ours, by all that can be read."""
    if not all(os.access(path, os.W_OK) for path in (own, os.path.join(own, b"cgroup.procs"))):
        return False
    if by == "cgroup v1" or _shared(own):
        return True
    control = os.path.join(own, b"cgroup.subtree_control")
    return alone and os.access(control, os.W_OK) and b"memory" in _words(own, b"controllers")


def _shared(own):
    """Say whether groups below get memory to limit; then only a root has processes, too."""
    return b"memory" in _words(own, b"subtree_control")


def _words(own, name):
    try:
        with open(os.path.join(own, b"cgroup." + name), "rb") as file:
            return file.read().split()
    except OSError:
        return []


def move_below(groups, own):
    """Empty our group: it may have processes, or groups with memory to limit, not both."""
    inner = os.path.join(groups.home, b"agent")
    os.mkdir(groups.home)
    os.mkdir(inner)
    put(os.path.join(inner, b"cgroup.procs"), b"0")
    put(os.path.join(own, b"cgroup.subtree_control"), b"+memory")
    groups.share()


def try_out(groups):
    """Make a group as tasks get it and remove it; say whether it counts what the kernel kills."""
    group = groups.make("none", GROUP_TRIAL)
    counts = counted(group.events, b"oom_kill") is not None
    groups.remove(group)
    _remove_empty(groups.home)
    return counts


def move_up(inner):
    """Undo ``move_below``."""
    home = os.path.dirname(inner)
    above = os.path.dirname(home)
    words = [(place, b"cgroup.subtree_control", b"-memory") for place in (home, above)]
    words += [(above, b"cgroup.procs", b"%d" % pid) for pid in members(inner)]
    for place, name, word in words:
        try:
            put(os.path.join(place, name), word)
        except OSError:
            pass  # a group below that is not empty yet, or a process that has ended


def dissolve(folder):
    """Remove the control groups of the agent in a folder, which is dead or ends.

    A stray process says which folder that is, and anybody may have such a process: what the folder
    says counts only if it is this account that wrote it.
    """
    path = os.path.join(folder, b"group")
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
                return
            home = file.read()
    except OSError:
        return
    if os.path.basename(home) == b"corral-" + os.path.basename(folder):
        Groups("", home).end()


def remove_groups(path):
    """Remove a group with those below it, unless a process is in one; say whether it is gone."""
    for place, *_ in os.walk(path, topdown=False):
        _remove_empty(place)
    return not os.path.isdir(path)


def living_in(path):
    """List the processes in a group, or in one that a task has made below."""
    return {pid for place, *_ in os.walk(path) for pid in members(place)}


def members(place):
    """List the processes in a group."""
    try:
        with open(os.path.join(place, b"cgroup.procs"), "rb") as file:
            return {int(pid) for pid in file.read().split()} - {0}  # 0: of another namespace
    except (OSError, ValueError):  # gone, or no group at all
        return set()


def counted(path, name):
    """Give the number that a file of the kernel has on the line of a name; None: it has none."""
    try:
        with open(path, "rb") as file:
            rest = (b"\n" + file.read()).partition(b"\n" + name + b" ")[2]
    except OSError:
        return None
    return int(rest.split()[0]) if rest else None


def put(path, data):
    """Write to a file of the kernel's, in one call; it is not made if it is not there."""
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, data)
    finally:
        os.close(file)


# ---------------------------------------------------------------- files


def make_folder(path):
    """Make a folder for us alone unless it is there."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass


def make_folders(path):
    if not os.path.isdir(path):
        make_folders(os.path.dirname(path))
        make_folder(path)


def _middle(size, cap):
    """Say which part of a stream is left out: all but the first and the last half of ``cap``."""
    head = cap // 2
    return head, max(head, size - (cap - head))


PUNCH_HOLE = 1 | 2  # FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE


def punch(file, start, end):
    """Free the disk of a part of a file, which reads as zeros then; say whether that is possible."""
    libc = ctypes.CDLL(None, use_errno=True)
    allocate = getattr(libc, "fallocate64", None) or getattr(libc, "fallocate", None)
    if allocate is None:  # macOS, BSD
        return False
    size = ctypes.c_int64(end - start)
    return end == start or allocate(file, PUNCH_HOLE, ctypes.c_int64(start), size) == 0


def copy(source, target, mode):
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with open(source, "rb") as reader, open(os.open(target, flags, mode), "wb") as writer:
        writer.writelines(iter(lambda: reader.read(CHUNK), b""))


def remove(path, budget=float("inf")):
    """Remove a file or a whole folder, at most ``budget`` entries of it; say whether it is gone.

    Follows no link. What a task made unreadable is made readable; what it nested deeper than a
    path can say is moved up first.
    """
    if not os.path.lexists(path):
        return True
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
        return True
    folders = [path]
    while folders and budget > 0:
        here = folders[-1]
        try:
            inner, budget = _remove_files(here, budget)
            if inner is not None:
                folders.append(inner)
            elif budget > 0:
                os.rmdir(here)
                folders.pop()
                budget -= 1
        except PermissionError:
            if stat.S_IMODE(os.lstat(here).st_mode) & 0o700 == 0o700:
                raise
            os.chmod(here, 0o700)
        except OSError as problem:
            if problem.errno != errno.ENAMETOOLONG or len(folders) < 3:
                raise
            del folders[-1]  # even to look into it is too long; its parent can still be moved
            os.rename(folders.pop(), os.path.join(path, b"deep-%d" % (time.time() * 1e9)))
    return not folders


def remove_home(folder):
    """Remove an agent's folder, and those above it that corral made and nobody uses."""
    dissolve(folder)
    remove(folder)
    for path in (os.path.dirname(folder), os.path.dirname(os.path.dirname(folder))):
        if b"corral-" not in path or not _remove_empty(path):
            return  # another incarnation or owner lives there


def _remove_empty(path):
    """Remove a folder unless something is in it; say whether it is gone."""
    try:
        os.rmdir(path)
    except OSError:
        return False
    return True


def _remove_files(folder, budget):
    """Remove files of a folder up to the first folder in it; give that one and the budget left."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                return entry.path, budget
            if budget <= 0:
                break
            os.unlink(entry.path)
            budget -= 1
    return None, budget


# ---------------------------------------------------------------- the loops


class Become(Exception):
    """Raised in a freshly forked process: unwind, and live as the other of the two."""

    def __init__(self, port, peer):
        Exception.__init__(self)
        self.port = port
        self.peer = peer
        self.table = None  # for a link: what the supervisor knew as it forked


class Wakeup:
    """Turns SIGCHLD and SIGTERM into something to poll."""

    def __init__(self):
        self.terminated = False
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self.writer, False)
        _signal.set_wakeup_fd(self.writer)
        _signal.signal(_signal.SIGCHLD, self._ignore)
        _signal.signal(_signal.SIGTERM, self._terminate)
        for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT):
            _signal.signal(number, self._ignore)  # not SIG_IGN, which tasks would inherit

    def _ignore(self, number, frame):
        pass

    def _terminate(self, number, frame):
        self.terminated = True

    def interest(self):
        return {self.reader: select.POLLIN}

    def drain(self, ready):
        """Say whether a signal came."""
        return bool(ready.get(self.reader) and os.read(self.reader, 65536))

    def take_terminated(self):
        was, self.terminated = self.terminated, False
        return was

    def close(self):
        _signal.set_wakeup_fd(-1)
        os.close(self.reader)
        os.close(self.writer)


def wait(seconds, *sources):
    """Wait until a source is ready or the time is over; give {fd: mask} of what is ready."""
    poll = select.poll()
    for source in sources:
        if source is not None:
            for fd, mask in source.interest().items():
                poll.register(fd, mask)
    timeout = None if seconds is None else min(seconds, 3600.0) * 1000 + 0.999
    return dict(poll.poll(None if timeout is None else int(timeout)))


def live_as_link(config, announce, other):
    """Be the link until the end, or until a fork makes this process the supervisor.

    ``other`` is None at the start of an agent, else the Become that made this process.
    """
    settle("corral-link", config)
    clock = SystemClock()
    wakeup = Wakeup()
    disk = Disk(config.folder)
    port = other and other.port
    processes = ProcessTable(config, other and other.peer, everywhere=True)
    transport = SocketTransport(b"sock")
    try:
        if port is None and not config.collect:
            port = processes.start_peer()
        announce.say(link=os.getpid(), supervisor=processes.peer)
        facts = host_facts(config.folder, config.groups)
        link = Link(config, clock, transport, disk, processes, port, facts)
        if other is not None:  # from memory: the supervisor may be dead before it says it
            link.on_port({"table": other.table})
        while not link.over:
            seconds = link.tick(clock.now())
            if not link.over:
                seconds = 0 if transport.unable else seconds
                link_step(link, wait(seconds, wakeup, link.port, transport), wakeup)
        end_supervisor(link.port, processes.peer)
        if link.over == "remove":
            disk.remove_all()
    finally:
        for thing in (wakeup, disk, processes):
            thing.close()
        transport.close_all()


def link_step(link, ready, wakeup):
    """Hand the link what happened."""
    if wakeup.drain(ready):
        link.processes.reap()
    if wakeup.take_terminated():
        link.on_terminate()
    if link.port is not None:
        port = link.port
        messages, closed = port.receive(ready)
        for message in messages:
            link.on_port(message)
        if closed:
            port.close()
            link.on_port_closed()
    for event in link.transport.events(ready):
        if event[0] == "reply":
            link.on_reply(*event[1:])
        else:
            link.on_closed(event[1])


def end_supervisor(port, peer):
    """Send the supervisor home and see it go: it has nothing to do any more."""
    if port is None:
        return
    port.send({"end": True})
    closed = False
    until = time.monotonic() + 5.0
    while not closed and time.monotonic() < until:
        closed = port.receive(wait(until - time.monotonic(), port))[1]
    if not closed:
        os.kill(peer, KILL)
    port.close()


def live_as_supervisor(config, other):
    """Be the supervisor until the end, or until a fork makes this process a link."""
    settle("corral-super", config)
    os.umask(config.umask)
    clock = SystemClock()
    wakeup = Wakeup()
    disk = Disk(config.folder)
    processes = ProcessTable(config, other.peer, everywhere=False)
    disk.begin()
    if config.groups is not None:
        config.groups.begin()
    try:
        supervisor = Supervisor(config, clock, disk, processes, other.port)
        while not supervisor.over:
            seconds = supervisor.tick(clock.now())
            supervisor_step(supervisor, wait(seconds, wakeup, supervisor.port), wakeup)
    except Become as link:
        link.table = supervisor.table()
        raise
    finally:
        for thing in (wakeup, disk, processes):
            thing.close()


def supervisor_step(supervisor, ready, wakeup):
    """Hand the supervisor what happened."""
    if wakeup.drain(ready):
        for facts in supervisor.processes.reap():
            supervisor.on_exit(*facts)
    if wakeup.take_terminated():
        supervisor.on_terminate()
    if supervisor.port is not None:
        port = supervisor.port
        messages, closed = port.receive(ready)
        for message in messages:
            supervisor.on_port(message)
        if closed:
            port.close()
            supervisor.on_port_closed()


def live(config, announce):
    """Be link or supervisor, and whatever a fork makes of this process."""
    other = None
    is_link = True
    while True:
        try:
            if is_link:
                live_as_link(config, announce, other)
            else:
                live_as_supervisor(config, other)
            if config.groups is not None:
                config.groups.end()
            return
        except Become as fork:
            other = fork.with_traceback(None)  # which would keep the other life in memory
            is_link = not is_link
            announce.close()


# ---------------------------------------------------------------- settling on a host


PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36


def settle(name, config):
    """Become a process of its own: own session, own name in ps, adoptive parent of orphans."""
    os.setsid()
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])
    os.umask(0o077)
    os.chdir(encode(config.folder))
    if sys.platform.startswith("linux"):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_NAME, name.encode(), 0, 0, 0)
        if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            log("no child subreaper: %s" % os.strerror(ctypes.get_errno()))
        set_title("%s %s/%s" % (name, config.owner, config.incarnation))


def set_title(title):
    """Overwrite the arguments that ps shows (there is no call for it without privileges)."""
    words = _read_proc(os.getpid(), "stat").rpartition(b")")[2].split()
    start, end = int(words[45]), int(words[46])
    if 0 < end - start == len(_read_proc(os.getpid(), "cmdline")):
        size = end - start
        ctypes.memmove(start, title.encode()[: size - 1].ljust(size, b"\0"), size)


def log(text):
    """Write a line to the log, which is our stderr; it starts again when it gets long."""
    if os.fstat(2).st_size > LOG_BYTES:
        os.ftruncate(2, 0)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    os.write(2, ("%s %d %s\n" % (stamp, os.getpid(), text)).encode("utf-8", "replace"))


def cores():
    """Count the cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def host_facts(folder, groups=None):
    machine = os.uname()
    space = os.statvfs(encode(folder))
    return {
        "protocol": PROTOCOL,
        "platform": "%s-%s" % (sys.platform, machine.machine),
        "python": "%d.%d.%d" % sys.version_info[:3],
        "cores": cores(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "disk_free": space.f_bavail * space.f_frsize,
        "hostname": readable(machine.nodename),
        "folder": readable(encode(folder)),
        "memory_by": memory_by(groups),
        "time": round(time.time(), 3),
    }


def memory_by(groups):
    """Say how tasks are held to their memory here; empty: they cannot be."""
    if groups is not None:
        return groups.by
    polled = "polled every %d ms" % (WEIGH_S * 1000)
    return polled if os.path.exists("/proc/self/statm") else ""


def own_environment():
    """Give the environment this process was started with, before Python touched it (PEP 538)."""
    return _environment(_read_proc(os.getpid(), "environ")) or dict(os.environb)


def _pairs(data):
    return dict(pair.partition(b"=")[::2] for pair in data.split(b"\0") if b"=" in pair)


def _environment(data):
    """Read what the kernel or ``env -0`` shows of an environment."""
    environment = _pairs(data)
    for name in (b"PWD", b"OLDPWD", b"SHLVL", b"_"):  # of the shell that started us
        environment.pop(name, None)
    return environment


class Unusable(Exception):
    """The agent cannot live here; the text says why, ``hint`` what to do."""

    def __init__(self, message, hint):
        Exception.__init__(self, message)
        self.hint = hint


def choose_folder(owner: str, incarnation: str, workdir: "str | None" = None) -> str:
    """Make the agent's folder in the first place that will do, and give its path.

    That is ``BASE/corral-UID/OWNER/INCARNATION`` with BASE one of ``workdir``, /var/tmp, /tmp,
    ~/.cache: writable, with room, and able to run a script; one on a network is the last resort.

    Raises:
        Unusable: no place will do; it names what is wrong with each.
    """
    bases = bases_of(workdir)
    reasons = OrderedDict()
    for local in (True, False):
        for base in bases:
            try:
                return _folder_in(base, owner, incarnation, local)
            except OSError as problem:
                reasons[base] = problem.strerror or str(problem)
    said = "; ".join("%s: %s" % (readable(base), why) for base, why in reasons.items())
    raise Unusable("no place for the work folder: " + said, "set workdir=… for this host")


def bases_of(workdir):
    """List where a work folder may be, the best place first."""
    names = [workdir, "/var/tmp", "/tmp", "~/.cache"]
    return [encode(os.path.expanduser(name)) for name in names if name]


def _folder_in(base, owner, incarnation, local):
    if local and _on_network(base):
        raise OSError("it is on a network")
    space = os.statvfs(base)
    if space.f_bavail * space.f_frsize < ROOM_BYTES:
        raise OSError("less than %d MiB are free" % (ROOM_BYTES >> 20))
    names = [encode(name) for name in ("corral-%d" % os.geteuid(), owner, incarnation)]
    folders = [os.path.join(base, *names[:depth]) for depth in (1, 2, 3)]
    try:
        _own_all(folders)
    except FileNotFoundError:  # another agent has just ended, and removed what it had of this
        _own_all(folders)
    try:
        _try_script(folders[-1])
    except OSError:
        for folder in reversed(folders):
            _remove_empty(folder)
        raise
    return folders[-1].decode("utf-8", "surrogateescape")


def _own_all(folders):
    for folder in folders:
        own_folder(folder)


def own_folder(path):
    """Make sure that a folder is there, is ours, no link, and nobody else's business."""
    make_folder(path)
    if stat.S_IMODE(own_folder_there(path).st_mode) & 0o077:
        os.chmod(path, 0o700)


def own_folder_there(path):
    """Give the status of a folder that is there; an OSError if it is not one of ours."""
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise OSError("%s is not a folder" % readable(path))
    if found.st_uid != os.geteuid():
        raise OSError("%s belongs to another user" % readable(path))
    return found


NETWORK_FILE_SYSTEMS = (
    b"9p afs beegfs ceph cifs coda fuse.ceph fuse.glusterfs fuse.sshfs glusterfs gpfs lustre ncpfs"
    b" nfs nfs4 ocfs2 orangefs panfs pvfs2 smb3 smbfs"
)


def _on_network(path):
    """Look up the file system of a path in the mount table (no other way without a C compiler)."""
    path = os.path.realpath(path) + b"/"
    kinds = {}
    for line in _read_proc(os.getpid(), "mounts").splitlines():
        words = line.split()
        point = words[1].replace(b"\\040", b" ").rstrip(b"/") + b"/"
        if path.startswith(point):
            kinds[len(point)] = words[2]
    return bool(kinds) and kinds[max(kinds)] in NETWORK_FILE_SYSTEMS.split()


def _try_script(folder):
    """Run a two-line script from there: a file system may be mounted noexec."""
    path = os.path.join(folder, b"probe-%d" % os.getpid())
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700), "wb") as file:
        file.write(b"#!/bin/sh\nexit 0\n")
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        pid = fork_exec([path], (path,), folder, [], (nothing, nothing, nothing))
        if os.waitpid(pid, 0)[1] != 0:
            raise OSError("a script does not run there")
    except CannotStart as problem:
        reason = problem.message.rpartition(": ")[2]
        raise OSError("a script does not run there: %s" % reason) from problem
    finally:
        os.close(nothing)
        os.unlink(path)


# ---------------------------------------------------------------- the relay


FRAME = 65536  # bytes of a stream in one frame at the most: streams take turns
FRAME_HEAD = 8  # bytes: number of the stream, length of what follows (0: this side has ended it)
RELAY_BACKLOG = 4 * FRAME  # bytes not yet taken by the login: more are not read meanwhile
RELAY_GRACE_S = 1.0  # a relay dies of SIGTERM at once, unless it is stopped
LOOK_FOR_AGENT_S = 0.02  # between looks whether an agent without connections still lives
LEFT = 4  # how a relay ends whose agent died and left its folder


class Relay:
    """Carry the link's connections over stdin and stdout of a login.

    It listens where the link dials, holds nothing, and may die: the next login starts another.
    ``run`` returns when the login ends or the agent is gone.
    """

    def __init__(self, folder):
        self.folder = folder
        self.agent = open_lock(folder)  # held until the folder is removed, with the lock in it
        self.lock = self._take_over()
        os.chdir(folder)  # a path may pass 107 bytes
        if os.path.lexists(b"sock"):
            os.unlink(b"sock")
        self.listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self.listener.bind(b"sock")
        self.listener.listen(16)
        self.streams = {}  # number -> RelayStream
        self.opened = 0
        self.heard = False  # a word of the master has come
        self.inbox = bytearray()
        self.out = bytearray()
        os.set_blocking(1, False)

    def run(self):
        """Carry until either end is gone; gives how to exit."""
        while self.streams or is_locked(self.agent):
            ready = wait(None if self.streams else LOOK_FOR_AGENT_S, self)
            if ready.get(0) and not self._read_login():
                return 0
            if ready.get(self.listener.fileno()):
                self._accept()
            for stream in list(self.streams.values()):
                self._serve(stream, ready.get(stream.sock.fileno(), 0))
            if not self._write_login():
                return 0
        return LEFT if os.path.lexists(self.folder) else 0

    def interest(self):
        mask = {0: select.POLLIN, self.listener.fileno(): select.POLLIN}
        room = len(self.out) < RELAY_BACKLOG
        for stream in self.streams.values():
            reading = select.POLLIN if room else 0
            mask[stream.sock.fileno()] = reading | (select.POLLOUT if stream.out else 0)
        if self.out:
            mask[1] = select.POLLOUT
        return mask

    def _take_over(self):
        """End a relay that is there before us: its login is dead, though it may not know."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        lock = os.open(os.path.join(self.folder, b"relay"), flags, 0o600)
        until = time.monotonic() + RELAY_GRACE_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                older = int(os.pread(lock, 20, 0).strip() or 0)
                if _read_proc(older, "comm").strip() in (b"corral-relay", b""):
                    _end(older, TERM if time.monotonic() < until else KILL)
                select.select([], [], [], 0.005)
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        return lock

    def _accept(self):
        descriptor, _ = self.listener._accept()
        sock = _socket.socket(fileno=descriptor)
        sock.setblocking(False)
        self.opened += 1
        self.streams[self.opened] = RelayStream(self.opened, sock)

    def _serve(self, stream, mask):
        """Move what one connection has to say, and to be told."""
        if mask & select.POLLOUT:
            stream.flush()
        if not mask & ~select.POLLOUT:
            return
        try:
            data = stream.sock.recv(FRAME)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._frame(stream.number, data)
        if not data:
            self._drop(stream)

    def _drop(self, stream):
        self.streams.pop(stream.number, None)
        stream.sock.close()

    def _frame(self, number, data):
        self.out += number.to_bytes(4, "big") + len(data).to_bytes(4, "big") + data

    def _write_login(self):
        """Say whether the login still takes what is written."""
        try:
            while self.out:
                del self.out[: os.write(1, self.out)]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def _read_login(self):
        """Say whether the login goes on."""
        try:
            data = os.read(0, 2 * FRAME)
        except OSError:
            return False  # sshd died with words of ours unread
        self.inbox += data
        start = 0
        while len(self.inbox) - start >= FRAME_HEAD:
            number = int.from_bytes(self.inbox[start : start + 4], "big")
            size = int.from_bytes(self.inbox[start + 4 : start + 8], "big")
            end = start + FRAME_HEAD + size
            if size > FRAME:
                return False  # not our master's words
            if len(self.inbox) < end:
                break
            self._deliver(number, self.inbox[start + FRAME_HEAD : end])
            start = end
        del self.inbox[:start]
        return bool(data)

    def _deliver(self, number, data):
        self.heard = True
        stream = self.streams.get(number)
        if stream is None:
            return  # it ended meanwhile, or was never meant to be one
        if not data:
            stream.flush()
            self._drop(stream)
            return
        stream.out += data
        stream.flush()


class RelayStream:
    """One connection of the link."""

    def __init__(self, number, sock):
        self.number = number
        self.sock = sock
        self.out = bytearray()

    def flush(self):
        try:
            while self.out:
                del self.out[: self.sock.send(self.out)]
        except BlockingIOError:
            return
        except OSError:
            self.out = bytearray()  # the end is read next


def _end(pid, number):
    """Signal a process that may have ended by itself."""
    try:
        if pid:
            os.kill(pid, number)
    except OSError:
        pass


def agent_lives(folder):
    """Say whether link or supervisor of the agent in a folder lives."""
    try:
        lock = open_lock(folder)
    except OSError:
        return False
    try:
        return is_locked(lock)
    finally:
        os.close(lock)


def open_lock(folder):
    """Open an agent's lock to look at; only who has it has it open for writing."""
    return os.open(os.path.join(folder, b"lock"), os.O_RDONLY | os.O_NOFOLLOW)


def is_locked(lock):
    """Say whether somebody else holds a lock."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(lock, fcntl.LOCK_UN)
    return False


# ---------------------------------------------------------------- commands


class Announcement:
    """Tells the starter that the agent is up, over a pipe that ends with the first word."""

    def __init__(self, pipe, folder):
        self.pipe = pipe
        self.folder = folder

    def say(self, link, supervisor):
        if self.pipe is not None:
            words = {"folder": self.folder, "link": link, "supervisor": supervisor}
            os.write(self.pipe, (dumps(words) + "\n").encode())
        self.close()

    def close(self):
        if self.pipe is not None:
            os.close(self.pipe)
        self.pipe = None


def begin(given, wanted=lambda: True):
    """Start an agent; give where and who it is once both its processes stand.

    ``wanted`` says whether somebody still waits for it; a setup may take minutes.
    """
    folder = given.get("folder") or choose_folder(
        given["owner"], given["incarnation"], given.get("workdir")
    )
    umask = os.umask(0o077)
    own_folder(encode(folder))
    lock = take_lock(encode(folder))
    if lock is None:
        raise Unusable("another agent lives in %s" % folder, "wait for its end, or sweep it")
    try:
        put_source(encode(folder))
        config = Config(dict(given, folder=folder), tasks_environment(given, folder, wanted))
        config.umask = umask
        if config.collect:
            kill_tagged(given, encode(folder))
            dissolve(encode(folder))
        else:
            config.groups = find_groups(encode(folder))
        return fork_agent(config, lock)
    except (Unusable, OSError):
        if not given.get("collect"):
            end_agent(dict(given, folder=folder))
        raise
    finally:
        os.close(lock)


def fork_agent(config, lock):
    """Fork the agent, which keeps the lock; give what it announces."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        live_on(config, (lock, writer), Announcement(writer, config.folder))
    os.close(writer)
    with open(reader, "rb") as pipe:
        word = pipe.read()
    if not word:
        last = _last_line(os.path.join(encode(config.folder), b"log"))
        raise Unusable("the agent ended as soon as it was started: %s" % last, "see its host")
    return loads(word.decode())


def tasks_environment(given, folder, wanted):
    """Give what tasks start from: what we were started with, the host's settings, its setup."""
    environment = own_environment()
    for name, value in (given.get("env") or {}).items():
        environment[encode(name)] = encode(value)
    if not given.get("setup"):
        return environment
    return after_setup(given, environment, encode(folder), wanted)


def after_setup(given, environment, folder, wanted):
    """Give the environment that a setup leaves when it ends well.

    Raises:
        Unusable: a line fails, or they do not come to an end.
    """
    shell = next(path for path in SETUP_SHELLS if os.access(path, os.X_OK))
    found = os.path.join(folder, b"environment")
    said = os.path.join(folder, b"setup")
    tags = {  # if we die first
        b"CORRAL_SETUP": found,
        b"CORRAL_FOLDER": folder,
        b"CORRAL_OWNER": encode(given["owner"]),
        b"CORRAL_INCARNATION": encode(given["incarnation"]),
    }
    environment = {**environment, **tags}
    script = b"set -e\n" + encode(given["setup"]) + SETUP_TELL
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDWR)
            out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            for source, target in ((nothing, 0), (out, 1), (out, 2)):
                os.dup2(source, target)
            os.execve(shell, [shell, b"-c", script], environment)
        finally:
            os._exit(127)
    status = _wait_for(pid, SETUP_S, wanted)
    if not wanted():
        raise Unusable("the login ended before its setup did", "log in again")
    if status != 0 or not os.path.exists(found):
        why = "takes longer than %d s" % SETUP_S if status is None else _last_line(said)
        raise Unusable("its setup failed: %s" % why, "mend setup = … of this host")
    with open(found, "rb") as file:
        environment = _environment(file.read())
    os.unlink(found)
    return {name: value for name, value in environment.items() if name not in tags}


def _wait_for(pid, seconds, wanted):
    """Give the exit status of a child of ours; None if its session had to be killed."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and wanted():
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        select.select([], [], [], 0.01)
    os.killpg(pid, KILL)
    os.waitpid(pid, 0)
    return None


def _last_line(path):
    """Give the last words of a log, for people."""
    try:
        with open(path, "rb") as file:
            lines = [line for line in file.read().splitlines() if line.strip()]
    except OSError as problem:
        return "its log cannot be read: %s" % problem.strerror
    return readable(lines[-1][-300:]) if lines else "it says nothing"


def put_source(folder):
    """Put the source into the agent's folder, so that it can be looked at."""
    text = globals().get("SOURCE")  # where it came over a login
    if text is None:
        with open(put_source.__code__.co_filename, "rb") as source:  # __file__ may be a .pyc
            text = source.read()
    path = os.path.join(folder, b"agent.py")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as target:
        target.write(text)


def take_lock(folder):
    """Lock an agent's folder for as long as we or our forks live; None if it is taken."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    lock = os.open(os.path.join(folder, b"lock"), flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def live_on(config, keep, announce):
    """Live as the agent in this forked process; never returns."""
    try:
        detach(encode(config.folder), keep)
        live(config, announce)
        os._exit(0)
    finally:  # only an error comes here: what would go on is the starter's code
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        os._exit(1)


def detach(folder, keep):
    """Let go of all that was inherited: terminal, pipes, open files."""
    for name in os.listdir("/proc/self/fd" if os.path.exists("/proc/self/fd") else "/dev/fd"):
        if int(name) > 2 and int(name) not in keep:
            try:
                os.close(int(name))
            except OSError:
                pass  # the one that the listing itself had
    nothing = os.open(os.devnull, os.O_RDWR)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    logfile = os.open(os.path.join(folder, b"log"), flags, 0o600)
    for source, target in ((nothing, 0), (logfile, 1), (logfile, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(logfile)


def sweep(given):
    """Kill what dead agents of an owner left running; those of live ones are let be."""
    own = os.getpid()
    incarnations = {}
    for name in os.listdir("/proc"):
        variables = _tags(int(name)) if name.isdigit() and int(name) != own else {}
        if variables.get(b"CORRAL_OWNER") == encode(given["owner"]):
            incarnation = variables.get(b"CORRAL_INCARNATION", b"").decode("utf-8", "replace")
            incarnations[incarnation] = variables.get(b"CORRAL_FOLDER")
    killed = set()
    for incarnation, folder in incarnations.items():
        if given.get("incarnation") in (None, incarnation):
            killed |= sweep_one(given["owner"], incarnation, folder)
    return {"killed": len(killed)}


def sweep_one(owner, incarnation, folder):
    """Kill what one incarnation left, unless its agent lives."""
    agent = {"owner": owner, "incarnation": incarnation}
    if folder is None or not os.path.isdir(folder):
        return kill_tagged(agent, folder or b"")
    lock = take_lock(folder)
    if lock is None:
        return set()
    try:
        killed = kill_tagged(agent, folder)
        dissolve(folder)
        return killed
    finally:
        os.close(lock)


def _tags(pid):
    """Give the tags of a process of this account; what others' say is not believed."""
    if not is_own(pid):
        return {}
    variables = _read_proc(pid, "environ").split(b"\0")
    return dict(v.partition(b"=")[::2] for v in variables if v.startswith(b"CORRAL_"))


def kill_tagged(agent, folder):
    """Kill all processes that carry the tags of an agent; give their pids."""
    processes = processes_of(agent, folder)
    tag = "CORRAL_INCARNATION=" + agent["incarnation"]
    return wipe_out(processes, lambda: processes.tree({}, tag))[0]


def processes_of(agent, folder):
    words = {"owner": agent["owner"], "incarnation": agent["incarnation"], "key": ""}
    words["folder"] = folder.decode("utf-8", "surrogateescape")
    return ProcessTable(Config(words, {}), None, everywhere=True)


def wipe_out(processes, find):
    """Kill all that ``find`` names; give the pids that were killed, and those that would not die."""
    killed = set()
    until = time.monotonic() + UNCLEAN_S
    left = find()
    while left and time.monotonic() < until:
        killed |= slay(processes, find)
        select.select([], [], [], KILL_AGAIN_S)
        left = find()
    processes.close()
    return killed, left


def join(given):
    """Start an agent, or find the one that is here, say where it is, then carry its words.

    One that is started here ends with its login if no word of the master has come by then: that
    master may be dead, and the next one have looked for the agent before there was any.
    """
    found = attach(given) if given.get("attach") else begin(given, login_lives)
    if found is None:
        return {"gone": True}
    title_relay(given)
    heard = "lives" in found
    try:
        relay = Relay(encode(found["folder"]))
        say(given, found)
        code = relay.run()
        heard = heard or relay.heard
    finally:
        if not heard:
            _end(found["link"], TERM)
            os.waitpid(found["link"], 0)
    os._exit(code)  # sparing Python's long farewell


def login_lives():
    """Say whether the login goes on; before our answer nothing but its end can come."""
    return not select.select([0], [], [], 0)[0]


def say(given, words):
    """Answer; over a login it is led by what nothing that merely echoes its input can say."""
    mark = b""
    if "challenge" in given:
        mark = b"\ncorral " + sha256(given["challenge"].encode()).hexdigest().encode() + b" "
    os.write(1, mark + dumps(words).encode() + b"\n")


def title_relay(given):
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_NAME, b"corral-relay", 0, 0, 0)
        set_title("corral-relay %s/%s" % (given["owner"], given["incarnation"]))


def attach(given):
    """Find the agent that was started here before; one that died hands in what it had finished.

    Gives None if nothing of it is left.
    """
    for folder in places(given):
        if not os.path.isdir(folder) or os.lstat(folder).st_uid != os.geteuid():
            continue
        name = readable(folder)
        if agent_lives(folder):
            return {"folder": name, "lives": True}
        kill_tagged(given, folder)
        if os.path.isdir(os.path.join(folder, b"spool")):
            return dict(begin(dict(given, folder=name, collect=True, setup="")), collects=True)
        remove_home(folder)
    return None


def places(given):
    """List where an agent may be: where it was seen before, then wherever one may live."""
    end = os.path.join(
        b"corral-%d" % os.geteuid(), encode(given["owner"]), encode(given["incarnation"])
    )
    places = [os.path.join(base, end) for base in bases_of(given.get("workdir"))]
    known = encode(given.get("folder") or "")
    if known.endswith(b"/" + end):
        places.insert(0, known)
    return places


def check(given):
    """Say what this host is like and whether an agent could live here; leaves nothing."""
    folder = choose_folder(given["owner"], given["incarnation"], given.get("workdir"))
    try:
        tasks_environment(dict(given, env=None), folder, login_lives)
        return {"facts": host_facts(folder, find_groups(encode(folder)))}
    finally:
        remove_home(encode(folder))


def reap(given):
    """List what agents of this account have here, dead or alive; with ``kill`` end and remove it.

    Of one ``owner`` or, if that is null, of all; whoever else uses this account is left alone
    unless asked for.
    """
    found = find_agents(given.get("owner"), given.get("workdir"))
    for agent in found:
        processes = pids_of(agent)
        agent["processes"] = len(processes)
        if given.get("kill"):
            agent["unclean"] = end_agent(agent)
    return {"agents": found}


def find_agents(owner, workdir):
    """List the agents that have a folder here, or a process with their tag."""
    found = OrderedDict()
    for base in bases_of(workdir):
        home = os.path.join(base, b"corral-%d" % os.geteuid())
        for folder in sorted(_folders(home)):
            for place in sorted(_folders(folder)):
                key = (readable(os.path.basename(folder)), readable(os.path.basename(place)))
                found[key] = readable(place)
    for pid in _own_pids():
        tags = _tags(pid)
        key = tuple(
            tags.get(name, b"").decode("utf-8", "replace")
            for name in (b"CORRAL_OWNER", b"CORRAL_INCARNATION")
        )
        if all(key):
            found.setdefault(key, readable(tags.get(b"CORRAL_FOLDER", b"")))
    return [
        {
            "owner": key[0],
            "incarnation": key[1],
            "folder": folder,
            "lives": agent_lives(encode(folder)),
        }
        for key, folder in found.items()
        if owner in (None, key[0])
    ]


def _folders(path):
    """List the folders in a folder of ours; nothing if it is not ours."""
    try:
        own_folder_there(path)
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _own_pids():
    """List the processes of this account, but this one and those it descends from."""
    names = os.listdir("/proc") if os.path.exists("/proc/self/stat") else ()
    pids = {int(name) for name in names if name.isdigit() and is_own(int(name))}
    return pids - {os.getpid(), os.getppid()}


def pids_of(agent):
    """List the processes of an agent: its own, its relay, its tasks with all they started."""
    processes = processes_of(agent, encode(agent["folder"]))
    try:
        roots = dict.fromkeys(_holders(encode(agent["folder"])))
        return processes.tree(roots, "CORRAL_INCARNATION=" + agent["incarnation"])
    finally:
        processes.close()


def _holders(folder):
    """List the processes that have an agent's lock, or its relay's."""
    wanted = {os.path.join(folder, name) for name in (b"lock", b"relay")} if folder else set()
    return [pid for pid in _own_pids() if any(_writes(pid, name) for name in _open(pid, wanted))]


def _open(pid, wanted):
    """List the numbers under which a process has some files open."""
    home = b"/proc/%d/fd" % pid
    found = []
    try:
        for name in os.listdir(home):
            if os.readlink(os.path.join(home, name)) in wanted:
                found.append(name.decode())
    except OSError:
        pass  # it has ended, or a file was closed
    return found


def _writes(pid, number):
    """Say whether a file is open for writing: a master that waits for a lock only reads."""
    words = _read_proc(pid, "fdinfo/" + number).split()
    flags = int(words[words.index(b"flags:") + 1], 8) if b"flags:" in words else 0
    return bool(flags & (os.O_WRONLY | os.O_RDWR))


def end_agent(agent):
    """Kill an agent with all it runs, remove its folder; give the pids that would not die."""
    processes = processes_of(agent, encode(agent["folder"]))
    left = wipe_out(processes, lambda: pids_of(agent))[1]
    folder = encode(agent["folder"])
    if not left and os.path.basename(folder) == encode(agent["incarnation"]):
        remove_home(folder)
    return sorted(left)


def strike(given):
    """Kill one agent that does not end, with all it runs; its folder stays for a second life."""
    processes = processes_of(given, encode(given["folder"]))
    return {"unclean": sorted(wipe_out(processes, lambda: pids_of(given))[1])}


def arm():
    """Let a test kill us at a call, named by caller and called: corral.failpoint."""
    name, _, often = os.environ["CORRAL_FAILPOINT"].partition(":")
    mark = os.environ["CORRAL_FAILPOINT_MARK"]
    ahead = [name] * int(often or 1)
    whens = {"c_call": "before", "c_return": "after"}
    me = os.getpid()

    def look(frame, event, call):
        nonlocal me
        if event in whens:
            when = whens[event] if os.getpid() == me else "child"
            me = os.getpid()
            if ahead[-1:] == ["%s.%s.%s" % (frame.f_code.co_name, call.__name__, when)]:
                ahead.pop()
                if not (ahead or os.path.exists(mark)):
                    open(mark, "x").close()
                    os.kill(me, KILL)

    sys.setprofile(look)


COMMANDS = {
    "start": begin,
    "sweep": sweep,
    "join": join,
    "check": check,
    "reap": reap,
    "strike": strike,
}


def refusal(problem):
    """Say what the system refused, and of which file."""
    said = problem.strerror or str(problem)
    file = problem.filename
    return "%s: %s" % (readable(file), said) if isinstance(file, (str, bytes)) else said


def main(words):
    """Run a command, told more by a line of JSON; so is its answer, or what is wrong."""
    given = loads(sys.stdin.buffer.readline().decode())  # it may have read ahead of our source
    if "CORRAL_FAILPOINT" in os.environ:
        arm()
    try:
        answer = COMMANDS[words[0]](given)
    except Unusable as problem:
        answer = {"error": str(problem), "hint": problem.hint}
    except OSError as problem:
        what = "start the agent" if words[0] in ("start", "join") else words[0]
        answer = {
            "error": "cannot %s: %s" % (what, refusal(problem)),
            "hint": "see its work folder",
        }
    if answer:
        say(given, answer)
    return int("error" in (answer or ()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
