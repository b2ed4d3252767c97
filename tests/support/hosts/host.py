"""One simulated host: what can be done to it, and what can be seen in it.

Every fault takes effect before its method returns, and ends with the bed at the latest. What
lies in files (keys, login shell, sshd's options, rc) outlasts a reboot as it would elsewhere;
what was mounted, hidden, cut or frozen does not.
"""

from __future__ import annotations

import functools
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, Literal, ParamSpec, TypeVar

from corral.errors import CorralError
from tests import parts
from tests.support.hosts import processes, sshd
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.hosts.network import Switch
    from tests.support.hosts.processes import Process

P = ParamSpec("P")
R = TypeVar("R")

HERE = Path(__file__).parent
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COMMAND_S = 30.0  # one command without ssh; those of tests take milliseconds
PYTHON = Path(sys.base_prefix)  # the tests' own Python, which hosts have too
PROGRAMS = ("usr/bin", "usr/local/bin", "usr/libexec", "opt/*/bin")  # where a Python may lie
KEPT = "/run/machine"  # inside a host: what hides and replaces
UNITS_KB = {"K": 1, "M": 1 << 10, "G": 1 << 20}
BALLAST_KB = 64  # lies on a disk that is to be full
NO_RULES = ("add table inet bed", "delete table inet bed")  # whether it was there or not
UNSHARE = [
    *("unshare", "--net", "--mount", "--uts", "--ipc", "--pid"),
    *("--fork", "--kill-child", "--propagation", "private"),
]


class BedError(CorralError):
    """A bed or one of its hosts could not do what was asked of it."""


class NeedsNamespaces(BedError):
    """This can only be done to a host that has namespaces of its own, which need root."""


def namespaced(
    method: Callable[Concatenate[Host, P], R],
) -> Callable[Concatenate[Host, P], R]:
    """Refuse a method on a host without namespaces: it would hit this machine."""

    @functools.wraps(method)
    def checked(host: Host, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if not host.namespaces:
            raise NeedsNamespaces(f"{host.name}: no {method.__name__}() without root")
        return method(host, *args, **kwargs)

    return checked


class Host:
    """See `tests.support.hosts`; ``folder`` holds the host's disk and files."""

    def __init__(self, number: int, folder: Path, switch: Switch, *, namespaces: bool) -> None:
        self.number = number
        self.name = f"h{number}"
        self.folder = folder / self.name
        self.namespaces = namespaces
        self.address = switch.address(number) if namespaces else "127.0.0.1"
        self.port = 22 if namespaces else _free_port()
        self.pid = 0  # of its first process, seen from outside; 0: the host is off
        self.listener = 0  # sshd's pid, as the first process sees it
        self._switch = switch
        self._machine: subprocess.Popen[str] | None = None
        self._options: tuple[str, ...] = ()
        self._covered: list[str] = []  # mounts that `own_python` takes away
        self._key = folder / "key.pub"

    # ------------------------------------------------------------ what is seen

    def sh(self, command: str, *, check: bool = True, stdin: str = "") -> str:
        """Run a command in the host, without ssh; gives its stdout.

        Raises:
            BedError: It failed (only with ``check``).
        """
        done = subprocess.run(
            [*self._enter(), "/bin/sh", "-c", f"cd\n{command}"],
            env={"HOME": self._home, "PATH": PATH},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        if check and done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise BedError(f"{self.name}: {command}: exit {done.returncode}: {said}")
        return done.stdout

    def processes(self) -> list[Process]:
        """List all living processes, but the first one and sshd's listener."""
        found = (processes.read(pid) for pid in self._pids())
        return [one for one in found if one and not self._is_listener(one.pid)]

    def ours(self) -> list[Process]:
        """List the living processes of corral."""
        return [one for one in self.processes() if one.ours]

    def files(self) -> list[str]:
        """List what is below /tmp, /var/tmp and ~/.cache and has corral in its path.

        Without namespaces the first two are those of this machine, and everybody's.
        """
        found: list[str] = []
        for top in ("/tmp", "/var/tmp", f"{self._home}/.cache"):
            place = self.place(top)
            for at, folders, files in os.walk(place):
                inside = Path(top, Path(at).relative_to(place))
                found += [str(inside / name) for name in (*folders, *files)]
        return sorted(path for path in found if "corral" in path.removeprefix(self._home))

    def place(self, path: str) -> Path:
        """Say where a file of the host, which is on, is seen from outside."""
        return Path(f"/proc/{self.pid}/root{path}") if self.namespaces else Path(path)

    def read(self, path: str) -> str:
        return self.place(path).read_text()

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        place = self.place(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def log(self) -> str:
        """Give what sshd said since the bed began."""
        return (self.folder / "log").read_text()

    # ------------------------------------------------------------ network

    @namespaced
    def unplug(self) -> None:
        """Pull the cable: the host loses its carrier, and nobody is told."""
        self._switch.unplug(self.number)

    @namespaced
    def plug(self) -> None:
        self._switch.plug(self.number)

    @namespaced
    def cut(self, way: Literal["in", "out", "both"] = "both") -> None:
        """Drop what comes in, what goes out, or both; ends with `heal` or the next call."""
        rules = [*NO_RULES, "add table inet bed"]
        for side, hook, device in (("in", "input", "iifname"), ("out", "output", "oifname")):
            if way in (side, "both"):
                rules.append(f"add chain inet bed {hook} {{ type filter hook {hook} priority 0; }}")
                rules.append(f'add rule inet bed {hook} {device} "eth0" drop')
        self.sh("nft -f -", stdin="\n".join(rules) + "\n")

    @namespaced
    def heal(self) -> None:
        self.sh("nft -f -", stdin="\n".join(NO_RULES) + "\n")

    # ------------------------------------------------------------ power

    def start(self) -> None:
        """Switch the host on, or give one that crashed its sshd again."""
        if self._machine is None:
            self._boot()
        else:
            self._restart_sshd()

    def stop(self) -> None:
        """Switch the host off."""
        machine = self._machine
        if machine is None:
            return
        if self.namespaces and self.pid and machine.poll() is None:
            os.kill(self.pid, signal.SIGKILL)  # the kernel kills the rest before it is reaped
        machine.communicate()
        self._machine, self.pid, self.listener = None, 0, 0

    @namespaced
    def kill(self) -> None:
        """Let the host die in silence: its connections neither end nor break."""
        if self._machine is None:
            return
        self._switch.disconnect(self.number)  # first, else its last words get out
        self.stop()

    @namespaced
    def crash(self) -> None:
        """Kill all processes: connections break, new ones are refused until `start`."""
        wait_until(lambda: not self._signal(signal.SIGKILL), what=f"{self.name} is empty")

    @namespaced
    def reboot(self) -> None:
        """Switch the host off and on; /tmp is empty then, /var/tmp is not."""
        self.kill()
        shutil.rmtree(self.folder / "tmp")
        _make_public(self.folder / "tmp")
        self.start()

    @namespaced
    def freeze(self) -> None:
        """Stop every process; the kernel still answers, as that of a hung host does."""
        wait_until(self._all_stopped, what=f"{self.name} is frozen")

    @namespaced
    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    # ------------------------------------------------------------ login

    def sshd(self, *options: str) -> None:
        """Start sshd anew with these lines of sshd_config before all others; none: as it was."""
        self._options = options
        self._write_sshd_config()
        self._restart_sshd()

    def new_host_key(self) -> None:
        """Give sshd a new key, which the client does not know."""
        sshd.make_key(self.host_key, self.name)
        self._restart_sshd()

    def lock_out(self) -> None:
        """Empty authorized_keys."""
        self._authorized_keys.write_text("")

    def let_in(self) -> None:
        self._authorized_keys.write_text(self._key.read_text())

    @namespaced
    def shell(self, program: str) -> None:
        """Make this root's login shell."""
        self._write_accounts(program)

    def rc(self, text: str) -> None:
        """Append to ~/.bashrc, which bash reads at every login by ssh."""
        with (self.folder / "home" / ".bashrc").open("a") as rc:
            rc.write(text + "\n")

    # ------------------------------------------------------------ Python

    @namespaced
    def no_python(self) -> None:
        """Hide every Python, until `own_python`."""
        self.own_python()
        self._hide_python()

    @namespaced
    def old_python(self) -> None:
        """Have a python3 that behaves as 3.4 as the only Python, until `own_python`."""
        self.own_python()
        self.sh(f"mkdir -p {KEPT}/python && mount --bind {PYTHON} {KEPT}/python")
        self._covered.append(f"{KEPT}/python")
        self._hide_python()
        self.write(f"{KEPT}/old_python.py", (HERE / "old_python.py").read_text())
        old = f'#!/bin/sh\nexec {KEPT}/python/bin/python3 -I -S {KEPT}/old_python.py "$@"\n'
        self.write("/usr/local/bin/python3", old, 0o755)

    @namespaced
    def own_python(self) -> None:
        """Undo `no_python` and `old_python`."""
        while self._covered:
            self.sh(f"umount -l {self._covered.pop()}")

    # ------------------------------------------------------------ disk

    @namespaced
    def mount(self, path: str, how: Literal["ro", "noexec", "full"]) -> None:
        """Make what lies at ``path`` read-only or not executable, or put a full disk there."""
        if how == "full":
            self.fill(path, free="0K")
        else:
            self.sh(f"mount --bind {path} {path} && mount -o remount,bind,{how} {path}")

    @namespaced
    def fill(self, path: str, *, free: str) -> None:
        """Put an empty disk at ``path`` with only so much room on it: ``64K``, ``1M``, ``2G``."""
        size = int(free[:-1]) * UNITS_KB[free[-1]] + BALLAST_KB
        self.sh(
            f"mount -t tmpfs -o size={size}k,mode=1777 filled {path}"
            f" && head -c {BALLAST_KB}K /dev/zero > {path}/ballast"
        )

    @namespaced
    def unmount(self, path: str) -> None:
        """Undo the last `mount` or `fill` of ``path``."""
        self.sh(f"umount -l {path}")

    # ------------------------------------------------------------ how it is made

    @property
    def host_key(self) -> Path:
        return self.folder / "ssh" / "host_key"

    def prepare(self) -> None:
        """Lay out the host's disk."""
        for name in ("bin", "etc", "home/.ssh", "ssh"):
            (self.folder / name).mkdir(parents=True)
        for name in ("tmp", "vartmp"):
            _make_public(self.folder / name)
        (self.folder / "bin" / "python3").symlink_to(Path(sys.executable).resolve())
        if PYTHON.is_relative_to(self._home):
            self._kept_python.mkdir(parents=True)
        (self.folder / "etc" / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n")
        if self.namespaces:
            self._write_accounts("/bin/bash")
        sshd.make_key(self.host_key, self.name)
        self.let_in()
        self._write_sshd_config()

    def sshd_lines(self) -> list[str]:
        """Give the lines of sshd_config that are this host's own."""
        files = "/etc/ssh" if self.namespaces else self.folder / "ssh"
        lines = [f"Port {self.port}", f"HostKey {files}/host_key"]
        if not self.namespaces:
            lines += [
                f"ListenAddress {self.address}",
                f"AuthorizedKeysFile {self._authorized_keys}",
                f"SetEnv HOME={self._home}",
            ]
        return lines

    @property
    def _home(self) -> str:
        return pwd.getpwuid(0).pw_dir if self.namespaces else str(self.folder / "home")

    @property
    def _authorized_keys(self) -> Path:
        return self.folder / "home" / ".ssh" / "authorized_keys"

    @property
    def _kept_python(self) -> Path:
        return self.folder / "home" / PYTHON.relative_to(self._home)

    def _boot(self) -> None:
        enter = UNSHARE if self.namespaces else []
        with (self.folder / "log").open("a") as log:
            self._machine = subprocess.Popen(
                [*enter, sys.executable, "-I", "-S", str(HERE / "machine.py")],
                cwd="/",
                env={"PATH": PATH},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # a Ctrl-C is for the bed's process alone
            )
        self._covered = []
        self._order(json.dumps(self._plan()))
        self.pid = int(self._answer())
        if self.namespaces:
            self._switch.connect(self.number, self.pid)
        self._wait_for_sshd()

    def _plan(self) -> dict[str, object]:
        config = "/etc/ssh/sshd_config" if self.namespaces else self.folder / "ssh/sshd_config"
        return {
            "name": self.name,
            "namespaces": self.namespaces,
            "mounts": self._mounts() if self.namespaces else [],
            "sshd": [str(parts.find("sshd")), "-D", "-e", "-f", str(config)],
        }

    def _mounts(self) -> list[tuple[str, str, str]]:
        """List (source, target, kind); /tmp is last, since it hides the bed's own folder."""
        python = []
        if PYTHON.is_relative_to(self._home):
            python = [(str(PYTHON), str(self._kept_python), "bind-ro")]
        fresh = [("host", place, "tmpfs") for place in ("/run", "/dev/shm", "/var/log")]
        own = {
            "ssh": "/etc/ssh",
            "etc/hosts": "/etc/hosts",
            "etc/passwd": "/etc/passwd",
            "etc/shadow": "/etc/shadow",
            "home": self._home,
            "bin": "/usr/local/bin",
            "vartmp": "/var/tmp",
            "tmp": "/tmp",
        }
        bound = [(str(self.folder / name), place, "bind") for name, place in own.items()]
        return [("proc", "/proc", "proc"), *python, *fresh, *bound]

    def _write_accounts(self, shell: str) -> None:
        """Write /etc/passwd and shadow: this machine's, with root's own shell and no lock."""
        for name in ("passwd", "shadow"):
            lines = [line.split(":") for line in Path("/etc", name).read_text().splitlines()]
            for fields in lines:
                if fields[0] == "root":
                    fields[1 if name == "shadow" else -1] = "*" if name == "shadow" else shell
            text = "".join(":".join(fields) + "\n" for fields in lines)
            (self.folder / "etc" / name).write_text(text)  # in place: the file itself is mounted

    def _write_sshd_config(self) -> None:
        text = sshd.server_config(self, self._options)
        (self.folder / "ssh" / "sshd_config").write_text(text)

    def _restart_sshd(self) -> None:
        self._order("sshd")
        self._wait_for_sshd()

    def _wait_for_sshd(self) -> None:
        self.listener = int(self._answer())
        wait_until(self._sshd_listens, what=f"{self.name}: sshd listens")

    def _sshd_listens(self) -> bool:
        if not self.place(f"/proc/{self.listener}").exists():
            raise BedError(f"{self.name}: sshd ended: {self.log()}")
        sockets = Path(f"/proc/{self.pid}/net/tcp").read_text()
        return f":{self.port:04X} 00000000:0000 0A" in sockets  # 0A: listens

    def _order(self, line: str) -> None:
        assert self._machine, f"{self.name} is off"
        assert self._machine.stdin
        self._machine.stdin.write(line + "\n")
        self._machine.stdin.flush()

    def _answer(self) -> str:
        assert self._machine
        assert self._machine.stdout
        if not (line := self._machine.stdout.readline()):
            raise BedError(f"{self.name} did not come up: {self.log()}")
        return line

    def _enter(self) -> list[str]:
        assert self.pid, f"{self.name} is off"
        return ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p"] * self.namespaces

    def _pids(self) -> list[int]:
        """List all processes but the first, which is the bed's."""
        if not self.pid:
            return []
        if self.namespaces:
            return processes.sharing_namespace(self.pid)
        return processes.below(self.pid)

    def _is_listener(self, pid: int) -> bool:
        return processes.inner_pid(pid) == self.listener

    def _signal(self, number: signal.Signals) -> list[int]:
        """Send a signal to all processes; gives whom it reached."""
        return [pid for pid in self._pids() if processes.send(pid, number)]

    def _all_stopped(self) -> bool:
        return all(processes.is_stopped(pid) for pid in self._signal(signal.SIGSTOP))

    def _hide_python(self) -> None:
        folders = [str(folder) for pattern in PROGRAMS for folder in Path("/").glob(pattern)]
        for folder in folders:
            self._cover(folder)
        self.sh(f"rm -f {' '.join(f'{folder}/*python*' for folder in folders)}")
        if PYTHON.is_relative_to(self._home):
            self.sh(f"mount -t tmpfs covered {PYTHON}")
            self._covered.append(str(PYTHON))

    def _cover(self, folder: str) -> None:
        """Put a layer over a folder, so that it can be changed in this host alone."""
        layer = f"{KEPT}/layers{folder}"
        self.sh(
            f"mkdir -p {layer}/upper {layer}/work && mount -t overlay covered {folder}"
            f" -o lowerdir={folder},upperdir={layer}/upper,workdir={layer}/work"
        )
        self._covered.append(folder)


def _make_public(folder: Path) -> None:
    """Make a folder as /tmp is."""
    folder.mkdir()
    folder.chmod(0o1777)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
