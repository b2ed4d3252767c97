"""A run written down: the TOML file that says what ``corral run`` says with options.

All errors come at once, each with its line and column and the way out.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from corral import columns, toml
from corral.errors import UsageError
from corral.model.base import Frozen
from corral.model.command import Choice
from corral.model.needs import PLATFORM
from corral.model.run import EXIT_MEANINGS, ExitMeaning
from corral.units import seconds, size
from corral.work import axes, command, limits, needs, tables
from corral.work.command import Parsed
from corral.work.positions import Path, Positions
from corral.work.render import is_place
from corral.work.sources import Source, Ways

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from corral.work.axes import Folder

Push = tuple[str, ...] | dict[str, str]
"""Files, each at its own place; or by place in a task's folder the file that is to stand there."""

SHUFFLE = 1  # the key of an order that nobody chose: the same tasks come first every time
MOST_SYNTAX_ERRORS = 5  # after these, what follows is mostly their echo


class RunFile(Frozen, frozen=True, kw_only=True):
    """What a run file says; None = it does not say."""

    run: tuple[str, ...] = ()  # one word = a shell line, several = an argument vector
    commands: str | None = None  # a file of commands, in place of `run`
    counts: bool = False
    name: str | None = None
    reps: int = 1
    sweep: dict[str, str | tuple[str, ...]] = msgspec.field(
        default_factory=dict
    )  # text as after -p, or the values themselves
    params: tuple[str, ...] = ()
    source: tuple[Source, ...] = ()
    axes: bool = False
    plain: bool = False
    mark: str | None = None
    zip: bool = False
    where: str | None = None
    shuffle: int | None = None
    limit: int | None = None
    stdin: str | None = None  # what `@-` and `-` stand for
    push: tuple[str, ...] = ()
    platform: dict[str, Push] = msgspec.field(default_factory=dict)  # its files, in place of `push`
    outputs: tuple[str, ...] = ()
    timeout: str | None = None  # of a task: a time, or percent of the run's median
    run_timeout: str | None = None
    halt: str | None = None
    output_cap: str | None = None
    mem: tuple[str, ...] = ()  # of a task; the next one when it had too little
    disk_floor: str | None = None
    retries: int | None = None
    twins: bool = True  # False: a late task is never tried on a second host
    heartbeat: str | None = None  # how often hosts speak; "off": their silence is fine
    lost_after: str | None = None  # of silence, and a host's tasks go elsewhere
    on_master_loss: Literal["finish", "stop"] = "finish"
    needs: dict[str, needs.Given] = msgspec.field(default_factory=dict)  # of each task, of its host
    slots: int | None = None
    shell: str = "/bin/sh"
    here: bool = False
    out: str | None = None
    inputs: dict[str, str] = msgspec.field(default_factory=dict)  # a task's file, its template
    env: dict[str, str | bool] = msgspec.field(
        default_factory=dict
    )  # True: as set where it is read
    exit_codes: dict[int, ExitMeaning] = msgspec.field(default_factory=dict)
    check: tuple[str, ...] = ()
    collect: str | None = None

    @property
    def ways(self) -> Ways:
        """Give what the grammar must know beside the command and its sweep."""
        return Ways(
            sources=self.source,
            params=self.params,
            commands=self.commands,
            counts=self.counts,
            axes=self.axes,
            plain=self.plain,
            mark=self.mark,
            zip=self.zip,
            choice=Choice(where=self.where or "", shuffle=self.shuffle, limit=self.limit),
        )


class Problem(NamedTuple):
    """Something that a run file cannot mean."""

    path: Path  # of the key it is about; () = of the file
    what: str
    hint: str
    at: int | None = None  # the very character, if it is not the key


More = Callable[[RunFile, Parsed | None], Iterable[Problem]]
"""Lists what is wrong beside what the grammar knows; None: the command is not understood."""


def load(text: str, *, path: str) -> RunFile:
    """Read a run file.

    Raises:
        UsageError: It is no TOML, or a key or value cannot be meant; all such errors in one.
    """
    found = _toml_of(text, path)
    if problems := _all_problems(found):
        raise _all(text, path, problems)
    return _file(found)


def understand(file: RunFile, folder: Folder) -> Parsed:
    """Say what the command of a run file means.

    Raises:
        UsageError: With the column of what is wrong, and the way out.
    """
    parsed = command.parse(
        file.run,
        folder=folder,
        declared=file.sweep,
        reps=file.reps,
        shell=file.shell,
        here=file.here,
        outputs=file.outputs,
        ways=file.ways,
        inputs=file.inputs,
    )
    needed = msgspec.structs.replace(parsed.command, needs=needs.read(file.needs))
    return msgspec.structs.replace(parsed, command=needed)


def check(text: str, *, path: str, folder: Folder, more: More = lambda *_: ()) -> Parsed:
    """Read a run file and say what it means; gives what `understand` gives.

    What is wrong in one place does not hide what is wrong in another, unless that would be its
    echo. ``more`` lists what only its caller can know to be wrong.

    Raises:
        UsageError: All that is wrong, each with its place in the file.
    """
    found = _toml_of(text, path)
    problems = _all_problems(found)
    file = _file(_without(found, problems))
    problems += _value_problems(file, folder)
    if not any(map(_is_of_command, problems)):
        problems += _command_problems(file, folder, text)
    understood = None if any(map(_is_of_command, problems)) else understand(file, folder)
    problems += more(file, understood)
    if problems or understood is None:
        raise _all(text, path, problems)
    return understood


def dump(file: RunFile) -> str:
    """Write the run file that says the same; `load` of it gives ``file`` again."""
    plain = RunFile()
    lines: list[str] = []
    tables: list[str] = []
    for key in RunFile.__struct_fields__:
        value = getattr(file, key)
        if value == getattr(plain, key):
            continue
        if key == "source":
            tables += [line for source in value for line in _source_lines(source)]
        elif key == "platform":
            for name, push in value.items():
                tables += ["", f"[{key}.{_key(name)}]", f"push = {_toml(push)}"]
        elif isinstance(value, dict):
            tables += ["", f"[{key}]", *(f"{_key(name)} = {_toml(v)}" for name, v in value.items())]
        else:
            lines.append(
                f"{key} = {_toml(value[0] if key == 'run' and len(value) == 1 else value)}"
            )
    return "\n".join((*lines, *tables)) + "\n"


def _source_lines(source: Source) -> list[str]:
    said = f"file = {_toml(source.file)}" if source.file else f"values = {_toml(source.values)}"
    return ["", "[[source]]", said, *(["linked = true"] if source.linked else [])]


# -------------------------------------------------------------------- from TOML


def _file(found: Mapping[str, Any]) -> RunFile:
    """Make a run file of a table that was found to be right."""
    values: dict[str, Any] = {}
    for key, value in found.items():
        match key:
            case "run":
                values[key] = (value,) if isinstance(value, str) else tuple(value)
            case "sweep":
                values[key] = {name: _axis(axis) for name, axis in value.items()}
            case (
                "timeout" | "run_timeout" | "halt" | "output_cap" | "disk_floor"
                | "heartbeat" | "lost_after"
            ):  # fmt: skip
                values[key] = str(value)
            case "mem":
                values[key] = tuple(str(item) for item in _several(value))
            case "shuffle":
                values[key] = (SHUFFLE if value else None) if isinstance(value, bool) else value
            case "params" | "check":
                values[key] = (value,) if isinstance(value, str) else tuple(value)
            case "source":
                values[key] = tuple(_source(source) for source in value)
            case "needs":
                values[key] = {
                    name: tuple(item) if isinstance(item, list) else item
                    for name, item in value.items()
                }
            case "platform":
                values[key] = {name: _push(table["push"]) for name, table in value.items()}
            case "exit_codes":
                values[key] = {int(code): meaning for code, meaning in value.items()}
            case _:
                values[key] = tuple(value) if isinstance(value, list) else value
    return RunFile(**values)


def _push(value: Any) -> Push:
    return tuple(value) if isinstance(value, list) else dict(value)


def _axis(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, list):
        return tuple(str(item) for item in value)
    return str(value)


def _source(value: Mapping[str, Any]) -> Source:
    return Source(
        values=tuple(str(item) for item in value.get("values", ())),
        file=value.get("file", ""),
        linked=value.get("linked", False),
    )


# -------------------------------------------------------------------- what a value may be


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _texts(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(_text(item) for item in value)


def _command(value: object) -> bool:
    """A line, or the words of a vector, of which only the first must hold something."""
    if not isinstance(value, list):
        return _text(value)
    return bool(value) and _text(value[0]) and all(isinstance(word, str) for word in value)


def _positive(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _pushes(value: object) -> bool:
    """A list of files, or by place in a task's folder the file that is to stand there."""
    if not isinstance(value, dict):
        return _texts(value)
    places = [place.removeprefix("./") for place in value]
    return (
        bool(places)
        and all(map(_text, value.values()))
        and all(map(is_place, places))
        and not any(one.startswith(f"{folder}/") for folder in places for one in places)
    )


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _value(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _values(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(_value(item) for item in value)


def _reads(read: Callable[[str], object]) -> Callable[[object], bool]:
    """Make a test of a value that is a text, or a number, which ``read`` understands."""

    def fits(value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return False
        try:
            read(str(value))
        except UsageError:
            return False
        return True

    return fits


def _heartbeat(value: object) -> bool:
    return value == "off" or _reads(seconds)(value)


def _memory(value: object) -> bool:
    items = _several(value)
    if not items or not all(_reads(size)(item) for item in items):
        return False
    return _reads(lambda _: limits.memory([str(item) for item in items]))("")


def _several(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


_KEYS: dict[str, tuple[Callable[[object], bool], str]] = {
    "run": (_command, "a command, or a list of its words"),
    "commands": (_text, "a file of commands, one a line"),
    "counts": (_flag, "true or false"),
    "name": (_text, "a text"),
    "reps": (_positive, "a whole number from 1"),
    "sweep": (lambda value: isinstance(value, dict), "a table: [sweep]"),
    "params": (lambda value: _text(value) or _texts(value), "a file of settings, or a list"),
    "source": (lambda value: isinstance(value, list), "tables: [[source]]"),
    "axes": (_flag, "true or false"),
    "plain": (_flag, "true or false"),
    "mark": (_text, "a text that stands for the value"),
    "zip": (_flag, "true or false"),
    "where": (_text, 'an expression such as "T*L < 100"'),
    "shuffle": (lambda value: isinstance(value, int), "true, or a whole number"),
    "limit": (_positive, "a whole number from 1"),
    "stdin": (lambda value: isinstance(value, str), "a text"),
    "push": (_texts, "a list of file names"),
    "outputs": (_texts, "a list of file names"),
    "timeout": (_reads(limits.timeout), 'a time such as 90, "5m" or "200%"'),
    "run_timeout": (_reads(seconds), 'a time such as 90 or "2h"'),
    "halt": (_reads(limits.halt), 'such as "soon,fail=10" or "now,fail=5%"'),
    "output_cap": (_reads(limits.output_cap), 'a size such as "100M"'),
    "mem": (_memory, 'a size such as "2G", or some, each above the one before'),
    "disk_floor": (_reads(size), 'a size such as "256M"'),
    "retries": (_count, "a whole number from 0"),
    "twins": (_flag, "true or false"),
    "heartbeat": (_heartbeat, 'a time such as "2s", or "off"'),
    "lost_after": (_reads(seconds), 'a time such as 60 or "5m"'),
    "on_master_loss": (lambda value: value in ("finish", "stop"), '"finish" or "stop"'),
    "slots": (_positive, "a whole number from 1"),
    "platform": (lambda value: isinstance(value, dict), 'tables: [platform."linux-aarch64"]'),
    "needs": (lambda value: isinstance(value, dict), "a table: { cpus = 2 }"),
    "shell": (_text, "the path of a shell"),
    "here": (_flag, "true or false"),
    "out": (_text, "a folder"),
    "inputs": (lambda value: isinstance(value, dict), "a table: [inputs]"),
    "env": (lambda value: isinstance(value, dict), 'a table: { SEED = "7" }'),
    "exit_codes": (lambda value: isinstance(value, dict), 'a table: { 77 = "skip" }'),
    "check": (lambda value: _text(value) or _texts(value), "a check, or a list of checks"),
    "collect": (_text, "a collecting rule"),
}
KEYS = tuple(_KEYS)
_OF_COMMAND = (
    "run", "commands", "counts", "reps", "sweep", "params", "source", "axes", "plain", "mark",
    "zip", "where", "shuffle", "limit", "stdin", "outputs", "shell", "here", "inputs", "needs",
)  # fmt: skip
_PLATFORM_KEYS: dict[str, tuple[Callable[[object], bool], str]] = {
    "push": (_pushes, 'a list of files, or a table by relative path: { sim = "build/sim.arm" }'),
}
_SOURCE_KEYS: dict[str, tuple[Callable[[object], bool], str]] = {
    "values": (_values, "a list of values"),
    "file": (_text, "a file of values, one a line"),
    "linked": (_flag, "true or false"),
}


def _all_problems(found: Mapping[str, Any]) -> list[Problem]:
    """List what is wrong with the keys of a file and the kinds of their values."""
    problems = [problem for key, value in found.items() for problem in _problems(key, value)]
    if "run" not in found and "commands" not in found:
        problems.append(Problem((), "there is no `run = …`", "run = './sim -T {1..5}'"))
    return problems


def _without(found: Mapping[str, Any], problems: Sequence[Problem]) -> dict[str, Any]:
    """Leave out what cannot be meant: a key, or of a table one name in it."""
    rest = dict(found)
    for problem in problems:
        key, *inside = problem.path or ("",)
        if inside and isinstance(rest.get(str(key)), dict):
            rest[str(key)] = {
                name: item for name, item in rest[str(key)].items() if name != inside[0]
            }
        else:
            rest.pop(str(key), None)
    return rest


def _is_of_command(problem: Problem) -> bool:
    """Say whether a problem keeps the command from being understood, or may be why it is not."""
    if not problem.path:
        return True
    key = str(problem.path[0])
    meant = [key] if key in _KEYS else difflib.get_close_matches(key, _KEYS, n=1)
    return any(name in _OF_COMMAND for name in meant)


def _problems(key: str, value: object) -> Iterator[Problem]:
    """List what is wrong with a key and what stands in it."""
    if problem := _misfit((key,), value, _KEYS):
        yield problem
    elif isinstance(value, dict):
        inside = {
            "sweep": _axis_problem,
            "inputs": _input_problem,
            "env": _env_problem,
            "exit_codes": _exit_problem,
            "needs": _need_problem,
            "platform": _platform_problem,
        }[key]
        for name, item in value.items():
            if problem := inside(name, item):
                yield problem
    elif key == "source" and isinstance(value, list):
        for number, item in enumerate(value):
            yield from _source_problems(number, item)


def _misfit(
    path: Path, value: object, keys: Mapping[str, tuple[Callable[[object], bool], str]]
) -> Problem | None:
    """Say what is wrong with a key or the kind of its value."""
    key = str(path[-1])
    if key not in keys:
        near = difflib.get_close_matches(key, keys, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"keys are: {', '.join(keys)}"
        return Problem(path, f"unknown key `{key}`", hint)
    fits, what = keys[key]
    if fits(value):
        return None
    return Problem(path, f"`{key}` must be {what}", f"it is {_json(value)}")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _axis_problem(name: str, value: object) -> Problem | None:
    path = ("sweep", name)
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        return Problem(path, f"{name!r} is no name for a parameter", "letters, digits and _")
    if (_value(value) and value != "") or _values(value):
        return None
    hint = f'{name} = "1..5:.5" or {name} = [1, 2]'
    return Problem(path, f"`{name}` in [sweep] must be values", hint)


def _input_problem(name: str, value: object) -> Problem | None:
    if _text(value):
        return None
    hint = f'"{name}" = "{name}.j2"'
    return Problem(("inputs", name), f"`{name}` in [inputs] must be a template's file", hint)


def _need_problem(name: str, value: object) -> Problem | None:
    wrong = needs.problem(name, value)
    return None if wrong is None else Problem(("needs", name), *wrong)


def _platform_problem(name: str, value: object) -> Problem | None:
    path: Path = ("platform", name)
    if PLATFORM.fullmatch(name) is None:
        return Problem(path, f"{name!r} is no platform", "as corral hosts check says: linux-x86_64")
    if not isinstance(value, dict):
        return Problem(path, "a platform must be a table", f'[platform."{name}"] with push = [...]')
    for key, item in value.items():
        if problem := _misfit((*path, key), item, _PLATFORM_KEYS):
            return problem
    if "push" not in value:
        return Problem(path, f"`{name}` has no `push`", 'push = ["sim"]')
    return None


def _env_problem(name: str, value: object) -> Problem | None:
    path = ("env", name)
    if not is_variable(name):
        return Problem(path, f"{name!r} is no variable's name", "letters, digits and _")
    if isinstance(value, str) and "\0" not in value:
        return None
    if value is True:
        return None
    return Problem(path, f"{name} must be a text, or true: as it is set here", f'{name} = "7"')


def is_variable(name: str) -> bool:
    """Say whether a variable of the environment may have this name."""
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None


def _exit_problem(code: str, meaning: object) -> Problem | None:
    path = ("exit_codes", code)
    if not re.fullmatch(r"0*[0-9]{1,3}", code) or not 1 <= int(code[-3:]) <= 255:
        return Problem(path, f"{code!r} is no exit code of a failure", "a whole number, 1 to 255")
    if meaning in EXIT_MEANINGS:
        return None
    known = ", ".join(f'"{word}"' for word in EXIT_MEANINGS)
    near = difflib.get_close_matches(str(meaning), EXIT_MEANINGS, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"it is {_json(meaning)}"
    return Problem(path, f"exit code {code} must mean one of {known}", hint)


def _source_problems(number: int, value: object) -> Iterator[Problem]:
    path: Path = ("source", number)
    if not isinstance(value, dict):
        yield Problem(path, "a source must be a table", '[[source]] with values = ["a", "b"]')
        return
    for key, item in value.items():
        if problem := _misfit((*path, key), item, _SOURCE_KEYS):
            yield problem
    if ("values" in value) == ("file" in value):
        yield Problem(path, "a source has either `values` or `file`", 'values = ["a", "b"]')
    if number == 0 and value.get("linked"):
        yield Problem((*path, "linked"), "the first source has none before it", "leave it out")


def _value_problems(file: RunFile, folder: Folder) -> Iterator[Problem]:
    """List what gives no values: a bad range, an empty pattern, a table that is none, …."""
    for name, value in file.sweep.items():
        try:
            if isinstance(value, str):
                axes.parse(name, value, folder, [])
            else:
                axes.listed(name, value)
        except UsageError as error:
            yield Problem(("sweep", name), error.message, error.hint or "")
    for path, pushed in _pushed(file):
        for name in pushed:
            if not folder.is_file(name) and not folder.glob(name):
                yield Problem(path, f"push {name}: there is no such file here", "check the name")
    for table in file.params:
        try:
            tables.read(table, folder, [])
        except UsageError as error:
            yield Problem(("params",), error.message, error.hint or "")


def _pushed(file: RunFile) -> Iterator[tuple[Path, Iterable[str]]]:
    """List what is pushed, with the key that says so."""
    yield ("push",), file.push
    for name, push in file.platform.items():
        yield ("platform", name, "push"), push if isinstance(push, tuple) else push.values()


def _command_problems(file: RunFile, folder: Folder, text: str) -> Iterator[Problem]:
    """List what the grammar finds wrong: one error of the command, else those of each template."""
    plain = msgspec.structs.replace(file, inputs={}, where=None)
    try:
        understand(plain, folder)
    except UsageError as error:
        yield _of_command(error, file, text)
        return
    try:
        understand(msgspec.structs.replace(plain, where=file.where), folder)
    except UsageError as error:
        yield _of_command(error, file, text)
    for name, template in file.inputs.items():
        try:
            understand(msgspec.structs.replace(plain, inputs={name: template}), folder)
        except UsageError as error:
            yield Problem(("inputs", name), error.message, error.hint or "")


def _of_command(error: UsageError, file: RunFile, text: str) -> Problem:
    """Find the place in the file of an error that the grammar found in the command."""
    hint = error.hint or ""
    values = Positions(text).values
    for path, said, column in _places(error, file):
        spot = values.get(path)
        begin = -1 if spot is None else text.find(said, spot.start, spot.end)
        if begin >= 0:
            return Problem(path, error.message, hint, begin + column - 1)
    at = f" (at {error.text[error.column - 1 :]})" if error.text and error.column else ""
    key = "run" if file.run else "commands"
    return Problem((key,), f"{error.message}{at}", hint)


def _places(error: UsageError, file: RunFile) -> Iterator[tuple[Path, str, int]]:
    """List where an error may stand: the value in the file, the text in it, the column in that."""
    text, column = error.text, error.column
    if not text or column is None:
        return
    if text == file.where:
        yield ("where",), text, column
    for number, output in enumerate(file.outputs):
        if text in output:
            yield ("outputs", number), text, column
    if len(file.run) == 1:
        yield ("run",), text, column
    start = 1
    for number, word in enumerate(file.run):
        if text == " ".join(file.run) and start <= column < start + len(word):
            yield ("run", number), word, column - start + 1
        start += len(word) + 1


# -------------------------------------------------------------------- how errors are shown


def _all(text: str, path: str, problems: Sequence[Problem]) -> UsageError:
    """Make one error of many, as a compiler shows them, in the order of the file."""
    positions = Positions(text)
    placed = [(_place(positions, problem), problem) for problem in problems]
    placed.sort(key=lambda item: item[0] or (0, 0))
    shown = [_shown(positions, path, place, problem) for place, problem in placed]
    count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
    return UsageError("\n".join(shown), hint=f"{count}; nothing was started")


def _place(positions: Positions, problem: Problem) -> tuple[int, int] | None:
    """Give where a problem begins, and how long it is."""
    if problem.at is not None:
        return problem.at, 1
    spot = positions.keys.get(problem.path) or positions.values.get(problem.path)
    if spot is None and len(problem.path) > 1:
        spot = positions.keys.get(problem.path[:-1]) or positions.keys.get(problem.path[:1])
    return None if spot is None else (spot.start, spot.end - spot.start)


def _shown(positions: Positions, path: str, place: tuple[int, int] | None, problem: Problem) -> str:
    if place is None:
        return f"{path}: {problem.what}\n      {problem.hint}"
    line, column = positions.line_and_column(place[0])
    return _at(positions.text, path, line, column, place[1], problem.what, problem.hint)


def _at(text: str, path: str, line: int, column: int, length: int, what: str, hint: str) -> str:
    """Show a line of the file with a caret under what is wrong with it."""
    lines = text.split("\n")
    source = lines[line - 1].rstrip("\r") if line <= len(lines) else ""
    blank = columns.blank(source[: column - 1].ljust(column - 1))
    carets = "^" * max(1, columns.width(source[column - 1 : column - 1 + length]))
    return f"{path}:{line}:{column}: {what}\n  {source}\n  {blank}{carets} {hint}"


def _toml_of(text: str, path: str) -> dict[str, Any]:
    """Read TOML.

    Raises:
        UsageError: It is none; the errors of lines that can be told apart in one.
    """
    shown: list[str] = []
    rest, last = text, 0
    while True:
        try:
            found = toml.loads(rest)
        except toml.TOMLDecodeError as error:
            line, column, what = _syntax(str(error), rest)
            if line > last and len(shown) < MOST_SYNTAX_ERRORS:
                shown.append(_at(text, path, line, column, 1, what, "here"))
                last = line
                lines = rest.split("\n")
                if re.match(r"\s*[\w.\"'-]+\s*=", lines[line - 1]):
                    lines[line - 1] = ""  # this one is told: what else is wrong?
                    rest = "\n".join(lines)
                    continue
            break
        if not shown:
            return found
        break
    raise UsageError("\n".join(shown), hint="TOML is described at toml.io")


def _syntax(said: str, text: str) -> tuple[int, int, str]:
    """Take line, column and sentence out of what `tomllib` says."""
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", said)
    if match is None:
        return 1, 1, said
    what = match[1][:1].lower() + match[1][1:]
    if match[2]:
        return int(match[2]), int(match[3]), what
    lines = text.rstrip("\n").split("\n")
    return len(lines), len(lines[-1]) + 1, f"{what}: the file ends here"


# -------------------------------------------------------------------- to TOML


def _key(name: object) -> str:
    text = str(name)
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _basic_string(text)


def _toml(value: object) -> str:
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{_key(key)} = {_toml(item)}" for key, item in value.items()) + " }"
        )
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return _basic_string(str(value))


def _basic_string(text: str) -> str:
    """Write a TOML string; JSON's escapes are TOML's, but for DEL, which JSON leaves bare."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
