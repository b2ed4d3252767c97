"""What is said of a login that failed, from what ssh itself said of it?"""

from __future__ import annotations

import errno
import os

import pytest

from corral.fleet import diagnosis
from corral.model.host import HostSpec

CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
The fingerprint for the ED25519 key sent by the remote host is
SHA256:AAAA.
Host key for gpu07 has changed and you have requested strict checking.
Host key verification failed.
"""
UNKNOWN = """\
No ED25519 host key is known for gpu07 and you have requested strict checking.
Host key verification failed.
"""
BANNER = "*** This system is for authorised users only. ***\n"
CROWDED = "kex_exchange_identification: Connection closed by remote host\nConnection closed by 10.0.0.7 port 22\n"
NO_KEY = "no such identity: /home/me/old: No such file or directory\n"
TOO_MANY = (
    "Received disconnect from UNKNOWN port 65535:2: Too many authentication failures\n"
    "Disconnected from UNKNOWN port 65535\n"
)
NOT_REACHED = (
    "kex_exchange_identification: Connection closed by remote host\n"
    "Connection closed by UNKNOWN port 65535\n"
)
NOT_CARRIED = "stdio forwarding failed\n" + NOT_REACHED

SAID = {
    "refused key": (
        "me@gpu07: Permission denied (publickey,password).\n",
        "gpu07: Permission denied (publickey,password)",
        "ssh-copy-id gpu07",
        "",
    ),
    "refused key after a banner": (
        BANNER + "root@10.0.0.7: Permission denied (publickey).\n",
        "gpu07: Permission denied (publickey)",
        "ssh-copy-id gpu07",
        "",
    ),
    "changed key": (CHANGED, "gpu07: its host key has changed", "ssh-keygen -R gpu07", ""),
    "unknown key": (
        UNKNOWN,
        "gpu07: its host key is not known here",
        "look at its key once: ssh -F lab gpu07",
        "",
    ),
    "unknown name": (
        "ssh: Could not resolve hostname gpu07: Name or service not known\n",
        "gpu07: Could not resolve hostname gpu07: Name or service not known",
        "check the spelling",
        "",
    ),
    "name server away": (
        "ssh: Could not resolve hostname gpu07: Temporary failure in name resolution\n",
        "gpu07: Could not resolve hostname gpu07: Temporary failure in name resolution",
        "corral tries again",
        "retryable",
    ),
    "refused connection": (
        "ssh: connect to host gpu07 port 2222: Connection refused\n",
        "gpu07: port 2222: Connection refused",
        "is its sshd running",
        "retryable",
    ),
    "timed out": (
        "ssh: connect to host 10.0.0.7 port 22: Connection timed out\n",
        "gpu07: port 22: Connection timed out",
        "is it switched on",
        "retryable",
    ),
    "no route": (
        "ssh: connect to host 10.0.0.7 port 22: No route to host\n",
        "gpu07: port 22: No route to host",
        "is it switched on",
        "retryable",
    ),
    "went away": (
        "Timeout, server gpu07 not responding.\n",
        "gpu07: Timeout, server gpu07 not responding",
        "is it switched on",
        "retryable",
    ),
    "under load": (
        CROWDED,
        "gpu07: kex_exchange_identification: Connection closed by remote host",
        "MaxStartups",
        "retryable soon",
    ),
    "under load, since 9.8": (
        "kex_exchange_identification: read: Connection reset by peer\n",
        "gpu07: kex_exchange_identification: read: Connection reset by peer",
        "MaxStartups",
        "retryable soon",
    ),
    "penalised": (
        "Not allowed at this time\n",
        "gpu07: Not allowed at this time",
        "refuses logins under load",
        "retryable soon",
    ),
    "too many keys": (
        "Received disconnect from 10.0.0.7 port 22:2: Too many authentication failures\n",
        "gpu07: Received disconnect from 10.0.0.7 port 22:2: Too many authentication failures",
        "IdentitiesOnly",
        "",
    ),
    "bad configuration": (
        "lab: line 1: Bad configuration option: hots\nlab: terminating, 1 bad configuration options\n",
        "gpu07: lab: line 1: Bad configuration option: hots",
        "mend ssh's configuration",
        "",
    ),
    "open key": (
        "@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @\nme@gpu07: Permission denied (publickey).\n",
        "gpu07: ssh ignores its key, whose file others may read",
        "chmod 600",
        "",
    ),
    "what nobody foresaw": (
        "debug: x\nssh: the sky is falling\n",
        "gpu07: ssh: the sky is falling",
        "look for yourself: ssh -F lab gpu07 true",
        "",
    ),
    "refused key after a banner that talks of it": (
        "Permission denied to all but members\nroot@10.0.0.7: Permission denied (publickey).\n",
        "gpu07: Permission denied (publickey)",
        "ssh-copy-id gpu07",
        "",
    ),
    "under load, after a banner that talks of keys": (
        "Access is by key, else: permission denied.\n" + CROWDED,
        "gpu07: kex_exchange_identification: Connection closed by remote host",
        "MaxStartups",
        "retryable soon",
    ),
    "broken after a start-up file was refused a file": (
        "bash: /etc/site: Permission denied\nclient_loop: send disconnect: Broken pipe\n",
        "gpu07: client_loop: send disconnect: Broken pipe",
        "its connection broke",
        "retryable",
    ),
    "broken, with another key than the first": (
        NO_KEY + "Connection to gpu07 closed by remote host.\n",
        "gpu07: Connection to gpu07 closed by remote host",
        "its connection broke",
        "retryable",
    ),
    "no key": (
        NO_KEY + "me@gpu07: Permission denied (publickey).\n",
        "gpu07: no such identity: /home/me/old: No such file or directory",
        "mend IdentityFile",
        "",
    ),
    "off, behind a jump host": (
        "channel 0: open failed: connect failed: No route to host\n" + NOT_CARRIED,
        "gpu07: on the way: the jump host cannot reach it: No route to host",
        "is it switched on",
        "retryable",
    ),
    "off, behind a jump host that does not say so": (
        "channel 0: open failed: connect failed: open failed\n" + NOT_CARRIED,
        "gpu07: on the way: the jump host cannot reach it: open failed",
        "is it switched on",
        "retryable",
    ),
    "no sshd, behind a jump host": (
        "channel 0: open failed: connect failed: Connection refused\n" + NOT_CARRIED,
        "gpu07: on the way: the jump host cannot reach it: Connection refused",
        "is its sshd running",
        "retryable",
    ),
    "unknown to the jump host": (
        "channel 0: open failed: connect failed: Name or service not known\n" + NOT_CARRIED,
        "gpu07: on the way: the jump host cannot reach it: Name or service not known",
        "HostName in ssh_config",
        "",
    ),
    "the jump host carries nothing": (
        "channel 0: open failed: administratively prohibited: open failed\n" + NOT_CARRIED,
        "gpu07: on the way: the jump host cannot reach it: administratively prohibited: open failed",
        "AllowTcpForwarding",
        "",
    ),
    "the jump host refuses the key": (
        BANNER + "me@bastion: Permission denied (publickey).\n" + NOT_REACHED,
        "gpu07: on the way: me@bastion: Permission denied (publickey)",
        "ssh-copy-id me@bastion",
        "",
    ),
    "the jump host has no sshd": (
        "ssh: connect to host bastion port 22: Connection refused\n" + NOT_REACHED,
        "gpu07: on the way: connect to host bastion port 22: Connection refused",
        "is its sshd running",
        "retryable",
    ),
    "the jump host is off": (
        "Connection timed out during banner exchange\nConnection to UNKNOWN port 65535 timed out\n",
        "gpu07: on the way: Connection timed out during banner exchange",
        "is it switched on",
        "retryable",
    ),
    "the jump host is unknown": (
        "ssh: Could not resolve hostname bastion: Name or service not known\n" + NOT_REACHED,
        "gpu07: on the way: Could not resolve hostname bastion: Name or service not known",
        "check the spelling",
        "",
    ),
    "the jump host's key has changed": (
        CHANGED.replace("gpu07", "bastion") + NOT_REACHED,
        "gpu07: on the way: its host key has changed",
        "ssh-keygen -R bastion",
        "",
    ),
    "too many keys, behind a jump host": (
        TOO_MANY,
        "gpu07: Received disconnect from UNKNOWN port 65535:2: Too many authentication failures",
        "IdentitiesOnly",
        "",
    ),
    "nothing": (
        "",
        "gpu07: ssh ended with 255 and says nothing",
        "look for yourself: ssh -F lab gpu07 true",
        "retryable",
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_a_failed_login_is_explained(case: str) -> None:
    stderr, message, hint, ways = SAID[case]
    spec = HostSpec(name="gpu07", host="gpu07")
    error = diagnosis.ssh_failed(spec, ssh="ssh -F lab", code=255, stderr=stderr)
    assert error.message == message
    assert hint in str(error.hint)
    assert error.retryable == ("retryable" in ways)
    assert error.soon == ("soon" in ways)
    assert not error.nothing_left


@pytest.mark.parametrize(
    ("stderr", "hint"),
    [
        ("me@10.0.0.7: Permission denied (publickey).\n", "ssh-copy-id -p 2222 me@10.0.0.7"),
        (UNKNOWN, "look at its key once: ssh -p 2222 me@10.0.0.7"),
        (CHANGED, "ssh-keygen -R '[10.0.0.7]:2222'"),
        ("", "look for yourself: ssh -p 2222 me@10.0.0.7 true"),
    ],
    ids=["refused key", "unknown key", "changed key", "nothing"],
)
def test_what_is_to_be_done_is_for_the_host_as_it_is_reached(stderr: str, hint: str) -> None:
    """Bug: user, port and address that hosts.toml gives were left out."""
    spec = HostSpec(name="gpu07", host="10.0.0.7", user="me", port=2222)
    error = diagnosis.ssh_failed(spec, ssh="ssh", code=255, stderr=stderr)
    assert str(error.hint).endswith(hint)


def test_what_a_forced_command_says_is_shown_briefly() -> None:
    error = diagnosis.other_command("gpu07", noise="Hi\n" + "x" * 500 + "\n", code=1)
    assert "it ended with 1" in error.message
    assert error.message.endswith("x" * 120 + "'")
    assert "ForceCommand" in str(error.hint)


@pytest.mark.parametrize(
    ("too_old", "chosen", "message"),
    [
        ("", None, "gpu07: it has no python3 that corral finds"),
        ("python3", None, "gpu07: its Python is older than 3.6 or has no zlib: python3"),
        ("", "/opt/py", "gpu07: /opt/py is no Python 3.6 or newer with zlib"),
    ],
    ids=["none", "old", "chosen"],
)
def test_without_python_nothing_can_be_left(too_old: str, chosen: str | None, message: str) -> None:
    error = diagnosis.no_python("gpu07", too_old=too_old, chosen=chosen)
    assert error.message == message
    assert error.nothing_left
    assert "python = " in str(error.hint)


def test_the_last_words_of_the_program_are_shown() -> None:
    stderr = "Traceback (most recent call last):\nMemoryError: no room\n\n"
    error = diagnosis.program_failed("gpu07", stderr=stderr, code=1)
    assert error.message == "gpu07: the agent did not start: MemoryError: no room"


def test_of_a_long_line_the_beginning_is_shown() -> None:
    long = "x" * 16_000
    spec = HostSpec(name="gpu07", host="gpu07")
    for error in (
        diagnosis.ssh_failed(spec, ssh="ssh", code=255, stderr=long),
        diagnosis.ssh_failed(spec, ssh="ssh", code=255, stderr=f"{long}: Connection refused"),
        diagnosis.program_failed("gpu07", stderr=long, code=1),
        diagnosis.no_python("gpu07", too_old=long, chosen=None),
    ):
        assert error.message.endswith("x" * 299 + "…")
        assert len(error.message) < 400


@pytest.mark.parametrize(
    ("number", "way_out"),
    [
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "end other processes"),
        (errno.EAGAIN, "ulimit -u"),
        (errno.ENOMEM, "end other processes"),
        (errno.ENOENT, "install OpenSSH"),
        (errno.EACCES, "install OpenSSH"),
    ],
)
def test_what_is_short_on_this_machine_is_no_missing_program(number: int, way_out: str) -> None:
    error = diagnosis.not_started("h1", ssh="ssh", error=OSError(number, os.strerror(number)))
    assert str(error) == f"h1: cannot start ssh: {os.strerror(number)}"
    assert way_out in str(error.hint)
    assert error.retryable is ("install" not in way_out)
