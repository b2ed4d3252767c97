"""What is said of a login that failed, from what ssh itself said of it?"""

from __future__ import annotations

import pytest

from corral.fleet import diagnosis

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
    error = diagnosis.ssh_failed("gpu07", ssh="ssh -F lab", code=255, stderr=stderr)
    assert error.message == message
    assert hint in str(error.hint)
    assert error.retryable == ("retryable" in ways)
    assert error.soon == ("soon" in ways)
    assert not error.nothing_left


def test_what_a_forced_command_says_is_shown_briefly() -> None:
    error = diagnosis.other_command("gpu07", ssh="ssh", noise="Hi\n" + "x" * 500 + "\n", code=1)
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
