"""What does a typed command mean: which braces are axes, references, marks, and which are text?

The seven rules stand in docs/grammar.md. `parse` reads a command once; a `Renderer` then makes the
text of any task from its values.
"""

from __future__ import annotations

import difflib
import posixpath
import re
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from corral.errors import UsageError
from corral.model.base import Frozen
from corral.model.command import Axis, Command, Listed, Mark, Place, Ref, Segment, Shipped, Text
from corral.work import axes, words
from corral.work.render import BUILT_INS, PARTS, Renderer, format_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from corral.work.axes import Folder

__all__ = ["Parsed", "Renderer", "parse"]

_NAMED = re.compile(r"([A-Za-z_]\w*)=(?!=)(.+)", re.DOTALL)
_PLAIN = re.compile(r"[\w.+\-/:%@]+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_REFERENCE = re.compile(r"([A-Za-z_]\w*|\d+)((?:\.[A-Za-z_]\w*)*)(?::([^{}\s]*))?")
_FLAG = re.compile(r"--?([A-Za-z_][\w-]*)")
_JOINED = (
    re.compile(r"-D(\w+)="),
    re.compile(r"--?([A-Za-z_][\w-]*)="),
    re.compile(r"(?:.*[:,/])?([A-Za-z_]\w*)="),
    re.compile(r"--?([A-Za-z_][\w-]*)"),
)
_INTERPRETER = re.compile(
    r"(python|pypy)[\d.]*|Rscript|ba?sh|dash|zsh|ksh|perl|ruby|node|julia|octave|lua[\d.]*"
)
_SYSTEM = (
    "/bin/",
    "/sbin/",
    "/usr/",
    "/lib",
    "/opt/",
    "/nix/",
    "/snap/",
    "/etc/",
    "/proc/",
    "/dev/",
)
_KEYWORDS = frozenset(
    [
        "if",
        "then",
        "else",
        "elif",
        "fi",
        "for",
        "while",
        "until",
        "do",
        "done",
        "case",
        "esac",
        "in",
        "function",
        "select",
        "time",
        "!",
        "{",
        "}",
        "[[",
    ]
)
_BUILT_IN_COMMANDS = _KEYWORDS | frozenset(
    [
        "cd",
        "export",
        "set",
        "unset",
        "source",
        ".",
        ":",
        "eval",
        "exec",
        "exit",
        "return",
        "shift",
        "trap",
        "type",
        "ulimit",
        "umask",
        "wait",
        "alias",
        "unalias",
        "bg",
        "fg",
        "jobs",
        "read",
        "readonly",
        "local",
        "declare",
        "typeset",
        "let",
        "printf",
        "pwd",
        "kill",
        "command",
        "getopts",
        "hash",
        "times",
        "break",
        "continue",
        "history",
        "builtin",
        "enable",
        "shopt",
        "disown",
        "logout",
        "mapfile",
        "pushd",
        "popd",
        "dirs",
        "caller",
        "compgen",
        "complete",
        "coproc",
        "suspend",
        "bind",
        "help",
        "fc",
    ]
)
_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:=,+@%^-")


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

    Raises:
        UsageError: With the column of what is wrong, and the way out.
    """
    _check_words(typed, folder)
    if reps < 1:
        raise UsageError(
            f"-r {reps}: at least one replicate", hint="-r 10 runs each setting 10 times"
        )
    parser = _Parser(typed, folder=folder, declared=declared or {}, here=here)
    return parser.parse(reps=reps, shell=shell, outputs=outputs)


def _check_words(typed: Sequence[str], folder: Folder) -> None:
    if not typed or not typed[0].strip():
        raise UsageError("nothing to run", hint="corral run 'echo {1..5}'")
    if any("\0" in word for word in typed):
        raise UsageError("a command cannot hold a NUL byte")
    first = typed[0]
    if first.startswith("-") and not folder.is_file(first):
        raise UsageError(
            f"no such option: {first.split('=')[0]}", hint="corral run --help lists the options"
        )
    if len(typed) > 1 and re.search(r"\s", first) and not folder.is_file(first):
        raise UsageError(
            f"{first!r} is no program, and {typed[1]!r} stands after it",
            hint="options go before the command: corral run [OPTIONS] 'COMMAND'",
        )
    if len(typed) > 1:
        for word in typed:
            if word == "{":
                raise UsageError(
                    "a lone { among the words: the shell cut it at a blank, < or >",
                    hint="quote the word: '{>{page.stem}.png}'",
                    text=" ".join(typed),
                    column=" ".join(typed).index("{") + 1,
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
    doubled: bool  # {{…}}


class _Parser:
    """Reads one command: first all axes, then what each brace means."""

    def __init__(
        self,
        typed: Sequence[str],
        *,
        folder: Folder,
        declared: Mapping[str, str | Sequence[str]],
        here: bool,
    ) -> None:
        self.typed = tuple(typed)
        self.folder = folder
        self.here = here
        self.line = words.read(typed[0]) if len(typed) == 1 else None
        self.inline = not declared  # may braces of the command be axes?
        self.notes: list[str] = []
        self.axes: dict[str, Axis] = {}
        self.at: dict[tuple[int, int], str] = {}  # where a brace is an axis, and its name
        self.sources: list[str] = []  # names of the axes that {1}, {2}, … mean
        self.ship: list[str] = []
        self.rewritten: dict[tuple[int, int], tuple[int, str]] = {}
        for name, value in declared.items():
            self._declare(name, value)

    def parse(self, *, reps: int, shell: str, outputs: Sequence[str]) -> Parsed:
        if self.inline:
            for brace in self._all_braces():
                self._read_axis(brace)
        self._find_shipped()
        segments = tuple(self._segments(index) for index in range(len(self.typed)))
        marks = tuple(self._output(pattern) for pattern in outputs)
        command = Command(
            form="vector" if self.line is None else "line",
            shell=shell,
            words=segments,
            simple=None if self.line is None else _simple(segments[0]),
            axes=tuple(self.axes.values()),
            outputs=marks,
            reps=reps,
            here=self.here,
        )
        self._check_marks(command)
        self._check_formats(command)
        self._note_values()
        return Parsed(
            command=command, ship=tuple(dict.fromkeys(self.ship)), notes=tuple(self.notes)
        )

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
        if text[at] != "{":
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
            doubled=doubled,
        )

    def _takes_all(self, brace: _Brace) -> bool:
        """Say whether what is inside the brace belongs to it, rather than being read on its own."""
        content = brace.content
        return (
            _is_mark(content)
            or bool(_REFERENCE.fullmatch(content))
            or (self.inline and (_named(brace) is not None or _unnamed(brace)))
        )

    # ---------------------------------------------------------------- axes

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
        named = _named(brace)
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
            self.notes.append(f"a second axis {name} is called {taken}")
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
                    return match[1].replace("-", "_")
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
        if self.line is None and text[at] == "\\":
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
        if self.inline and (_named(single) is not None or _unnamed(single)):
            return True
        try:
            return self._meaning(single) is not None
        except UsageError:
            return True

    def _meaning(self, brace: _Brace) -> Segment | None:
        """Say what a brace stands for; None = it is text."""
        if _is_mark(brace.content):
            self._refuse_forbidden(brace)
            return self._mark(brace)
        if (brace.word, brace.start) in self.at:
            return Ref(name=self.at[brace.word, brace.start], place=brace.place)
        if match := _REFERENCE.fullmatch(brace.content):
            return self._reference(brace, match)
        if self.inline and not brace.quoted and axes.looks_like_range(brace.content):
            try:
                axes.parse("range", brace.content, self.folder, [])
            except UsageError as error:
                raise self._error(brace, error.message, error.hint or "") from error
        if "," in brace.content and not brace.quoted and _has_empty_item(brace.content):
            self.notes.append(f"{{{brace.content}}} is left as it is: it has an empty item")
        return None

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
        return Ref(
            name=name,
            parts=parts,
            format="" if form in (None, "raw") else form or "",
            raw=form == "raw",
            place=brace.place,
        )

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
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        if brace.quoted:
            if near and abs(len(near[0]) - len(name)) <= 1:
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
        kind, inside = brace.content[0], brace.content[1:]
        if not inside.strip():
            raise self._error(brace, f"{{{kind}}} names no file", f"write {{{kind}name}}")
        pattern = self._pattern(brace, inside)
        if kind == "<" and not self.here:
            fixed = _fixed(pattern)
            if fixed is not None:
                if not self.folder.is_file(fixed):
                    raise self._error(
                        brace, f"{fixed}: there is no such file here", "check the name"
                    )
                self.ship.append(fixed)
        return Mark(kind="in" if kind == "<" else "out", pattern=pattern, place=brace.place)

    def _pattern(self, brace: _Brace, inside: str) -> tuple[Text | Ref, ...]:
        """Read the text of a mark: only references count there."""
        parts: list[Text | Ref] = []
        end = 0
        for match in re.finditer(r"\{([^{}]*)\}", inside):
            inner = brace._replace(content=match[1], quoted=False, place="word")
            reference = _REFERENCE.fullmatch(match[1])
            found = self._reference(inner, reference) if reference else None
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

    def _output(self, pattern: str) -> Mark:
        brace = _Brace(0, 0, 0, f">{pattern}", "word", quoted=False, forbidden="", doubled=False)
        return Mark(kind="out", pattern=self._pattern(brace, pattern))

    def _check_marks(self, command: Command) -> None:
        for mark in command.marks:
            if mark.kind == "in":
                continue
            text = "".join(part.text if isinstance(part, Text) else "x" for part in mark.pattern)
            if text.startswith("/") or ".." in text.split("/"):
                raise UsageError(
                    f"{{>{text}}}: an output lies in the task's own folder",
                    hint="write a relative path; results come home under files/",
                )

    def _check_formats(self, command: Command) -> None:
        everything = (part for word in command.words for part in word)
        for part in everything:
            for ref in (part,) if isinstance(part, Ref) else getattr(part, "pattern", ()):
                if isinstance(ref, Ref) and ref.format:
                    self._check_format(ref)

    def _check_format(self, ref: Ref) -> None:
        axis = self.axes.get(ref.name)
        values = ["1"] if axis is None else (axis.value(i) for i in range(min(len(axis), 100_000)))
        for value in values:
            try:
                format_value(value, ref.format)
            except ValueError as error:
                raise UsageError(
                    f"{{{ref.name}:{ref.format}}} does not fit the value {value!r}",
                    hint="03d needs whole numbers, .2f numbers, >8 anything",
                ) from error

    # ---------------------------------------------------------------- shipping

    def _find_shipped(self) -> None:
        """Find the program and scripts that travel by themselves; note other files that do not."""
        if self.here:
            return
        for command in self._simple_commands():
            shipped = self._shipped_words(command)
            for where, text in command:
                path = text.partition("=")[2] if text.startswith("-") and "=" in text else text
                if where in shipped:
                    self._ship(where, path)
                elif self._is_ours(path) and path not in self.ship:
                    self.notes.append(
                        f"{path} is here and not shipped: {{<{path}}} or --push {path}"
                    )

    def _simple_commands(self) -> Iterator[list[tuple[tuple[int, int], str]]]:
        """List the plain words of each simple command, with where they stand."""
        if self.line is None:
            yield [((index, 0), text) for index, text in enumerate(self.typed)]
            return
        found: dict[int, list[tuple[tuple[int, int], str]]] = {}
        for word in self.line.words:
            found.setdefault(word.command, []).append(((0, word.start), word.text))
        for listed in found.values():
            rest = listed
            while rest and (rest[0][1] in _KEYWORDS or re.match(r"[A-Za-z_]\w*=", rest[0][1])):
                rest = rest[1:]
            yield rest

    def _shipped_words(
        self, command: Sequence[tuple[tuple[int, int], str]]
    ) -> set[tuple[int, int]]:
        if not command:
            return set()
        where, program = command[0]
        if "/" in program and self._is_ours(program):
            return {where}
        name = posixpath.basename(program)
        if name == "java":
            jars = [i for i, (_, text) in enumerate(command) if text == "-jar"]
            if jars and len(command) > jars[0] + 1 and self._is_ours(command[jars[0] + 1][1]):
                return {command[jars[0] + 1][0]}
        if not _INTERPRETER.fullmatch(name):
            return set()
        for place, text in command[1:]:
            if text in ("-c", "-e", "-m"):
                return set()
            if not text.startswith("-"):
                return {place} if self._is_ours(text) else set()
        return set()

    def _is_ours(self, path: str) -> bool:
        """Say whether a word names a file that a person would want on the host."""
        if not path or any(c in path for c in "{}*?'\"$`\\") or path.startswith(_SYSTEM):
            return False
        return self.folder.is_file(path)

    def _ship(self, where: tuple[int, int], path: str) -> None:
        self.ship.append(path)
        if path.startswith("/") or ".." in path.split("/"):
            self.rewritten[where] = (where[1] + len(path), path)

    # ---------------------------------------------------------------- words for people

    def _note_values(self) -> None:
        for axis in self.axes.values():
            values = axis.values if isinstance(axis, Listed) else ()
            if any(value.startswith("-") and not _NUMBER.fullmatch(value) for value in values):
                self.notes.append(f"values of {axis.name} begin with -: put -- before them?")
        self.notes = list(dict.fromkeys(self.notes))

    def _refuse_forbidden(self, brace: _Brace) -> None:
        if brace.forbidden:
            raise self._error(
                brace,
                f"{{{brace.content}}} stands in {brace.forbidden}, where no value can be put safely",
                "use $(…) in place of backquotes; pass the value as an argument or --env; "
                f"{{{{{brace.content}}}}} keeps it as text",
            )

    def _error(self, brace: _Brace, message: str, hint: str) -> UsageError:
        before = " ".join(self.typed[: brace.word]) + (" " if brace.word else "")
        return UsageError(
            message,
            hint=hint or None,
            text=" ".join(self.typed),
            column=len(before) + brace.start + 1,
        )


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


def _named(brace: _Brace) -> tuple[str, str] | None:
    """Read ``name=values``; None if the brace is no named axis."""
    match = _NAMED.fullmatch(brace.content)
    if match is None:
        return None
    text = match[2]
    single = _NUMBER if brace.quoted else _PLAIN
    if axes.looks_like_axis(text) or axes.looks_like_range(text) or single.fullmatch(text):
        return match[1], text
    return None


def _unnamed(brace: _Brace) -> bool:
    return not brace.quoted and axes.looks_like_axis(brace.content)


def _has_empty_item(text: str) -> bool:
    return not any(c in text for c in " \t'\"") and not all(text.split(","))


def _renamed(axis: Axis, name: str) -> Axis:
    return msgspec.structs.replace(axis, name=name)


def _fixed(pattern: Sequence[Text | Ref]) -> str | None:
    """Give the path of a mark without references."""
    if any(isinstance(part, Ref) for part in pattern):
        return None
    return "".join(part.text for part in pattern if isinstance(part, Text))


def _simple(segments: Sequence[Segment]) -> tuple[tuple[Segment, ...], ...] | None:
    """Split a line of plain words; None where only a shell can be trusted to read it."""
    splitter = _Splitter()
    for part in segments:
        if not splitter.take(part):
            return None
    return splitter.finish()


class _Splitter:
    """Splits text and places into words, as long as no shell syntax comes."""

    def __init__(self) -> None:
        self.words: list[list[Segment]] = []
        self.quote = ""
        self.inside = False  # a word has begun
        self.text = ""

    def take(self, part: Segment) -> bool:
        if isinstance(part, Text):
            return all(self._char(char) for char in part.text)
        place = {"": "bare", "'": "single", '"': "double"}[self.quote]
        if part.place != place or (isinstance(part, Ref) and part.raw):
            return False
        self._begin()
        self._flush()
        self.words[-1].append(_as_word(part))
        return True

    def finish(self) -> tuple[tuple[Segment, ...], ...] | None:
        self._flush()
        if self.quote or not self.words:
            return None
        first = self.words[0]
        if not all(isinstance(part, Text | Shipped) for part in first):
            return None
        program = "".join(part.text for part in first if isinstance(part, Text))
        if "=" in program or program in _BUILT_IN_COMMANDS:
            return None
        return tuple(tuple(word) or (Text(text=""),) for word in self.words)

    def _char(self, char: str) -> bool:
        if self.quote == "'" or (self.quote == '"' and char not in '"$`\\'):
            if char == self.quote:
                self.quote = ""
            else:
                self.text += char
            return True
        if self.quote == '"':
            self.quote = "" if char == '"' else self.quote
            return char == '"'
        if char in " \t":
            self._flush()
            self.inside = False
            return True
        if char in "'\"":
            self._begin()
            self.quote = char
            return True
        if char not in _SAFE:
            return False
        self._begin()
        self.text += char
        return True

    def _begin(self) -> None:
        if not self.inside:
            self.inside = True
            self.words.append([])

    def _flush(self) -> None:
        if self.text:
            self.words[-1].append(Text(text=self.text))
            self.text = ""


def _as_word(part: Ref | Mark | Shipped) -> Segment:
    return msgspec.structs.replace(part, place="word")
