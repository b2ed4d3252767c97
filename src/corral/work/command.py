"""What does a typed command mean: which braces are axes, references, marks, and which are text?

The seven rules stand in docs/grammar.md. `parse` reads a command once; a `Renderer` then makes the
text of any task from its values.
"""

from __future__ import annotations

import difflib
import re
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from corral.errors import UsageError
from corral.model.base import Frozen
from corral.model.command import (
    Axis,
    Command,
    Line,
    Listed,
    Mark,
    Place,
    Ref,
    Segment,
    Shipped,
    Template,
    Text,
)
from corral.work import axes, commandlist, plain, programs, sources, tables, words
from corral.work.render import BUILT_INS, PARTS, Renderer, Setting, format_value, is_place
from corral.work.sources import Ways
from corral.work.sweep import Sweep
from corral.work.where import Where

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from corral.work.axes import Folder

__all__ = ["Parsed", "Renderer", "parse"]

_NAMED = re.compile(r"([A-Za-z_]\w*)=(?!=)(.+)", re.DOTALL)
_PLAIN = re.compile(r"[\w.+\-/:%@]+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_REFERENCE = re.compile(r"([A-Za-z_]\w*|\d+)((?:\.[A-Za-z_]\w*)*)(?::([^{}\s]*))?")
_HABIT = re.compile(r"(\d*)(|\.|/|//|/\.)|#|%")
_HABIT_PARTS = {"": "", ".": ".noext", "/": ".name", "//": ".dir", "/.": ".stem"}
_HABIT_BUILT_INS = {"#": "task", "%": "slot"}
_FLAG = re.compile(r"--?([A-Za-z_][\w-]*)")
_JOINED = (
    re.compile(r"-D(\w+)="),
    re.compile(r"--?([A-Za-z_][\w-]*)="),
    re.compile(r"(?:.*[:,/])?([A-Za-z_]\w*)="),
    re.compile(r"--?([A-Za-z_][\w-]*)"),
)
_FORMAT = re.compile(r"(?:.?[<>=^])?[+ -]?#?0?\d{0,3},?(?:\.\d{1,3})?[bcdoxXeEfFgG%s]?")
_COMPUTABLE = re.compile(r"[+-]?[\w.]+", re.ASCII)  # what the shell may meet inside $((…))
_CUT = re.compile(r"\{|-[\w-]*=?\{|\w+=\{")  # what is left where a shell cut at the > of {>…}
_TOO_MANY = 1000  # values that are not all looked up just to make a note
_TEXTS = ("ticket", "host")  # built-ins that are no numbers
OPTION = -1  # the word of a brace that stands in an option, not in the command
_SYSTEM = tuple("/bin/ /sbin/ /usr/ /lib /opt/ /nix/ /snap/ /etc/ /proc/ /dev/".split())  # noqa: SIM905  (a column of words reads worse)


class Parsed(Frozen, frozen=True, kw_only=True):
    """A command with what parsing it brought to light."""

    command: Command
    ship: tuple[str, ...]  # paths that every task gets, as typed
    notes: tuple[str, ...]  # what the preview tells: text that looks like more, files left here, …


def parse(
    typed: Sequence[str],
    *,
    folder: Folder,
    declared: Mapping[str, str | Sequence[str]] | None = None,
    reps: int = 1,
    shell: str = "/bin/sh",
    here: bool = False,
    outputs: Sequence[str] = (),
    ways: Ways | None = None,
    inputs: Mapping[str, str] | None = None,
) -> Parsed:
    """Read a command: one word is a shell line, several are an argument vector.

    Args:
        typed: The words after the options.
        folder: What may be asked of the file system.
        declared: Axes by name, as after ``-p`` or in ``[sweep]``. If there are any, braces of the
            command are read as references and marks only.
        reps: Replicates of every setting.
        shell: Runs the line.
        here: Tasks run in the folder of the command; nothing is shipped.
        outputs: Declared outputs beside the marks, as inside ``{>…}``.
        ways: Other places that values come from, and which combinations are wanted.
        inputs: Files to make for each task, each with the template it is made from.

    Raises:
        UsageError: With the column of what is wrong, and the way out.
    """
    ways = ways or Ways()
    if reps < 1:
        raise UsageError(
            f"-r {reps}: at least one replicate", hint="-r 10 runs each setting 10 times"
        )
    if ways.commands is not None:
        if typed or declared or ways.give_values:
            raise UsageError(
                f"-f {ways.commands}: takes its commands from the file, and no other values",
                hint="leave the command, -p, ::: and --params out; -r N repeats each line",
            )
    else:
        _check_words(typed, folder)
    parser = _Parser(
        typed, folder=folder, declared=declared or {}, here=here, shell=shell, ways=ways
    )
    return parser.parse(reps=reps, outputs=outputs, inputs=inputs or {})


def _check_words(typed: Sequence[str], folder: Folder) -> None:
    if not typed or not typed[0].strip():
        raise UsageError("nothing to run", hint="corral run 'echo {1..5}'")
    for word in typed:
        axes.check_text(word, "a command")
    first = typed[0]
    if first.startswith("-") and not folder.is_file(first):
        raise UsageError(
            f"no such option: {first.split()[0].partition('=')[0]}",
            hint="corral run --help lists the options",
        )
    if len(typed) > 1 and re.search(r"\s", first) and not folder.is_file(first):
        raise UsageError(
            f"{first!r} is no program, and {typed[1]!r} stands after it",
            hint="options go before the command: corral run [OPTIONS] 'COMMAND'",
        )
    for index, word in enumerate(typed if len(typed) > 1 else ()):
        if _CUT.fullmatch(word):
            text, column = _where(typed, index, len(word) - 1)
            raise UsageError(
                "a lone { among the words: the shell cut it at a blank, < or >",
                hint="quote the word: '{>{page.stem}.png}'",
                text=text,
                column=column,
            )


class _Brace(NamedTuple):
    """A ``{…}`` of a word, with how it stands there."""

    word: int
    start: int
    end: int  # after the closing brace
    content: str
    place: Place
    quoted: bool
    forbidden: str
    computed: bool  # inside $((…))
    doubled: bool  # {{…}}


class _Spoken(NamedTuple):
    """A word of a simple command, with where it stands."""

    word: int
    start: int
    end: int
    text: str
    target: str  # as of a `words.Word`


class _Parser:
    """Reads one command: first all axes, then what each brace means."""

    def __init__(
        self,
        typed: Sequence[str],
        *,
        folder: Folder,
        declared: Mapping[str, str | Sequence[str]],
        here: bool,
        shell: str,
        ways: Ways,
    ) -> None:
        self.typed = tuple(typed)
        self.folder = folder
        self.here = here
        self.shell = shell
        self.ways = ways
        self.line = words.read(typed[0], shell=shell) if len(typed) == 1 else None
        # may braces of the command be axes?
        self.inline = not ways.plain and (ways.axes or not (declared or ways.give_values))
        self.notes: list[str] = []
        self.axes: dict[str, Axis] = {}
        self.at: dict[tuple[int, int], str] = {}  # where a brace is an axis, and its name
        self.sources: list[str] = []  # names of the axes that {1}, {2}, … mean
        self.ship: list[str] = []
        self.rewritten: dict[tuple[int, int], tuple[int, str]] = {}
        self.together: list[tuple[str, ...]] = []  # axes that turn as one
        for name, value in declared.items():
            self._declare(name, value)
        for path in ways.params:
            self._take_table(path)
        for axis in sources.read(ways.sources, folder, self._is_ours, self.notes):
            self._add(axis)
            self.sources.append(axis.name)
        self.together += sources.linked(ways.sources)

    def parse(self, *, reps: int, outputs: Sequence[str], inputs: Mapping[str, str]) -> Parsed:
        self._refuse_unclosed_quote()
        if self.ways.commands is not None:
            segments = self._read_list(self.ways.commands)
        else:
            segments = self._read_command()
        marks = tuple(self._output(pattern) for pattern in outputs)
        line = self.line is not None or self.ways.commands is not None
        command = Command(
            form="line" if line else "vector",
            shell=self.shell,
            words=segments,
            simple=plain.split(segments[0], shell=self.shell) if line else None,
            axes=tuple(self.axes.values()),
            together=self._turning_together(),
            choice=self.ways.choice,
            outputs=marks,
            templates=tuple(self._template(*item) for item in inputs.items()),
            reps=reps,
            here=self.here,
        )
        if command.templates:
            _make_all(command)
        if self.ways.choice.where:
            Where(self.ways.choice.where, command.names)  # is it an expression over them?
        self._ship_folders()
        self._note_values()
        return Parsed(
            command=command, ship=tuple(dict.fromkeys(self.ship)), notes=tuple(self.notes)
        )

    def _read_command(self) -> tuple[tuple[Segment, ...], ...]:
        if self.inline:
            for brace in self._all_braces():
                self._read_axis(brace)
        self._find_shipped()
        segments = tuple(self._segments(index) for index in range(len(self.typed)))
        placed = any(isinstance(part, Ref | Mark) for word in segments for part in word)
        return segments if placed or not self.ways.sources else self._appended(segments)

    def _read_list(self, path: str) -> tuple[tuple[Segment, ...], ...]:
        """Read a file of commands: one axis, whose values are the lines."""
        axis = commandlist.read(path, self.folder, self.notes, counts=self.ways.counts)
        if self.ways.axes:
            axis = commandlist.expanded(path, axis, self._understand_line)
        self._add(axis)
        if not self.here:
            self.ship += commandlist.shipped(axis, self._is_ours, self.notes, shell=self.shell)
        return ((Line(name=axis.name, list=path),),)

    def _understand_line(self, line: str) -> Command:
        return parse([line], folder=self.folder, shell=self.shell, here=True).command

    # ---------------------------------------------------------------- other sources of values

    def _take_table(self, path: str) -> None:
        """Take the columns of a table as axes that turn together."""
        columns = tables.read(path, self.folder, self.notes)
        for axis in columns:
            if axis.name in self.axes:
                raise UsageError(
                    f"{path}: there is another parameter {axis.name}", hint="rename the column"
                )
            self._add(axis)
        self.together.append(tuple(axis.name for axis in columns))

    def _template(self, path: str, source: str) -> Template:
        """Read a template.

        Raises:
            UsageError: It cannot be read, or the file would not stand in the task's own folder.
        """
        if self.here:
            raise UsageError(
                f"{path}: with --here there is no folder of a task's own to put it in",
                hint="leave --here out, or the input",
            )
        axes.check_text(path, "the name of an input")
        if not is_place(path.removeprefix("./")):
            raise UsageError(
                f"{path}: an input stands in the task's own folder", hint="write a relative path"
            )
        text = axes.read_text(source, self.folder)
        return Template(
            path=path.removeprefix("./"),
            source=source,
            text=text,
            executable=text.startswith("#!"),
        )

    def _turning_together(self) -> tuple[tuple[str, ...], ...]:
        """Name the axes that turn as one.

        Raises:
            UsageError: They have different numbers of values.
        """
        groups = [tuple(self.axes)] if self.ways.zip else self.together
        for names in groups:
            lengths = {name: len(self.axes[name]) for name in names}
            if len(set(lengths.values())) > 1:
                shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
                raise UsageError(
                    f"values that go together must be equally many: {shown}",
                    hint="without --zip and :::+ all combinations run",
                )
        return tuple(group for group in groups if len(group) > 1)

    def _appended(
        self, segments: tuple[tuple[Segment, ...], ...]
    ) -> tuple[tuple[Segment, ...], ...]:
        """Append the values to a command that says nowhere where they go."""
        if self.line is None:
            return (*segments, *((Ref(name=name),) for name in self.sources))
        last = self.line.spots[-1]
        if last.forbidden or last.quoted:
            raise UsageError(
                f"the values would be appended to {last.forbidden or 'a quote'}",
                hint="write {} where they go",
                text=self.line.text,
                column=len(self.line.text),
            )
        parts = [*segments[0]]
        for name in self.sources:
            parts += [Text(text=" "), Ref(name=name, place="bare")]
        return (tuple(parts),)

    def _mark_at(self, index: int, at: int) -> Ref | None:
        """Give the value where ``-I MARK`` stands."""
        mark = self.ways.mark
        if mark is None or not self.typed[index].startswith(mark, at):
            return None
        spot = None if self.line is None else self.line.spots[at]
        if spot is not None and spot.shells:
            return None
        brace = _Brace(
            word=index,
            start=at,
            end=at + len(mark),
            content=mark,
            place="word" if spot is None else spot.place,
            quoted=spot is not None and spot.quoted,
            forbidden="" if spot is None else spot.forbidden,
            computed=spot is not None and spot.computed,
            doubled=False,
        )
        return self._known(brace, self._only_source(brace, mark), "", None)

    def _only_source(self, brace: _Brace, shown: str) -> str:
        """Name the axis that ``{}`` or MARK means: there must be one only."""
        names = self.sources[: len(self.ways.sources)] or list(self.axes)
        if len(names) != 1:
            numbered = " ".join(f"{{{number}}}" for number in range(1, len(names) + 1))
            hint = f"write {numbered}" if names else "give it values: ::: a b c, or --arg-file FILE"
            raise self._error(brace, f"{shown} means one source: there are {len(names)}", hint)
        return names[0]

    def _habit(self, content: str) -> re.Match[str] | None:
        """Read ``{}``, ``{.}``, ``{1/}``, ``{#}``, … of GNU parallel; None where they mean nothing."""
        return _HABIT.fullmatch(content) if self.ways.sources else None

    def _habitual(self, brace: _Brace, match: re.Match[str]) -> Ref | None:
        built_in = _HABIT_BUILT_INS.get(brace.content)
        if built_in is not None:
            return self._known(brace, built_in, "", None)
        dotted = _HABIT_PARTS[match[2]]
        if match[1]:
            return self._numbered(brace, int(match[1]), dotted, None)
        return self._known(brace, self._only_source(brace, f"{{{brace.content}}}"), dotted, None)

    # ---------------------------------------------------------------- braces

    def _all_braces(self) -> Iterator[_Brace]:
        for index in range(len(self.typed)):
            text = self.typed[index]
            at = 0
            while at < len(text):
                brace = self._brace(index, at)
                if brace is None:
                    at += 2 if self.line is None and text[at] == "\\" else 1
                    continue
                yield brace
                at = brace.end if self._takes_all(brace) else at + (2 if brace.doubled else 1)

    def _brace(self, index: int, at: int) -> _Brace | None:
        """Give the brace that begins at ``at``, None if none does or it is the shell's."""
        text = self.typed[index]
        if text[at] != "{" or self.ways.plain:
            return None
        spot = None if self.line is None else self.line.spots[at]
        if (spot is not None and spot.shells) or (
            spot is None and text[at - 1 : at] in ("$", "\\")
        ):
            return None
        inner = _closing(text, at + 1) if text.startswith("{{", at) else None
        doubled = inner is not None and text.startswith("}}", inner)
        close = inner if doubled else _closing(text, at)
        if close is None:
            return None
        return _Brace(
            word=index,
            start=at,
            end=close + (2 if doubled else 1),
            content=text[at + (2 if doubled else 1) : close],
            place="word" if spot is None else spot.place,
            quoted=spot is not None and spot.quoted,
            forbidden="" if spot is None else spot.forbidden,
            computed=spot is not None and spot.computed,
            doubled=doubled,
        )

    def _takes_all(self, brace: _Brace) -> bool:
        """Say whether what is inside the brace belongs to it, rather than being read on its own."""
        content = brace.content
        return (
            _is_mark(content)
            or bool(_REFERENCE.fullmatch(content))
            or self._habit(content) is not None
            or (self.inline and (self._named(brace) is not None or _unnamed(brace)))
        )

    # ---------------------------------------------------------------- axes

    def _named(self, brace: _Brace) -> tuple[str, str] | None:
        """Read ``name=values``; None if the brace is no named axis.

        One value is none inside quotes, where awk's ``{n=0}`` stands. Blanks belong to values only
        where no quotes could have held them together: bare in a line.
        """
        match = _NAMED.fullmatch(brace.content)
        if match is None:
            return None
        text = match[2]
        if axes.looks_like_axis(text) or axes.looks_like_range(text):
            return match[1], text
        if not brace.quoted and _PLAIN.fullmatch(text):
            return match[1], text
        bare = self.line is not None and not brace.quoted and not re.search(r"[\n;&|()<>]", text)
        if bare and axes.looks_like_axis(re.sub(r"[ \t]", "_", text)):
            return match[1], text
        return None

    def _declare(self, name: str, value: str | Sequence[str]) -> None:
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise UsageError(f"{name!r} is no name for a parameter", hint="letters, digits and _")
        if name == "ticket":
            raise UsageError("a parameter cannot be called ticket", hint="take another name")
        self._add(
            axes.parse(name, value, self.folder, self.notes)
            if isinstance(value, str)
            else axes.listed(name, value)
        )

    def _read_axis(self, brace: _Brace) -> None:
        if brace.doubled or _is_mark(brace.content):
            return
        named = self._named(brace)
        if named is not None:
            name, text = named
        elif _unnamed(brace):
            name, text = self._name(brace), brace.content
        else:
            return
        self._refuse_forbidden(brace)
        try:
            axis = axes.parse(name, text, self.folder, self.notes)
        except UsageError as error:
            raise self._error(brace, error.message, error.hint or "") from error
        taken = name
        number = 2
        while taken in self.axes or taken == "ticket":
            taken = f"{name}{number}"
            number += 1
        if taken != name:
            why = "no axis can hide {ticket}: it" if name == "ticket" else f"a second axis {name}"
            self.notes.append(f"{why} is called {taken}")
            axis = _renamed(axis, taken)
        if named is None and re.fullmatch(r"arg\d+", name):
            self.sources.append(taken)
        before = self.typed[brace.word][brace.start - 1 : brace.start]
        if before == "]" and "," in text:
            self.notes.append(
                f"{{{text}}} is an axis; if it belongs to a regular expression, write {{{{{text}}}}}"
            )
        self._add(axis)
        self.at[brace.word, brace.start] = taken

    def _add(self, axis: Axis) -> None:
        if axis.name in BUILT_INS:
            self.notes.append(f"the axis {axis.name} hides the built-in {{{axis.name}}}")
        self.axes[axis.name] = axis

    def _name(self, brace: _Brace) -> str:
        """Name an axis after the flag before it or joined to it, else arg1, arg2, …."""
        joined, before = self._before(brace)
        if joined:
            for pattern in _JOINED:
                if match := pattern.fullmatch(joined):
                    return match[1].strip("-").replace("-", "_")
        elif match := _FLAG.fullmatch(before):
            return match[1].replace("-", "_")
        return f"arg{len(self.sources) + 1}"

    def _before(self, brace: _Brace) -> tuple[str, str]:
        """Give what is joined to the brace in its word, and the word before that."""
        if self.line is None:
            joined = self.typed[brace.word][: brace.start]
            return joined, self.typed[brace.word - 1] if brace.word else ""
        text = self.line.text[: brace.start]
        joined = re.split(r"[\s;&|()<>'\"]", text)[-1]
        rest = text[: len(text) - len(joined)]
        match = re.search(r"([^\s;&|()<>]+)[ \t]+$", rest)
        return joined, match[1] if match else ""

    # ---------------------------------------------------------------- meaning

    def _segments(self, index: int) -> tuple[Segment, ...]:
        """Cut a word into text and the places for values."""
        text = self.typed[index]
        parts: list[Segment] = []
        plain = ""
        at = 0
        while at < len(text):
            found, length = self._segment(index, at)
            if isinstance(found, str):
                plain += found
            else:
                if plain:
                    parts.append(Text(text=plain))
                plain = ""
                parts.append(found)
            at += length
        if plain or not parts:
            parts.append(Text(text=plain))
        return tuple(parts)

    def _segment(self, index: int, at: int) -> tuple[Segment | str, int]:
        """Read what stands at ``at``: a segment or text, and how many characters it takes."""
        text = self.typed[index]
        if (index, at) in self.rewritten:
            end, path = self.rewritten[index, at]
            return Shipped(path=path, place="word" if self.line is None else "bare"), end - at
        if marked := self._mark_at(index, at):
            return marked, len(self.ways.mark or "")
        if self.line is None and text[at] == "\\" and not self.ways.plain:
            return text[at : at + 2], len(text[at : at + 2])
        brace = self._brace(index, at)
        if brace is None:
            return text[at], 1
        if brace.doubled:
            if self._means_something(brace):
                return f"{{{brace.content}}}", brace.end - at
            return "{{", 2
        meaning = self._meaning(brace)
        if meaning is None:
            return "{", 1
        return meaning, brace.end - at

    def _means_something(self, brace: _Brace) -> bool:
        """Say whether the inside of a doubled brace would be replaced, swept or refused."""
        single = brace._replace(doubled=False)
        if self.inline and (self._named(single) is not None or _unnamed(single)):
            return True
        ship, notes = list(self.ship), list(self.notes)
        try:
            return self._meaning(single) is not None
        except UsageError:
            return True
        finally:  # it was only asked: nothing ships, nothing is told
            self.ship, self.notes = ship, notes

    def _meaning(self, brace: _Brace) -> Segment | None:
        """Say what a brace stands for; None = it is text."""
        if _is_mark(brace.content):
            self._refuse_forbidden(brace)
            return self._mark(brace)
        if (brace.word, brace.start) in self.at:
            ref = Ref(name=self.at[brace.word, brace.start], place=brace.place)
            self._check_sum(brace, ref)
            return ref
        if match := _REFERENCE.fullmatch(brace.content):
            return self._reference(brace, match)
        if habit := self._habit(brace.content):
            return self._habitual(brace, habit)
        if self.inline and not brace.quoted and axes.looks_like_range(brace.content):
            try:
                axes.parse("range", brace.content, self.folder, [])
            except UsageError as error:
                raise self._error(brace, error.message, error.hint or "") from error
        if not brace.quoted:
            self._note_text(brace.content)
        return None

    def _note_text(self, content: str) -> None:
        """Tell of a brace outside quotes that is text, if somebody might have meant an axis."""
        shown = f"{{{content}}}"
        if not self.inline and (axes.looks_like_axis(content) or _NAMED.fullmatch(content)):
            self.notes.append(
                f"{shown} is left as text: values stand elsewhere, so braces only refer "
                "(--axes reads them)"
            )
        elif _has_empty_item(content):
            self.notes.append(f"{shown} is left as it is: it has an empty item")
        elif self.inline and _NAMED.fullmatch(content) and not any(c in content for c in "$;("):
            name = content.partition("=")[0]
            self.notes.append(
                f"{shown} is left as text: it has blanks or quotes; -p {name}='…' takes them"
            )

    def _reference(self, brace: _Brace, match: re.Match[str]) -> Ref | None:
        name, dotted, form = match[1], match[2], match[3]
        if name.isdigit():
            return self._numbered(brace, int(name), dotted, form)
        if name not in self.axes and name not in BUILT_INS:
            self._unknown(brace, name)
            return None
        return self._known(brace, name, dotted, form)

    def _known(self, brace: _Brace, name: str, dotted: str, form: str | None) -> Ref | None:
        parts = tuple(part for part in dotted.split(".") if part)
        wrong = [part for part in parts if part not in PARTS]
        if wrong:
            if brace.quoted:
                return None
            raise self._error(
                brace, f"{{{name}}} has no part .{wrong[0]}", f"parts are: {' '.join(PARTS)}"
            )
        self._refuse_forbidden(brace)
        ref = Ref(
            name=name,
            parts=parts,
            format="" if form in (None, "raw") else form or "",
            raw=form == "raw",
            place=brace.place,
        )
        self._check_sum(brace, ref)
        self._check_format(brace, ref)
        return ref

    def _check_sum(self, brace: _Brace, ref: Ref) -> None:
        """Refuse text where the shell computes: it would run the ``$(…)`` in it, quoted or not."""
        axis = self.axes.get(ref.name)
        if not brace.computed or not isinstance(axis, Listed):
            return
        wrong = [value for value in axis.values if not _COMPUTABLE.fullmatch(value)]
        if wrong:
            raise self._error(
                brace,
                f"{{{brace.content}}} stands in $((…)), where {wrong[0]!r} is no number",
                "only numbers and names can be computed with",
            )

    def _check_format(self, brace: _Brace, ref: Ref) -> None:
        """Refuse a format that does not fit the values, before anything starts."""
        if not ref.format and not (ref.name == "slot" and ref.parts):
            return
        if ref.name == "slot" and ref.name not in self.axes:
            raise self._error(
                brace,
                "{slot} takes no format: only the host knows it",
                "CORRAL_SLOT is in the task's environment",
            )
        for value in self._samples(ref):
            try:
                if not _FORMAT.fullmatch(ref.format):
                    raise ValueError(ref.format)
                format_value(value, ref.format)
            except ValueError as error:
                raise self._error(
                    brace,
                    f"{{{brace.content}}} does not fit the value {value!r}",
                    "03d needs whole numbers, .2f numbers, >8 anything",
                ) from error

    def _samples(self, ref: Ref) -> Iterator[str]:
        """Give values that show whether a format fits: all of a list, of a range its ends."""
        axis = self.axes.get(ref.name)
        if axis is None:
            yield "host" if ref.name in _TEXTS else "1"
            return
        command = Command(
            form="vector", words=((Ref(name=ref.name, parts=ref.parts),),), axes=(axis,)
        )
        renderer = Renderer(command)
        last = len(axis) - 1
        for index in range(len(axis)) if isinstance(axis, Listed) else {0, min(1, last), last}:
            setting = Setting((axis.value(index),), 1, 0, 1, "", "", 1)
            yield (renderer.render(setting).argv or ("",))[0]

    def _numbered(self, brace: _Brace, number: int, dotted: str, form: str | None) -> Ref | None:
        if 1 <= number <= len(self.sources):
            return self._known(brace, self.sources[number - 1], dotted, form)
        if brace.quoted or not self.sources:
            return None
        how_many = f"there {'is' if len(self.sources) == 1 else 'are'} {len(self.sources)}"
        raise self._error(
            brace,
            f"{{{number}}} has no source: {how_many}",
            f"{{{{{brace.content}}}}} is the text {{{brace.content}}}",
        )

    def _unknown(self, brace: _Brace, name: str) -> None:
        known = [*self.axes, *BUILT_INS]
        near = [other for other in known if other.casefold() == name.casefold()]
        near += difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        if brace.quoted:
            if near and _one_letter_apart(name, near[0]):
                self.notes.append(
                    f"{{{brace.content}}} is left as text; did you mean {{{near[0]}}}?"
                )
            return
        joined, before = self._before(brace)
        flag = joined or before
        if near:
            hint = f"did you mean {{{near[0]}}}?"
        elif flag.startswith("-"):
            hint = f"did you mean an axis after {flag}? {flag} {{1..3}}"
        else:
            hint = f"known: {' '.join(known)}"
        text = f"{{{{{brace.content}}}}}"
        more = "" if self.line is not None else ", or quote the whole command as one word"
        raise self._error(
            brace, f"{{{brace.content}}} is not known", f"{hint}; {text} keeps it as text{more}"
        )

    # ---------------------------------------------------------------- marks

    def _mark(self, brace: _Brace) -> Mark:
        kind, inside = brace.content[0], brace.content[1:].strip()
        if not inside:
            raise self._error(brace, f"{{{kind}}} names no file", f"write {{{kind}name}}")
        pattern = self._pattern(brace, inside)
        if kind == "<":
            self._take_in(brace, pattern)
            return Mark(kind="in", pattern=pattern, place=brace.place)
        mark = Mark(kind="out", pattern=pattern, place=brace.place)
        self._refuse_built_ins(brace, pattern, ("slot",), "an output", "{task} is one a task")
        self._check_output(brace, mark)
        return mark

    def _refuse_built_ins(
        self,
        brace: _Brace,
        pattern: Sequence[Text | Ref],
        names: Sequence[str],
        what: str,
        hint: str,
    ) -> None:
        """Refuse references to what is not yet known when the name must be."""
        for part in pattern:
            if isinstance(part, Ref) and part.name in names and part.name not in self.axes:
                raise self._error(
                    brace, f"{{{part.name}}} cannot name {what}: known too late", hint
                )

    def _take_in(self, brace: _Brace, pattern: Sequence[Text | Ref]) -> None:
        """Ship an input that is the same for all tasks; one that belongs to values ships later."""
        late = [name for name in BUILT_INS if name != "rep"]
        hint = "an input is named by axes and {rep}"
        self._refuse_built_ins(brace, pattern, late, "an input", hint)
        fixed = _fixed(pattern)
        if fixed is None:
            return
        found = [fixed] if self.folder.is_file(fixed) else axes.files_inside(fixed, self.folder)
        if not found:
            hint = "check the name"
            if any(c in fixed for c in "*?["):
                hint = f"one task a file: {{f={fixed}}}; all for each task: --push '{fixed}'"
            raise self._error(brace, f"{fixed}: there is no such file here", hint)
        self.ship += [] if self.here else found

    def _pattern(self, brace: _Brace, inside: str) -> tuple[Text | Ref, ...]:
        """Read the text of a mark: only references count there."""
        parts: list[Text | Ref] = []
        end = 0
        for match in re.finditer(r"\{([^{}]*)\}", inside):
            inner = brace._replace(content=match[1], quoted=False, place="word")
            found = self._inner_reference(inner)
            if found is None:
                raise self._error(
                    brace,
                    f"{{{match[1]}}} inside a mark is no reference",
                    "give the axis a name where its values stand: {n=1..3}, then {>out-{n}.txt}",
                )
            if match.start() > end:
                parts.append(Text(text=inside[end : match.start()]))
            parts.append(found)
            end = match.end()
        if end < len(inside):
            parts.append(Text(text=inside[end:]))
        return tuple(parts)

    def _inner_reference(self, brace: _Brace) -> Ref | None:
        if match := _REFERENCE.fullmatch(brace.content):
            return self._reference(brace, match)
        if habit := self._habit(brace.content):
            return self._habitual(brace, habit)
        return None

    def _output(self, typed: str) -> Mark:
        axes.check_text(typed, "the name of an output")
        return self._mark(
            _Brace(
                word=OPTION,
                start=0,
                end=0,
                content=f">{typed}",
                place="word",
                quoted=False,
                forbidden="",
                computed=False,
                doubled=False,
            )
        )

    def _check_output(self, brace: _Brace, mark: Mark) -> None:
        """Refuse an output that lies outside the task's folder, for whatever value."""
        renderer = Renderer(
            Command(
                form="vector",
                words=((mark,),),
                axes=tuple(self.axes.values()),
                here=self.here,
            )
        )
        for values in self._one_at_a_time(mark):
            setting = Setting(values, 1, 0, 1, "ticket", "host", 1)
            name = renderer.outputs(setting)[0].name
            if name.startswith("/") or ".." in name.split("/") or name == ".":
                typed = (renderer.render(setting).argv or ("",))[0]
                raise self._error(
                    brace,
                    f"{{>{typed}}}: an output lies in the task's own folder",
                    "write a relative path; results come home under files/",
                )

    def _one_at_a_time(self, mark: Mark) -> Iterator[tuple[str, ...]]:
        """Give settings in which each value of each list that names the file stands once."""
        usual = {name: axis.value(0) for name, axis in self.axes.items()}
        yield tuple(usual.values())
        for name in (part.name for part in mark.pattern if isinstance(part, Ref)):
            axis = self.axes.get(name)
            for value in islice(axis.values, 1, None) if isinstance(axis, Listed) else ():
                yield tuple((usual | {name: value}).values())

    # ---------------------------------------------------------------- shipping

    def _find_shipped(self) -> None:
        """Find the program and scripts that travel by themselves; note other files that do not."""
        if self.here:
            return
        for command in self._simple_commands():
            spoken = [word for word in command if not word.target]
            texts = [word.text for word in spoken]
            ships = [spoken[index] for index in programs.travelling(texts, self._is_ours)]
            for word in ships:
                self._ship(word)
            program = programs.looked_for(texts)
            for word in command:
                if word not in ships and word.target != ">":
                    self._note_left_here(word.text, is_program=word.text == program)

    def _simple_commands(self) -> Iterator[list[_Spoken]]:
        """List the words of each simple command."""
        if self.line is None:
            yield [_Spoken(index, 0, len(text), text, "") for index, text in enumerate(self.typed)]
            return
        found: dict[int, list[_Spoken]] = {}
        for word in self.line.words:
            spoken = _Spoken(0, word.start, word.end, word.text, word.target)
            found.setdefault(word.command, []).append(spoken)
        yield from found.values()

    def _is_ours(self, path: str) -> bool:
        """Say whether a word names a file that a person would want on the host."""
        if not path or "{" in path or path.startswith(_SYSTEM):
            return False
        return self.folder.is_file(path)

    def _ship(self, word: _Spoken) -> None:
        self.ship.append(word.text)
        if word.text.startswith("/") or ".." in word.text.split("/"):
            self.rewritten[word.word, word.start] = (word.end, word.text)

    def _note_left_here(self, text: str, *, is_program: bool) -> None:
        path = text if self._is_ours(text) else text.partition("=")[2]
        if not self._is_ours(path) or path in self.ship:
            return
        if is_program:
            self.notes.append(f"{path} is looked for in PATH; the file here is ./{path}")
        else:
            self.notes.append(f"{path}{programs.LEFT}{{<{path}}} or --push {path}")

    def _ship_folders(self) -> None:
        """Ship what lies in the folders that a pattern matched: to every task, not to one."""
        for axis in self.axes.values():
            if isinstance(axis, Listed) and axis.kind == "glob" and not self.here:
                for value in axis.values:
                    if value.endswith("/"):
                        self.ship += axes.files_inside(value, self.folder)

    # ---------------------------------------------------------------- words for people

    def _note_values(self) -> None:
        for axis in self.axes.values():
            values = axis.values if isinstance(axis, Listed) else ()
            if self.ways.commands is None and any(
                value.startswith("-") and not _NUMBER.fullmatch(value) for value in values
            ):
                self.notes.append(f"values of {axis.name} begin with -: put -- before them?")
            if isinstance(axis, Listed) and axis.kind != "glob" and self.ways.commands is None:
                self._note_files(axis)
        self.notes = list(dict.fromkeys(self.notes))

    def _note_files(self, axis: Listed) -> None:
        """Tell of values that look like more than the texts they are."""
        for value in islice(axis.values, _TOO_MANY) if axis.kind == "list" else ():
            if axes.looks_like_range(value) and len(axis.values) > 1:
                self.notes.append(f"{value} in the list {axis.name} is text, no range")
        values = islice(axis.values, _TOO_MANY)
        if not self.here and all(self._is_ours(value) for value in values):
            self.notes.append(
                f"values of {axis.name} name files here, not shipped: --push them, or write "
                f"{{<{{{axis.name}}}}} where they stand and -p {axis.name}=…"
            )

    def _refuse_unclosed_quote(self) -> None:
        if self.line is None or self.line.unclosed is None or self.shell not in words.SHELLS:
            return
        mark, at = self.line.unclosed
        text, column = _where(self.typed, 0, at)
        raise UsageError(
            f"the quote {mark} is never closed",
            hint=f"write {chr(92)}{mark} for the character itself",
            text=text,
            column=column,
        )

    def _refuse_forbidden(self, brace: _Brace) -> None:
        if brace.forbidden:
            raise self._error(
                brace,
                f"{{{brace.content}}} stands in {brace.forbidden}, where no value can be put safely",
                "use $(…) in place of backquotes; pass the value as an argument or --env; "
                f"{{{{{brace.content}}}}} keeps it as text",
            )

    def _error(self, brace: _Brace, message: str, hint: str) -> UsageError:
        if brace.word == OPTION:
            shown = brace.content.removeprefix(">")
            return UsageError(message, hint=hint or None, text=shown, column=1)
        text, column = _where(self.typed, brace.word, brace.start)
        return UsageError(message, hint=hint or None, text=text, column=column)


def _make_all(command: Command) -> None:
    """Make the input files of every task once, and keep none: what would fail later fails now."""
    renderer = Renderer(command)
    for row in Sweep.of(command):
        renderer.texts(Setting(row.values, row.rep, row.k, 0, "", "", 1))


def _where(typed: Sequence[str], word: int, start: int) -> tuple[str, int]:
    """Give the line of the command in which a character stands, and its column from 1."""
    before = " ".join((*typed[:word], typed[word][:start]))
    begin = before.rfind("\n") + 1
    line = " ".join(typed)[begin:].partition("\n")[0]
    return line, len(before) - begin + 1


def _closing(text: str, at: int) -> int | None:
    """Find the brace that closes the one at ``at``."""
    depth = 0
    for index in range(at, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    return None


def _is_mark(content: str) -> bool:
    return content[:1] in ("<", ">") and content[1:2] not in ("<", ">", "=", "&")


def _unnamed(brace: _Brace) -> bool:
    return not brace.quoted and axes.looks_like_axis(brace.content)


def _has_empty_item(text: str) -> bool:
    if "," not in text or any(c in text for c in " \t'\""):
        return False
    return not all(text.split(","))


def _one_letter_apart(name: str, other: str) -> bool:
    """Say whether a slip of one key makes one of the other; names of one letter are too short."""
    if name.casefold() == other.casefold():
        return True
    short, long = sorted((name, other), key=len)
    if len(long) - len(short) > 1 or len(long) < 3:
        return False
    if len(short) == len(long) and sorted(short) == sorted(long):
        return sum(a != b for a, b in zip(short, long, strict=True)) == 2  # two changed places
    same = next(
        (i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short)
    )
    return short[same + (len(short) == len(long)) :] == long[same + 1 :]


def _renamed(axis: Axis, name: str) -> Axis:
    return msgspec.structs.replace(axis, name=name)


def _fixed(pattern: Sequence[Text | Ref]) -> str | None:
    """Give the path of a mark without references."""
    if any(isinstance(part, Ref) for part in pattern):
        return None
    return "".join(part.text for part in pattern if isinstance(part, Text))
