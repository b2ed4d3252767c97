"""A bed of hosts: brings them up together, and takes everything down again."""

from __future__ import annotations

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tests import parts
from tests.support.hosts import sshd
from tests.support.hosts.host import BedError, Host
from tests.support.hosts.network import Switch
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

AT_ONCE = 8  # hosts that are brought up at the same time
CLEAN_S = 15.0  # what agents have to be gone after a test; they need a second


class Bed:
    """So many hosts, called h1, h2, ...; a context manager.

    ``namespaces`` None means: if this user may have them.
    """

    def __init__(self, hosts: int = 3, *, namespaces: bool | None = None) -> None:
        self.namespaces = parts.has_namespaces() if namespaces is None else namespaces
        self.names = [f"h{number}" for number in range(1, hosts + 1)]
        self._hosts: dict[str, Host] = {}

    def __enter__(self) -> Self:
        if parts.find("sshd") is None:
            raise BedError("no OpenSSH server on this machine", hint="make system-deps")
        _remove_leftovers()
        self.folder = Path(tempfile.mkdtemp(prefix=f"bed-{os.getpid()}-"))
        self._switch = Switch(self.folder, namespaces=self.namespaces)
        try:
            self._bring_up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def __iter__(self) -> Iterator[Host]:
        return iter(self._hosts.values())

    def __len__(self) -> int:
        return len(self._hosts)

    @property
    def config(self) -> Path:
        """The client's configuration, which alone knows the hosts' names."""
        return self.folder / "ssh_config"

    @property
    def ssh(self) -> str:
        """The text for ``--ssh`` and CORRAL_SSH."""
        return f"ssh -F {self.config}"

    def left(self) -> list[str]:
        """List what corral left on the hosts, process or file, a line each."""
        return [
            f"{host.name}: {line}"
            for host in self
            for line in (
                *(f"process {one.pid} {' '.join(one.words) or one.name}" for one in host.ours()),
                *(f"file {path}" for path in host.files()),
            )
        ]

    def see_clean(self) -> None:
        """See nothing of corral left; what is left, is cleaned away, so that it fails one test only.

        Raises:
            AssertionError: It says what was left.
        """
        try:
            wait_until(lambda: not self.left(), seconds=CLEAN_S)
        except AssertionError as exc:
            found = self.left()
            self.clean()
            raise AssertionError("left on the hosts:\n" + "\n".join(found)) from exc

    def clean(self) -> None:
        """Make every host as empty as a new one."""
        for host in self:
            host.reboot()
            host.sh("rm -rf ~/.cache; find /var/tmp -mindepth 1 -delete")

    def down(self) -> None:
        """Remove the hosts, their network and their files."""
        self._at_once(Host.stop)
        self._switch.remove()

    def _bring_up(self) -> None:
        self._switch.connect_master()
        sshd.make_key(self.folder / "key", "bed")
        for number, name in enumerate(self.names, 1):
            self._hosts[name] = Host(number, self.folder, self._switch, namespaces=self.namespaces)
        self._at_once(Host.prepare)
        known_hosts = self.folder / "known_hosts"
        known_hosts.write_text(sshd.known_hosts(self))
        self.config.write_text(
            sshd.client_config(self, key=self.folder / "key", known_hosts=known_hosts)
        )
        self._at_once(Host.start)

    def _at_once(self, what: Callable[[Host], None]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(what, self))


def _remove_leftovers() -> None:
    """Remove the folders of beds that were killed together with their keeper."""
    for folder in Path(tempfile.gettempdir()).glob("bed-*-*"):
        if not Path("/proc", folder.name.split("-")[1]).exists():
            shutil.rmtree(folder, ignore_errors=True)  # its keeper may be about to do the same
