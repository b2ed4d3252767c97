"""The state folder ``.corral/``: where it is, what lies in it, and who may serve it.

Found upwards like ``.git``, else made in the current folder. Exactly one process serves it: the
holder of the flock on ``lock``; its address and pid stand in ``master.json``. Followers hold a
shared flock on ``followers``, so that a master knows whether anybody watches.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from corral import ids
from corral.errors import StoreError
from corral.failpoint import around
from corral.model.base import Frozen
from corral.store import leftovers
from corral.store.blobs import Blobs
from corral.store.room import Ballast, Room, room
from corral.store.sqlite import SqliteStore
from corral.units import show_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from corral.ids import Owner

NAME = ".corral"
KEY = 32  # bytes of the secret
_UNFINISHED = re.compile(r"(?:secret|master\.json)\.(\d+)")  # as `_write_private` names them
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "lustre", "gpfs", "beegfs", "ceph",
     "glusterfs", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.juicefs", "panfs", "orangefs"}
)  # fmt: skip
"""WAL shares memory between processes, which no network file system carries; it corrupts unseen."""


class MasterAddress(Frozen, frozen=True, kw_only=True):
    """What ``master.json`` says."""

    pid: int
    host: str
    port: int


class StateFolder:
    """One ``.corral/``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def find(cls, start: Path) -> StateFolder | None:
        """Look for a state folder from ``start`` upwards; one of another user is none.

        Whoever serves a folder runs what stands in its database.
        """
        for folder in (start, *start.parents):
            if _is_ours(folder / NAME) and (folder / NAME / "secret").is_file():
                return cls(folder / NAME)
        return None

    @classmethod
    def find_or_make(cls, start: Path) -> StateFolder:
        """Find the state folder, or make one in ``start``.

        Raises:
            StoreError: It cannot be made.
        """
        return cls.find(start) or cls.make(start)

    @classmethod
    def make(cls, start: Path) -> StateFolder:
        """Make a state folder in ``start``, whatever stands above it.

        Raises:
            StoreError: It cannot be made.
        """
        folder = cls(start / NAME)
        try:
            folder.path.mkdir(mode=0o700, exist_ok=True)
            if not _is_ours(folder.path):
                raise StoreError(
                    f"{folder.path}: belongs to somebody else, or is a link",
                    hint="run corral in a folder of your own",
                )
            folder.path.chmod(0o700)
            for name in ("blobs", "logs"):
                (folder.path / name).mkdir(mode=0o700, exist_ok=True)
            _write_private(folder.path / "secret", secrets.token_hex(KEY))
        except OSError as error:
            raise StoreError(
                f"{start}: no state folder can be made here: {error.strerror}",
                hint="run corral in a folder that you may write to",
            ) from error
        return folder

    @property
    def secret(self) -> bytes:
        """The key that all others derive from; one file of mode 0600."""
        path = self.path / "secret"
        hint = "put it back from a backup, or move the state folder away; results/ stays"
        try:
            key = bytes.fromhex(path.read_text().strip())
        except (OSError, ValueError) as error:
            raise StoreError(f"{path}: cannot be read: {error}", hint=hint) from error
        if len(key) != KEY:  # cut off by a crash of the machine: a key that others could guess
            raise StoreError(f"{path}: is damaged", hint=hint)
        return key

    @property
    def owner(self) -> Owner:
        """The folder's own name on hosts: not secret, never two alike."""
        import hashlib

        return ids.Owner(hashlib.sha256(b"owner" + self.secret).hexdigest()[:12])

    @functools.cached_property
    def database(self) -> Path:
        """Where the database lies: in the folder, unless that is on a network file system."""
        kind = file_system(self.path)
        if kind not in NETWORK_FILE_SYSTEMS:
            return self.path / "corral.db"
        local = Path("/var/tmp") / f"corral-{os.getuid()}" / self.owner  # noqa: S108
        local.mkdir(mode=0o700, parents=True, exist_ok=True)
        if local.stat().st_uid != os.getuid():
            raise StoreError(f"{local} belongs to somebody else", hint="remove it")
        return local / "corral.db"

    @property
    def blobs(self) -> Blobs:
        return Blobs(self.path / "blobs")

    @property
    def ballast(self) -> Ballast:
        """What is dropped when the database finds the disk full."""
        return Ballast(self.database.with_name("ballast"))

    def room(self) -> Room:
        """Look how much room is left for results and the database."""
        return room({self.path, self.database.parent})

    def shortage(self) -> str:
        """Say that nothing new starts for want of room; "" while there is enough."""
        found = self.room()
        if not found.is_low:
            return ""
        free, mark = show_size(found.free), show_size(found.low_mark)
        return f"only {free} free for {self.path}: nothing new starts below {mark}"

    def open_store(self) -> SqliteStore:
        """Open the database, made if there is none."""
        return SqliteStore.open(self.database, relief=self.ballast.drop)

    def master(self) -> MasterAddress | None:
        """Say where the master listens; None if no living process serves the folder."""
        if not self._locked("lock"):
            return None
        try:
            return msgspec.json.decode((self.path / "master.json").read_bytes(), type=MasterAddress)
        except (OSError, msgspec.DecodeError):
            return None  # it is just starting or ending

    def served(self) -> bool:
        """Say whether a process serves the folder, or is about to."""
        return self._locked("lock")

    def announce(self, address: MasterAddress) -> None:
        """Say where this process listens, once; only the holder of the lock calls it."""
        for unfinished in leftovers.of_dead(self.path, _UNFINISHED):
            unfinished.unlink(missing_ok=True)
        _write_private(self.path / "master.json", msgspec.json.encode(address).decode())

    def retire(self) -> None:
        """Take the address back before the lock is let go."""
        (self.path / "master.json").unlink(missing_ok=True)

    def try_lock(self) -> Lock | None:
        """Become the master, if nobody is."""
        return Lock.take(self.path / "lock", fcntl.LOCK_EX)

    def follow(self) -> Lock:
        """Be seen as a follower until the lock is closed."""
        lock = Lock.take(self.path / "followers", fcntl.LOCK_SH, wait=True)
        assert lock is not None
        return lock

    def followed(self) -> bool:
        """Say whether another process follows a run here."""
        return self._locked("followers")

    def _locked(self, name: str) -> bool:
        lock = Lock.take(self.path / name, fcntl.LOCK_EX)
        if lock is None:
            return True
        lock.close()
        return False


class Lock:
    """A flock that lasts until it is closed or the process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path, kind: int, *, wait: bool = False) -> Lock | None:
        """Take it; None if another process has it and ``wait`` is not asked."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(descriptor)

    def close(self) -> None:
        """Let it go; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def file_system(path: Path) -> str:
    """Name the type of the file system that ``path`` is on; "" where that cannot be told."""
    best, kind = "", ""
    resolved = str(path.resolve())
    with contextlib.suppress(OSError):
        for point, name in _mounts():
            inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(best):
                best, kind = point, name
    return kind


def _is_ours(path: Path) -> bool:
    """Say whether a folder, no link, is there and belongs to who runs this."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def _mounts() -> Iterator[tuple[str, str]]:
    """List (mount point, type); empty where there is no /proc."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields = line.split(" ")
        point = fields[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        yield point, fields[fields.index("-") + 1]


def _write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    with around("folder.write"):
        temporary.replace(path)
