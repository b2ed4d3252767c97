"""What all tests share: the real command line in a folder of its own, and nothing left behind."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests import parts
from tests.support.corral import Corral
from tests.support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


settings.register_profile("corral", deadline=None)  # a slow machine is no failure
settings.load_profile("corral")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for what a script runs with `&`:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # commands would ignore it, too


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs a missing part; under CI nothing is left out (`tests.parts` fails)."""
    absent = parts.missing()
    for item in items:
        for mark in item.iter_markers("system"):
            if mark.args[0] in absent and not os.environ.get("CI"):
                item.add_marker(pytest.mark.skip(reason=f"needs {mark.args[0]}"))


@pytest.fixture
def corral(tmp_path: Path) -> Iterator[Corral]:
    """The command line in an empty folder; afterwards no process and no agent's folder is left."""
    one = Corral(tmp_path)
    yield one
    one.end_started()
    try:
        wait_until(lambda: not one.processes(), seconds=15, what="our processes are gone")
        wait_until(
            lambda: not one.agent_folders(), seconds=15, what="no folder of an agent is left"
        )
    except AssertionError:
        one.clean()  # tasks of a test that failed may wait for it for ever
        raise
