"""Which tasks are meant: ``7``, ``1,3,5-8``, ``failed``, ``T=0.5``, ``all``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from corral.cli.output import NUMBER_DIGITS, is_number
from corral.engine import queries
from corral.errors import NotFoundError, UsageError
from corral.model.run import TASK_STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from corral.model.run import Run
    from corral.model.task import Task
    from corral.store.base import Reader

    Test = Callable[[Task], bool]

_NUMBER = rf"\d{{1,{NUMBER_DIGITS}}}"
_NUMBERS = re.compile(rf"{_NUMBER}(-{_NUMBER})?(,{_NUMBER}(-{_NUMBER})?)*", re.ASCII)


def select(reader: Reader, run: Run, texts: Sequence[str]) -> list[Task]:
    """List the tasks that all of ``texts`` mean, by number; none at all means all tasks.

    Raises:
        UsageError: A text is no selection.
        NotFoundError: A number or parameter that the run does not have.
    """
    names = queries.generation(reader, run).names
    tests = [_test(text, run, names) for text in texts]
    single = [int(text) for text in texts if is_number(text)]
    if len(texts) == 1 and single:
        return [queries.task(reader, run, single[0])]
    return [task for task in queries.tasks(reader, run) if all(test(task) for test in tests)]


def _test(text: str, run: Run, names: Sequence[str]) -> Test:
    if text == "all":
        return lambda _: True
    if text in TASK_STATES:
        return lambda task: task.state == text
    if _NUMBERS.fullmatch(text):
        wanted = _ranges(text, run)
        return lambda task: any(low <= task.number <= high for low, high in wanted)
    name, equals, value = text.partition("=")
    if equals:
        return _parameter(name, value, run, names)
    raise UsageError(
        f"{text!r} selects no tasks",
        hint=f"write 7, 1,3,5-8, {', '.join(TASK_STATES[:4])}, or T=0.5",
    )


def _ranges(text: str, run: Run) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for part in text.split(","):
        low, _, high = part.partition("-")
        first, last = int(low), int(high or low)
        if first < 1:
            raise NotFoundError(
                f"{run.name} has no task {first}", hint=f"its tasks are 1 to {max(run.tasks, 1)}"
            )
        if first > last:
            raise UsageError(f"{part!r} is no range of tasks", hint=f"write {last}-{first}")
        if last > max(run.tasks, 1) and not high:
            raise NotFoundError(
                f"{run.name} has no task {last}", hint=f"its tasks are 1 to {max(run.tasks, 1)}"
            )
        found.append((first, last))
    return found


def _parameter(name: str, value: str, run: Run, names: Sequence[str]) -> Test:
    if name == "rep":
        return lambda task: str(task.rep) == value
    if name not in names:
        known = ", ".join((*names, "rep"))
        raise NotFoundError(f"{run.name} has no parameter {name!r}", hint=f"it has: {known}")
    index = list(names).index(name)
    return lambda task: task.values[index] == value
