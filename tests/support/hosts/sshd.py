"""What stands in the files of OpenSSH: of a host's server, and of the client that knows them all."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.support.hosts.host import Host

SERVER = """\
AddressFamily inet
PidFile none
UsePAM no
UseDNS no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
PrintLastLog no
Subsystem sftp internal-sftp
"""
CLIENT = """\
Host *
  User {user}
  IdentityFile {key}
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {known_hosts}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
"""


def make_key(path: Path, comment: str) -> None:
    """Make a new key pair, in place of what was there."""
    for old in (path, path.with_suffix(".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path], check=True
    )


def server_config(host: Host, options: Iterable[str]) -> str:
    """Write a server's configuration; ``options`` win, since sshd takes the first of a kind."""
    return "".join(f"{line}\n" for line in (*options, *host.sshd_lines())) + SERVER + _calm()


def client_config(hosts: Iterable[Host], *, key: Path, known_hosts: Path) -> str:
    """Write the client's configuration: names are resolved by it alone."""
    entries = "".join(
        f"Host {host.name}{'' if host.port != 22 else ' ' + host.address}\n"
        f"  HostName {host.address}\n  Port {host.port}\n"
        for host in hosts
    )
    user = pwd.getpwuid(os.getuid()).pw_name
    return entries + CLIENT.format(user=user, key=key, known_hosts=known_hosts)


def known_hosts(hosts: Iterable[Host]) -> str:
    """Write what the client knows of the hosts' keys."""
    return "".join(
        f"{_name_in_known_hosts(host)} {host.host_key.with_suffix('.pub').read_text()}"
        for host in hosts
    )


def _name_in_known_hosts(host: Host) -> str:
    return host.address if host.port == 22 else f"[{host.address}]:{host.port}"


def _calm() -> str:
    """Switch off what would make a host remember the refused logins of an earlier moment."""
    said = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr
    version = re.search(r"OpenSSH_(\d+)\.(\d+)", said)
    assert version, said
    newer = (int(version[1]), int(version[2])) >= (9, 8)  # older ones refuse the word
    return "PerSourcePenalties no\n" if newer else ""
