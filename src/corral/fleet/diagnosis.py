"""Why could a host not be used, and what helps?

Read from what ssh says on stderr, its exit code and what the host said before our command. ssh has
no codes for these, only sentences; they have been the same for many years and are never translated.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from corral.fleet.base import LaunchError

HINT_ALONE = "look for yourself: {ssh} {host} true"


class Sign(NamedTuple):
    """A sentence of ssh, and what it means for the user."""

    pattern: str  # of a line of stderr, any case
    hint: str
    says: str = ""  # in place of the line; "" = the line itself is clear
    retryable: bool = False  # may be over by itself
    soon: bool = False  # the server is only busy


SIGNS = (
    Sign(
        r"remote host identification has changed|host key for .* has changed|offending .* key in",
        "if it was set up anew, forget its old key: ssh-keygen -R {host}",
        says="its host key has changed",
    ),
    Sign(
        r"host key verification failed|host key is known",
        "look at its key once: {ssh} {host}",
        says="its host key is not known here",
    ),
    Sign(r"could not resolve hostname", "check the spelling, or give it a HostName in ssh_config"),
    Sign(
        r"unprotected private key",
        "chmod 600 the key's file",
        says="ssh ignores its key, whose file others may read",
    ),
    Sign(r"no such identity", "mend IdentityFile in ssh_config"),
    Sign(r"permission denied", "ssh-copy-id {host}"),
    Sign(r"too many authentication failures", "name its key: IdentityFile, IdentitiesOnly yes"),
    Sign(
        r"kex_exchange_identification|ssh_exchange_identification|"
        r"connection (closed|reset) by|not allowed at this time|exceeded maxstartups",
        "its sshd refuses logins under load (MaxStartups); corral tries again",
        retryable=True,
        soon=True,
    ),
    Sign(r"connection refused", "is its sshd running, on that port?", retryable=True),
    Sign(
        r"connection timed out|operation timed out|no route to host|network is unreachable|"
        r"host is down|timeout, server",
        "is it switched on and on the network?",
        retryable=True,
    ),
    Sign(r"bad owner or permissions|bad configuration option|terminating, \d+ bad", "mend ssh's configuration"),
    Sign(r"broken pipe|connection to .* closed", "its connection broke", retryable=True),
)  # fmt: skip


def ssh_failed(host: str, *, ssh: str, code: int | None, stderr: str) -> LaunchError:
    """Explain a login that ssh could not make or keep."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    for sign in SIGNS:
        for line in lines:
            if re.search(sign.pattern, line, re.IGNORECASE):
                return LaunchError(
                    f"{host}: {sign.says or _plain(line)}",
                    hint=sign.hint.format(host=host, ssh=ssh),
                    retryable=sign.retryable,
                    soon=sign.soon,
                )
    said = lines[-1] if lines else f"ssh ended with {code} and says nothing"
    return LaunchError(
        f"{host}: {said}", hint=HINT_ALONE.format(host=host, ssh=ssh), retryable=bool(not lines)
    )


def other_command(host: str, *, ssh: str, noise: str, code: int | None) -> LaunchError:
    """Explain a login that ran something other than what was asked."""
    said = noise.strip().splitlines()
    told = f": {said[-1][:120]!r}" if said else ""
    return LaunchError(
        f"{host}: its login runs another command than corral's (it ended with {code}){told}",
        hint="ForceCommand in its sshd_config, command= in its authorized_keys, a shell such as"
        " nologin, or a start-up file that exits",
    )


def no_python(host: str, *, too_old: str, chosen: str | None) -> LaunchError:
    """Explain that the agent's program cannot run there."""
    if chosen is not None:
        what = f"{chosen} is no Python 3.6 or newer with zlib"
    elif too_old:
        what = f"its Python is older than 3.6 or has no zlib: {too_old}"
    else:
        what = "it has no python3 that corral finds"
    return LaunchError(
        f"{host}: {what}",
        hint="install Python 3.6 or newer there, or set python = … for this host in hosts.toml",
        nothing_left=True,
    )


def program_failed(host: str, *, stderr: str, code: int | None) -> LaunchError:
    """Explain that the agent's program ended without an answer."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    said = lines[-1] if lines else f"it ended with {code}"
    return LaunchError(f"{host}: the agent did not start: {said}", hint="see its disk and memory")


def _plain(line: str) -> str:
    """Take out of a sentence of ssh what the reader knows already."""
    line = re.sub(r"^ssh: ", "", line)
    line = re.sub(r"^connect to host \S+ port (\d+): ", r"port \1: ", line)
    line = re.sub(r"^\S+@\S+: ", "", line)
    return line.strip("@ ").rstrip(".!")
