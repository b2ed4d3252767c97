"""What does a command say for one set of values? Made when a task is handed out, never stored.

A value is quoted for the place it stands in, so that it arrives byte for byte whatever it holds.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from corral.model.base import Frozen
from corral.model.command import (
    Choice,
    Command,
    Line,
    Listed,
    Mark,
    Place,
    Ref,
    Segment,
    Shipped,
    Text,
)
from corral.work import identity, plain
from corral.work.sweep import Sweep
from corral.work.templates import RenderedText, Templates
from corral.work.words import KEYWORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BUILT_INS = ("rep", "seed", "ticket", "task", "host", "slot", "cpus")
LINE_BUILT_INS = ("task", "ticket", "rep")  # known in the lines of a list of commands
PARTS = ("stem", "name", "dir", "ext", "noext", "path")
SLOT_MARK = "\0slot\0"  # the agent puts the number of the slot in its place, which only it knows
INSIDE = "in"  # the folder for what is shipped from outside the command's folder

_UNSAFE = re.compile(r"[^\w@%+:,./-]", re.ASCII)
_OPTION = re.compile(r"-[\w@%+=:,./-]*", re.ASCII)  # what begins with - is no assignment
_DOUBLE = re.compile(r'([\\"$`])')
_PATTERN = "*?["
_ENDS_IN_VARIABLE = re.compile(r"\$\w+$")
_IN_LINE = re.compile(r"\{(task|ticket|rep)\}")
_BEGINS_A_REDIRECTION = re.compile(r"\d*[<>]")


class Setting(NamedTuple):
    """What a task's command is made from."""

    values: tuple[str, ...]
    rep: int
    k: int
    task: int
    ticket: str
    host: str
    cpus: int


class RenderedOutput(Frozen, frozen=True, kw_only=True):
    """A file that the task declares it will write."""

    name: str
    kind: Literal["file", "glob", "dir"]


class RenderedInput(Frozen, frozen=True, kw_only=True):
    """A file that only this task gets."""

    source: str  # as typed, relative to the command's folder
    place: str  # where it stands in the task's folder


class Rendered(Frozen, frozen=True, kw_only=True):
    """A task's command: ``argv`` without a shell, or a ``line`` for one."""

    argv: tuple[str, ...] | None
    line: str | None
    outputs: tuple[RenderedOutput, ...]
    inputs: tuple[RenderedInput, ...]
    texts: tuple[RenderedText, ...]


if TYPE_CHECKING:
    Piece = Callable[[Setting], str]
    Quoting = Callable[[str, Place], str]

Kind = Literal["file", "glob", "dir"]


class _ValueFile(NamedTuple):
    """A file that belongs to values: of a pattern, or of a mark with references."""

    source: Piece
    names: frozenset[str]  # of the axes, and perhaps ``rep``, that choose it


class Renderer:
    """A command made ready to render many tasks."""

    def __init__(self, command: Command) -> None:
        self._names = command.names
        self._here = command.here
        self._axes = {axis.name: index for index, axis in enumerate(command.axes)}
        self._globs = frozenset(
            axis.name for axis in command.axes if isinstance(axis, Listed) and axis.kind == "glob"
        )
        split = command.words if command.form == "vector" else command.simple
        self._argv = None if split is None else [self._word(word) for word in split]
        self._line = None if command.form == "vector" else self._shell_line(command.words[0])
        self._echo = command.form == "line" and split is not None and _is_echo(split[0])
        self._list_shell = command.shell if _is_list(command) else None
        self._outputs = [self._output(mark) for mark in command.marks if mark.kind == "out"]
        self.templates = Templates(command) if command.templates else None
        self.value_files = () if command.here else tuple(self._value_files(command))
        self.ships_values = bool(self.value_files) or self.templates is not None

    def render(self, setting: Setting) -> Rendered:
        """Make one task's command."""
        argv = self._words(setting)
        return Rendered(
            argv=argv,
            line=None if argv is not None or self._line is None else self._line(setting),
            outputs=self.outputs(setting),
            inputs=self.inputs(setting),
            texts=self.texts(setting),
        )

    def _words(self, setting: Setting) -> tuple[str, ...] | None:
        """Give the words that start the program without a shell; None where only a shell will do."""
        if self._list_shell is not None and self._line is not None:
            return _plain_words(self._line(setting), self._list_shell)
        if self._argv is None:
            return None
        argv = tuple(word(setting) for word in self._argv)
        return None if self._echo and _echo_differs(argv) else argv

    def outputs(self, setting: Setting) -> tuple[RenderedOutput, ...]:
        """Name the files that the task declares."""
        named: list[tuple[str, Kind]] = [(piece(setting), kind) for piece, kind in self._outputs]
        return tuple(_rendered_output(name, kind) for name, kind in dict.fromkeys(named))

    def inputs(self, setting: Setting) -> tuple[RenderedInput, ...]:
        """Name the files that only this task gets; what is in folders, every task gets."""
        sources = dict.fromkeys(file.source(setting) for file in self.value_files)
        return tuple(
            RenderedInput(source=source, place=place(source))
            for source in sources
            if not source.endswith("/")
        )

    def texts(self, setting: Setting) -> tuple[RenderedText, ...]:
        """Make the files that only this task gets, of templates."""
        if self.templates is None:
            return ()
        return self.templates.render(setting.values, rep=setting.rep, k=setting.k)

    def text(self, setting: Setting) -> str:
        """Write the command for a person: what to type to do by hand what the task does."""
        if self._line is not None:
            return self._line(setting).replace(SLOT_MARK, "0")
        assert self._argv is not None
        return " ".join(quote(word(setting), "bare") for word in self._argv).replace(SLOT_MARK, "0")

    def _value_files(self, command: Command) -> Iterator[_ValueFile]:
        for name in self._names:
            if name in self._globs:
                yield _ValueFile(self._value(name), frozenset([name]))
        for mark in command.marks:
            names = frozenset(part.name for part in mark.pattern if isinstance(part, Ref))
            if mark.kind == "in" and names:
                yield _ValueFile(self._join(mark.pattern, self._plain), names)

    def _output(self, mark: Mark) -> tuple[Piece, Kind]:
        """Prepare an output; what it is, a file or a pattern, its text says and never a value."""
        typed = "".join(part.text for part in mark.pattern if isinstance(part, Text))
        if any(c in typed for c in _PATTERN):
            return self._join(mark.pattern, lambda ref: _escaped(self._shown(ref))), "glob"
        return self._join(mark.pattern, self._shown), "file"

    def _join(self, parts: Sequence[Text | Ref], show: Callable[[Ref], Piece]) -> Piece:
        """Render the text of a mark, unquoted."""
        pieces = [_constant(part.text) if isinstance(part, Text) else show(part) for part in parts]
        return lambda setting: "".join([piece(setting) for piece in pieces])

    def _shell_line(self, parts: Sequence[Segment]) -> Piece:
        pieces = []
        for index, part in enumerate(parts):
            quoting = _quote if isinstance(part, Text) else _quoting(parts, index)
            pieces.append(self._piece(part, quoting))
        return lambda setting: "".join([piece(setting) for piece in pieces])

    def _word(self, word: Sequence[Segment]) -> Piece:
        pieces = [self._piece(part, _quote) for part in word]
        if len(pieces) == 1:
            return pieces[0]
        return lambda setting: "".join([piece(setting) for piece in pieces])

    def _piece(self, part: Segment, quoting: Quoting) -> Piece:
        match part:
            case Text(text=text):
                return _constant(text)
            case Shipped(path=path, place=where):
                return _constant(quoting(path if self._here else place(path), where))
            case Mark():
                marked, where = self._marked(part), part.place
                return lambda setting: quoting(marked(setting), where)
            case Line(name=name):
                line = self._value(name)
                return lambda setting: _line_with(line(setting), setting)
            case Ref(raw=True):
                return self._shown(part)
            case Ref():
                shown, where = self._shown(part), part.place
                if where == "word":
                    return shown
                return lambda setting: quoting(shown(setting), where)

    def _marked(self, mark: Mark) -> Piece:
        if mark.kind == "out":
            return self._join(mark.pattern, self._shown)
        text = self._join(mark.pattern, self._plain)
        return text if self._here else lambda setting: place(text(setting))

    def _shown(self, ref: Ref) -> Piece:
        """Render a reference in the command: a shipped path is where it stands on the host."""
        if ref.name in self._globs and not self._here:
            raw = self._value(ref.name)
            return _formatted(lambda setting: place(raw(setting)), ref)
        return self._plain(ref)

    def _plain(self, ref: Ref) -> Piece:
        return _formatted(self._value(ref.name), ref)

    def _value(self, name: str) -> Piece:
        index = self._axes.get(name)
        if index is not None:
            return lambda setting: setting.values[index]
        names = self._names
        match name:
            case "rep":
                return lambda setting: str(setting.rep)
            case "task":
                return lambda setting: str(setting.task)
            case "ticket":
                return lambda setting: setting.ticket
            case "host":
                return lambda setting: setting.host
            case "cpus":
                return lambda setting: str(setting.cpus)
            case "slot":
                return _constant(SLOT_MARK)
            case _:
                return lambda setting: str(
                    identity.seed(identity.settings(names, setting.values), setting.rep, setting.k)
                )


def value_inputs(command: Command) -> Iterator[RenderedInput]:
    """List every file that belongs to one value or combination of values, each once."""
    seen: set[str] = set()
    for source in _value_sources(command):
        if source not in seen and not source.endswith("/"):
            seen.add(source)
            yield RenderedInput(source=source, place=place(source))


def _value_sources(command: Command) -> Iterator[str]:
    """Name the files of values; of a choice only those that a row of it needs."""
    files = Renderer(command).value_files
    if files and command.choice != Choice():
        for row in Sweep.of(command):
            setting = Setting(row.values, row.rep, row.k, 0, "", "", 1)
            yield from (file.source(setting) for file in files)
        return
    blank = dict.fromkeys(command.names, "")
    for file in files:
        own = [axis for axis in command.axes if axis.name in file.names]
        reps = command.reps if "rep" in file.names else 1
        for row in Sweep(own, reps, together=_turning_together(command, file.names)):
            values = blank | dict(zip((axis.name for axis in own), row.values, strict=True))
            yield file.source(Setting(tuple(values.values()), row.rep, row.k, 0, "", "", 1))


def _turning_together(command: Command, names: frozenset[str]) -> list[tuple[str, ...]]:
    """Name the axes that turn as one, of those in ``names``."""
    groups = [tuple(name for name in group if name in names) for group in command.together]
    return [group for group in groups if group]


def place(path: str) -> str:
    """Say where a shipped path stands in the task's folder.

    Its own relative path; one from outside the command's folder stands under ``in/``.
    """
    plain = posixpath.normpath(path)
    if plain.startswith("/"):
        return f"{INSIDE}{plain if not plain.startswith('//') else plain[1:]}"
    steps = plain.split("/")
    if ".." not in steps:
        return path if path.startswith("./") else plain
    return posixpath.join(INSIDE, *(step for step in steps if step != ".."))


def is_place(path: str) -> bool:
    """Say whether a file can stand there in a task's folder; each place is written in one way."""
    return path.isprintable() and not {"", ".", ".."} & set(path.split("/"))


def quote(value: str, where: Place) -> str:
    """Quote a value for its place, so that the shell hands it on byte for byte."""
    if value == SLOT_MARK:
        return value
    match where:
        case "word":
            return value
        case "single":
            return value.replace("'", "'\\''")
        case "double":
            return _DOUBLE.sub(r"\\\1", value)
        case "bare":
            plain = _OPTION.fullmatch(value) or not _UNSAFE.search(value)
            if value and plain and value not in KEYWORDS:
                return value
            return _in_quotes(value)


def _in_quotes(value: str) -> str:
    return "'" + value.replace("'", "'\"'\"'") + "'"


def _quote(value: str, where: Place) -> str:
    return quote(value, where)


def _quote_always(value: str, where: Place) -> str:
    """Quote what would else become one with the variable or redirection beside it."""
    return _in_quotes(value) if where == "bare" else quote(value, where)


def _quote_apart(value: str, where: Place) -> str:
    """Keep a value apart from the variable before it: ``$x'v'``, ``"$x""v"``."""
    return f'""{quote(value, where)}' if where == "double" else _quote_always(value, where)


def _quoting(parts: Sequence[Segment], index: int) -> Quoting:
    """Choose how a value is quoted by what stands beside it in the line."""
    before = parts[index - 1] if index else None
    if isinstance(before, Text) and _ENDS_IN_VARIABLE.search(before.text):
        return _quote_apart
    after = next((part for part in parts[index + 1 :] if isinstance(part, Text)), None)
    if after is not None and _BEGINS_A_REDIRECTION.match(after.text):
        return _quote_always
    return _quote


def format_value(value: str, form: str) -> str:
    """Format a value as ``{name:03d}`` asks.

    Raises:
        ValueError: The format does not fit the value.
    """
    if form[-1:] in "bcdoxX":
        return format(int(value), form)
    if form[-1:] in "eEfFgG%":
        return format(float(value), form)
    return format(value, form)


def _formatted(value: Piece, ref: Ref) -> Piece:
    if not ref.parts and not ref.format:
        return value
    parts, form = ref.parts, ref.format

    def shown(setting: Setting) -> str:
        text = value(setting)
        for part in parts:
            text = _part(text, part)
        return format_value(text, form) if form else text

    return shown


def _part(path: str, part: str) -> str:
    folder, name = posixpath.split(path)
    stem, ext = posixpath.splitext(name)
    match part:
        case "stem":
            return stem
        case "name":
            return name
        case "dir":
            return folder or "."
        case "ext":
            return ext.removeprefix(".")
        case "noext":
            return posixpath.join(folder, stem)
        case _:
            return path


def _constant(text: str) -> Piece:
    return lambda _: text


def _rendered_output(name: str, kind: Kind) -> RenderedOutput:
    return RenderedOutput(name=posixpath.normpath(name), kind="dir" if name.endswith("/") else kind)


def _escaped(value: Piece) -> Piece:
    """Make a value stand for itself in a pattern."""
    return lambda setting: re.sub(r"([*?[])", r"[\1]", value(setting))


def _is_list(command: Command) -> bool:
    """Say whether the command is a line of a list, told only when a task is made."""
    return any(isinstance(part, Line) for word in command.words for part in word)


def _line_with(line: str, setting: Setting) -> str:
    """Put the built-ins into a line of a list."""
    if "{" not in line:
        return line
    known = {"task": str(setting.task), "ticket": setting.ticket, "rep": str(setting.rep)}
    return _IN_LINE.sub(lambda match: known[match[1]], line)


def _plain_words(line: str, shell: str) -> tuple[str, ...] | None:
    """Split a line of plain words; None if only a shell can read it."""
    split = plain.split((Text(text=line),), shell=shell)
    if split is None:
        return None
    argv = tuple("".join(part.text for part in word if isinstance(part, Text)) for word in split)
    return None if argv[0] == "echo" and _echo_differs(argv) else argv


def _is_echo(word: Sequence[Segment]) -> bool:
    return "".join(part.text for part in word if isinstance(part, Text)) == "echo"


def _echo_differs(argv: Sequence[str]) -> bool:
    """Say whether the shell's own echo would print something else than the program."""
    return any("\\" in word for word in argv) or any(word[:1] == "-" for word in argv[1:2])
