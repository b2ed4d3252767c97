"""Hosts for tests: a bed of one's own to break, and a farm that is shared and stays clean."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.support.hosts import Bed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.corral import Corral

FARM = 8  # hosts; as many as the figures in `make bench` are for


class Beds(Protocol):
    """Makes beds that end with the test."""

    def __call__(self, hosts: int = 3, *, namespaces: bool | None = None) -> Bed: ...


@pytest.fixture
def beds() -> Iterator[Beds]:
    """Make as many beds as the test wants."""
    with ExitStack() as stack:

        def make(hosts: int = 3, *, namespaces: bool | None = None) -> Bed:
            return stack.enter_context(Bed(hosts, namespaces=namespaces))

        yield make


@pytest.fixture
def bed(beds: Beds) -> Bed:
    """Three hosts that the test may break."""
    return beds()


@pytest.fixture(scope="session")
def standing_farm() -> Iterator[Bed]:
    """Eight hosts for the whole session; tests take `farm`."""
    with Bed(FARM) as farm:
        yield farm


@pytest.fixture
def farm(standing_farm: Bed) -> Iterator[Bed]:
    """Eight hosts that the test leaves as they were: nothing of ours may be left on them."""
    yield standing_farm
    standing_farm.see_clean()


@pytest.fixture
def on_farm(corral: Corral, farm: Bed) -> Corral:
    """The command line with eight hosts, h1 to h8."""
    corral.environment["CORRAL_SSH"] = farm.ssh
    return corral
