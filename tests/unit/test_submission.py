"""When is a caller told the run that its command became?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from corral.cli.folder import RealFolder
from corral.engine.submit import BATCH
from corral.master.submission import carry_out
from corral.model.host import LOCAL_SPEC
from corral.model.run import Options, Submission
from corral.store.sqlite import SqliteStore
from corral.work import identity
from corral.work.command import parse

if TYPE_CHECKING:
    from pathlib import Path

    from corral.ids import RunId


@pytest.mark.parametrize("tasks", [1, BATCH, BATCH + 1, 2 * BATCH + 1])
def test_before_any_of_its_tasks_can_be_handed_out(tmp_path: Path, tasks: int) -> None:
    store = SqliteStore.in_memory()
    told: list[RunId] = []
    open_before: list[bool] = []

    def begun(run: RunId) -> None:
        told.append(run)

    def heard(topics: frozenset[str]) -> None:  # after a commit, before its caller is answered
        if "work" in topics:
            open_before.append(not told)

    store.listen(heard)
    words = (f"echo {{1..{tasks}}}",)
    command = parse(words, folder=RealFolder(tmp_path)).command
    submitted = carry_out(
        store,
        Submission(
            name="echo",
            named=False,
            folder=str(tmp_path),
            skeleton=identity.skeleton(command),
            words=words,
            command=command,
            options=Options(out=str(tmp_path / "results"), out_given=False),
            hosts=(LOCAL_SPEC,),
            detached=False,
        ),
        lambda: 0.0,
        begun=begun,
    )
    assert submitted.tasks == tasks
    assert told == [submitted.run]
    assert open_before == [False]
    store.close()
