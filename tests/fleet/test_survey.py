"""Whatever is wrong with one host that is asked, do the others' answers count?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from corral.fleet import local
from corral.fleet.survey import survey
from corral.model.base import Frozen
from corral.model.host import LOCAL_SPEC, HostSpec
from tests.support.puppet import mute, puppets

if TYPE_CHECKING:
    from pathlib import Path


class Word(Frozen, frozen=True, kw_only=True):
    """What the host says."""

    word: str


@pytest.fixture
def sound(tmp_path: Path) -> HostSpec:
    """A host that answers."""
    return HostSpec(name="h1", host="h1", ssh=puppets(tmp_path, h1=[{"word": "aye"}]))


def said(first: HostSpec, second: HostSpec) -> tuple[str, str]:
    """Ask two hosts: give what is wrong with the first, and what the second says."""
    one, other = survey([first, second], "check", {"owner": "test"}, kind=Word)
    assert one.error is not None
    assert other.said is not None
    return one.error.message, other.said.word


def test_this_machine_may_be_silent(
    sound: HostSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug: a traceback in the place of all answers."""
    monkeypatch.setattr(sys, "executable", mute(tmp_path))
    monkeypatch.setattr(local, "ASK_S", 0.2)
    why = "localhost: the agent's program does not answer within 0.2 s"
    assert said(LOCAL_SPEC, sound) == (why, "aye")


def test_the_way_to_a_host_may_make_no_sense(sound: HostSpec) -> None:
    odd = HostSpec(name="h2", host="h2", ssh="ssh -o 'ProxyCommand")
    assert said(odd, sound) == ("h2: ValueError('No closing quotation')", "aye")
