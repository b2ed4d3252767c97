"""When does a master without a terminal end by itself?"""

from __future__ import annotations

import asyncio

import pytest

from corral.cli import master


class Taking:
    """As much of a master as is asked: it takes a command in for so many looks; no run is open."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def takes_in(self) -> bool:
        self.looks -= 1
        return self.looks >= 0

    def busy(self) -> list[tuple[int, bool]]:
        return []


def test_not_while_it_takes_a_command_in(monkeypatch: pytest.MonkeyPatch) -> None:
    # Finding out which of a million settings are equal took longer than an idle master waits. It
    # ended before the run was there, and the command broke off.
    monkeypatch.setattr(master, "IDLE_S", 0.01)
    monkeypatch.setattr(master, "LOOK_S", 0.02)
    taking = Taking(looks=3)
    asyncio.run(master._until_idle(taking))  # type: ignore[arg-type]  # see Taking
    assert taking.looks == -1
