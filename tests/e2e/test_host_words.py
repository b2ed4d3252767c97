"""What does a person read when a host does not do as it should, or talks too much?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.puppet import puppets

if TYPE_CHECKING:
    from tests.support.corral import Corral

REFUSED = "me@h1: Permission denied (publickey).\n"


def has(*agents: dict[str, Any]) -> dict[str, Any]:
    """What a host says to ``reap``."""
    return {"agents": list(agents)}


def agent(incarnation: str, **also: Any) -> dict[str, Any]:
    """An agent that is found, or was ended."""
    return {
        "owner": "somebody",
        "incarnation": incarnation,
        "folder": f"/var/tmp/corral-0/somebody/{incarnation}",
        "lives": True,
        "processes": 2,
        **also,
    }


# ---------------------------------------------------------------- a host that talks


STEERS = "\x1b]0;owned\x07\x1b[31mred\x9b0m"  # a terminal's title, and colours
VERBS = {
    "run": ("run", "-w", "h1", "echo {1..3}"),
    "check": ("hosts", "check", "-w", "h1"),
    "reap": ("reap", "-w", "h1"),
}
TOLD = {
    "steering": (STEERS, STEERS, "�]0;owned��[31mred�0m", "�]0;owned��[31mred�0m"),
    "much": ("x" * 400_000, "y" * 400_000, "x" * 299 + "…", "y" * 299 + "…"),
    "our own words": ("no room\n  try: rm -rf ~", "wait\nh2: is well", "no room", "wait"),
    "no text": ({"a": [1]}, 7, "{'a': [1]}", "7"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", TOLD)
def test_of_what_a_host_says_a_line_is_told(
    corral: Corral, tmp_path_factory: pytest.TempPathFactory, verb: str, case: str
) -> None:
    """Bug: in a run's last words a host could steer the terminal, fill it, and give hints of ours."""
    error, hint, *expected = TOLD[case]
    corral.environment["CORRAL_SSH"] = puppets(
        tmp_path_factory.mktemp("hosts"), h1=[{"error": error, "hint": hint}]
    )
    done = corral(*VERBS[verb], code=3)
    said = (done.stdout + done.stderr).replace("corral: h1", "h1")
    said = said.replace("; then: corral resume echo", "")
    assert f"h1: {expected[0]}\n  try: {expected[1]}\n" in said
    assert len(said) < 2000
    assert not {"\x1b", "\x07", "\x9b"} & set(said)


def test_a_workdir_with_our_name_in_it_is_shown_whole(corral: Corral) -> None:
    """Bug: of ``/data/corral-work`` only ``/data`` was shown."""
    base = corral.folder / "corral-work"
    base.mkdir()
    corral.write("hosts.toml", f'[hosts.localhost]\nworkdir = "{base}"\n')
    assert f"  {base}  " in corral("hosts", "check").stdout


# ---------------------------------------------------------------- corral reap


@pytest.fixture
def reap(corral: Corral, tmp_path_factory: pytest.TempPathFactory) -> Corral:
    """The command line; on h1 there is an agent, and the second login fails; h2 does as it is told."""
    corral.environment["CORRAL_SSH"] = puppets(
        tmp_path_factory.mktemp("hosts"),
        h1=[has(agent("first")), REFUSED],
        h2=[has(agent("second"))],
    )
    return corral


def test_a_host_that_cannot_be_reaped_is_named(reap: Corral) -> None:
    """Bug: "ended and removed: 0", exit code 0, and no word of why."""
    done = reap("reap", "-w", "h1", "--owner", "somebody", "--yes", code=1)
    assert "ended and removed: 0\n" in done.stderr
    assert "h1: Permission denied (publickey)\n  try: ssh-copy-id h1\n" in done.stderr


def test_one_that_cannot_be_reaped_keeps_no_other_from_it(reap: Corral) -> None:
    done = reap("reap", "-w", "h[1-2]", "--owner", "somebody", "--yes", code=1)
    assert "ended and removed: 1\n" in done.stderr
    assert "h1: Permission denied (publickey)" in done.stderr


def test_programs_are_told_who_could_not_be_reaped(reap: Corral) -> None:
    words = ("reap", "-w", "h[1-2]", "--owner", "somebody", "--yes", "--json")
    said = json.loads(reap(*words, code=1).stdout)
    assert [one["agent"]["incarnation"] for one in said["found"]] == ["second"]
    assert said["errors"] == [
        {"host": "h1", "error": "h1: Permission denied (publickey)", "hint": "ssh-copy-id h1"}
    ]


def test_an_agent_that_will_not_die_is_not_counted_as_ended(
    corral: Corral, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Bug: "ended and removed: 2", the next line says that one of them cannot be killed."""
    corral.environment["CORRAL_SSH"] = puppets(
        tmp_path_factory.mktemp("hosts"),
        h1=[has(agent("a"), agent("b")), has(agent("a"), agent("b", unclean=[7, 9]))],
    )
    done = corral("reap", "-w", "h1", "--owner", "somebody", "--yes", code=1)
    assert "ended and removed: 1\n" in done.stderr
    assert "h1: cannot be killed: 7 9\n" in done.stderr
