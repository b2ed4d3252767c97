"""A run to fill, and the folder that its results go to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.results.world import World

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "blobs")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "results" / "sim"
