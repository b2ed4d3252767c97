"""Why could a host not be used, and what helps?

Read from what ssh says on stderr, its exit code and what the host said before our command. ssh has
no codes for these, only sentences; they have been the same for many years and are never translated.
"""

from __future__ import annotations

import errno
import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

from corral.fleet.base import LaunchError, brief

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from corral.model.host import HostSpec

# What ssh says last of a host that another program (a jump host's ssh) should have got it to.
ON_THE_WAY = re.compile(r"connection .*UNKNOWN port", re.IGNORECASE)

SHORT = {  # what this machine may have too little of, for a time
    errno.EMFILE: "raise `ulimit -n` here: each host takes two open files",
    errno.ENFILE: "end other processes here: all together have too many files open",
    errno.EAGAIN: "raise `ulimit -u` here, or end other processes",
    errno.ENOMEM: "end other processes here",
}


class Sign(NamedTuple):
    """A sentence of ssh, and what it means for the user."""

    pattern: str  # of a line of stderr, any case; its named groups are for the hint
    hint: str
    says: str = ""  # in place of the line; "" = the line itself is clear
    retryable: bool = False  # may be over by itself
    soon: bool = False  # the server is only busy
    causes: tuple[Sign, ...] = ()  # what ssh said before, if it did, tells more


CHANGED_KEY = Sign(
    r"^host key for (?P<key>\S+) has changed",
    "if it was set up anew, forget its old key: ssh-keygen -R {key}",
    says="its host key has changed",
)
BAD_KEYS = (
    Sign(
        r"^@ +warning: unprotected private key file",
        "chmod 600 the key's file",
        says="ssh ignores its key, whose file others may read",
    ),
    Sign(r"^no such identity", "mend IdentityFile in ssh_config"),
)
BAD_LINE = Sign(r"\bline \d+: ", "mend ssh's configuration")

SIGNS = (
    Sign(
        r"^channel \d+: open failed: administratively prohibited",
        "look at AllowTcpForwarding and PermitOpen in the jump host's sshd_config",
    ),
    Sign(
        r": (temporary failure in name resolution|try again)\.?$",
        "check the spelling, or is no name server reachable? corral tries again",
        retryable=True,
    ),
    Sign(
        r"^ssh: could not resolve hostname|^channel \d+: open failed: .* not known$",
        "check the spelling, or give it a HostName in ssh_config",
    ),
    Sign(
        r"^host key verification failed|^no .*host key is known",
        "look at its key once: {ssh} {login}",
        says="its host key is not known here",
        causes=(CHANGED_KEY,),
    ),
    Sign(
        r"^((?P<login>\S+@\S+): )?permission denied \([\w,@.-]+\)\.?$",
        "ssh-copy-id {login}",
        causes=BAD_KEYS,
    ),
    Sign(
        r"^(received disconnect|disconnect).*: too many authentication failures",
        "name its key: IdentityFile, IdentitiesOnly yes",
        causes=BAD_KEYS,
    ),
    Sign(r"(^|: )connection refused", "is its sshd running, on that port?", retryable=True),
    Sign(
        r"(^|: )(connection timed out|operation timed out|no route to host|network is unreachable"
        r"|host is down)|^timeout, server|^channel \d+: open failed",
        "is it switched on and on the network?",
        retryable=True,
    ),
    Sign(
        r"^bad owner or permissions|: bad configuration option|: terminating, \d+ bad",
        "mend ssh's configuration",
        causes=(BAD_LINE,),
    ),
    Sign(
        r"^(?!(kex|ssh)_exchange).*broken pipe|^connection to .* closed",
        "its connection broke",
        retryable=True,
    ),
)
ECHOES = (  # ssh says so after most other reasons, too: it counts if there is none
    Sign(
        r"^(kex|ssh)_exchange_identification|(^|: )connection (closed|reset) by"
        r"|not allowed at this time|exceeded maxstartups",
        "its sshd refuses logins under load (MaxStartups); corral tries again",
        retryable=True,
        soon=True,
    ),
)


def ssh_failed(spec: HostSpec, *, ssh: str, code: int | None, stderr: str) -> LaunchError:
    """Explain a login that ssh could not make or keep.

    A banner and what start-up files print stand in stderr, too, but before the reason.
    """
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    found = _find(SIGNS, lines[::-1]) or _find(ECHOES, lines)
    if found is None:
        said = brief(lines[-1]) if lines else f"ssh ended with {code} and says nothing"
        return LaunchError(
            f"{spec.name}: {said}", hint=look_there(spec, ssh=ssh), retryable=not lines
        )
    sign, match = _find(found[0].causes, lines[::-1]) or found
    known = {"ssh": ssh, "login": _login(spec), "key": _known_as(spec)}
    on_the_way = match.string != lines[-1] and bool(ON_THE_WAY.match(lines[-1]))
    if on_the_way:
        known |= {name: text for name, text in match.groupdict().items() if text}
    text = sign.says or brief(_plain(match.string, on_the_way=on_the_way))
    return LaunchError(
        f"{spec.name}: on the way: {text}" if on_the_way else f"{spec.name}: {text}",
        hint=sign.hint.format_map(known),
        retryable=sign.retryable,
        soon=sign.soon,
    )


def look_there(spec: HostSpec, *, ssh: str) -> str:
    """Tell the user how to see for himself what a login says."""
    return f"look for yourself: {ssh} {_login(spec)} true"


def not_started(host: str, *, ssh: str, error: OSError) -> LaunchError:
    """Explain that ssh itself could not be started on this machine."""
    return LaunchError(
        f"{host}: cannot start {ssh}: {error.strerror}",
        hint=SHORT.get(error.errno or 0, "install OpenSSH's client, or set --ssh"),
        retryable=error.errno in SHORT,
    )


def other_command(host: str, *, noise: str, code: int | None) -> LaunchError:
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
        what = f"its Python is older than 3.6 or has no zlib: {brief(too_old)}"
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
    said = brief(lines[-1]) if lines else f"it ended with {code}"
    return LaunchError(f"{host}: the agent did not start: {said}", hint="see its disk and memory")


def _find(signs: Iterable[Sign], lines: Sequence[str]) -> tuple[Sign, re.Match[str]] | None:
    """Find the first line that has a sign, and its first sign."""
    for line in lines:
        for sign in signs:
            if match := re.search(sign.pattern, line, re.IGNORECASE):
                return sign, match
    return None


def _login(spec: HostSpec) -> str:
    """Write a host as words of ssh, and of ssh-copy-id."""
    port = [] if spec.port is None else ["-p", str(spec.port)]
    host = spec.host or spec.name
    return shlex.join([*port, host if spec.user is None else f"{spec.user}@{host}"])


def _known_as(spec: HostSpec) -> str:
    """Write a host as known_hosts names it."""
    host = spec.host or spec.name
    return host if spec.port is None else shlex.quote(f"[{host}]:{spec.port}")


def _plain(line: str, *, on_the_way: bool) -> str:
    """Take out of a sentence of ssh what the reader knows already."""
    line = re.sub(r"^ssh: ", "", line)
    line = re.sub(
        r"^channel \d+: open failed: (connect failed: )?", "the jump host cannot reach it: ", line
    )
    if not on_the_way:
        line = re.sub(r"^connect to host \S+ port (\d+): ", r"port \1: ", line)
        line = re.sub(r"^\S+@\S+: ", "", line)
    return line.strip("@ ").rstrip(".!")
