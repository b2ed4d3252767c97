"""What a real shell makes of a rendered line: every value arrives, nothing of it is run."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.cli.folder import RealFolder
from corral.errors import UsageError
from corral.model.command import Command
from corral.work.command import Parsed, parse
from corral.work.render import SLOT_MARK, Renderer, Setting
from tests.grammar.test_laws import NO_SURROGATES, Empty

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SHELLS = ("/bin/sh", "/bin/bash")
HOSTILE = (
    "",
    "two words",
    " leading",
    "trailing ",
    "it's",
    'say "hi"',
    "'\"'\"'",
    "$(echo pwned)",
    "`echo pwned`",
    "$HOME",
    "${HOME}",
    "a\\b",
    "ends in \\",
    "new\nline",
    "\n",
    "\ttab",
    "ünï→",
    "-n",
    "--",
    "a;echo pwned",
    "a&b|c",
    ">x",
    "2",
    "*",
    "?",
    "[a-z]",
    "~",
    "~root",
    "!",
    "!!",
    "#no",
    "a=b",
    "if",
    "esac",
    "{x}",
    "{{x}}",
    "}",
    "(",
    ")",
    "%s\\n",
    "\x01\x7f",
)
TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(NO_SURROGATES, max_size=10))
PRINT = "printf '%s\\0'"
# a form of line, and what it prints for the value V; X is the text of a variable
PLACES = {
    "bare": (f"{PRINT} {{v}}", "V"),
    "single": (f"{PRINT} '{{v}}'", "V"),
    "double": (f'{PRINT} "{{v}}"', "V"),
    "inside a word": (f"{PRINT} a{{v}}b", "aVb"),
    "beside itself": (f"{PRINT} {{v}}{{v}}\"{{v}}\"'{{v}}'", "VVVV"),
    "an assignment": (f'y={{v}}; {PRINT} "$y"', "V"),
    "after a variable": (f"x=X; {PRINT} $x{{v}}", "XV"),
    "after a variable in quotes": (f'x=X; {PRINT} "$x{{v}}"', "XV"),
    "before a redirection": (f"{PRINT} {{v}}>&1", "V"),
    "before a numbered redirection": (f"{PRINT} {{v}}2>&1", "V2"),
    "in $( )": (f'{PRINT} "$(printf %sx {{v}})"', "Vx"),
    "single in $( )": (f"{PRINT} \"$(printf %sx '{{v}}')\"", "Vx"),
    "double in $( )": (f'{PRINT} "$(printf %sx "{{v}}")"', "Vx"),
    "in $( ) in $( )": (f'{PRINT} "$(printf %s "$(printf %sx {{v}})")"', "Vx"),
    "in a case in $( )": (f'{PRINT} "$(case a in (b) ;; a) printf %sx {{v}};; esac)"', "Vx"),
    "after a case": (f"case a in a) ;; esac; {PRINT} {{v}}", "V"),
    "the word of a case": (f"case {{v}} in '{{v}}') {PRINT} \"{{v}}\";; esac", "V"),
    "in ( )": (f"({PRINT} {{v}})", "V"),
    "in { }": (f"{{ {PRINT} {{v}}; }}", "V"),
    "in a loop": (f'for i in {{v}}; do {PRINT} "$i"; done', "V"),
    "after a shift": (f"y=$((1 << 2))\n{PRINT} {{v}}", "V"),
    "after a here-document": (f"cat >/dev/null <<'E F' <<-G\n it's\nE F\n\t\"\n\tG\n{PRINT} {{v}}", "V"),
    "after a comment": (f"# it's\n{PRINT} {{v}}", "V"),
    "after an escaped blank": (f"true \\ #\n{PRINT} {{v}}", "V"),
    "after ${ }": (f"true \"${{x:-a'b'c}}\" ${{x:-'}}'}}; {PRINT} {{v}}", "V"),
    "after backquotes": (f"true `echo \"x'\"`; {PRINT} {{v}}", "V"),
}  # fmt: skip


def declared(line: str, values: Sequence[str], shell: str = "/bin/sh") -> Command:
    return parse([line], folder=Empty(), declared={"v": list(values)}, shell=shell).command


def rendered(command: Command, *values: str) -> list[str]:
    """Give the words that start the task."""
    made = Renderer(command).render(Setting(values, 1, 0, 1, "t", "h", 1))
    if made.argv is not None:
        return [word.replace(SLOT_MARK, "0") for word in made.argv]
    assert made.line is not None
    return [command.shell, "-c", made.line.replace(SLOT_MARK, "0")]


def understood(typed: Sequence[str]) -> Parsed | UsageError:
    try:
        return parse(typed, folder=Empty())
    except UsageError as error:
        return error


def words_of(argv: Sequence[str]) -> list[str]:
    done = subprocess.run(argv, capture_output=True, check=True, timeout=10)
    assert done.stderr == b""
    return done.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("place", PLACES)
def test_hostile_values_arrive_in_each_place_of_a_line(place: str, shell: str) -> None:
    """All values in one process a place: forty lines, each in a subshell of its own."""
    line, expected = PLACES[place]
    command = declared(line, HOSTILE, shell)
    lines = [rendered(command, value)[-1] for value in HOSTILE]
    script = "\n".join(f"(\n{text}\n)" for text in lines)
    assert words_of([shell, "-c", script]) == [expected.replace("V", value) for value in HOSTILE]


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(PLACES)), TEXT)
def test_any_value_arrives_in_any_place(place: str, value: str) -> None:
    line, expected = PLACES[place]
    argv = rendered(declared(line, [value]), value)
    assert words_of(argv) == [expected.replace("V", value)]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.sampled_from(["{v}", "a", "'", '"', " ", "$x", "\\", "1", "=", "#", ">&1"]), max_size=8
    ),
    TEXT,
)
def test_a_value_is_data_wherever_the_line_lets_it_stand(pieces: list[str], value: str) -> None:
    """The line with ``$v`` of the shell, quoted by hand, is the oracle: the same words come out."""
    line = f"x=X; {PRINT} " + "".join(pieces)
    oracle = _with_variable(line)
    if oracle is None:
        return
    command = declared(line, [value])
    mine = subprocess.run(rendered(command, value), check=False, capture_output=True, timeout=10)
    theirs = subprocess.run(
        ["/bin/sh", "-c", oracle, "sh", value], check=False, capture_output=True, timeout=10
    )
    assert (mine.returncode, mine.stdout) == (theirs.returncode, theirs.stdout)


def _with_variable(line: str) -> str | None:
    """Put ``"$1"`` where the value stands, by a second, independent reading of the quotes."""
    made, quote, at = "", "", 0
    while at < len(line):
        if line.startswith("{v}", at):
            made += {"": '"$1"', "'": "'\"$1\"'", '"': "${1}"}[quote]
            at += 3
            continue
        char = line[at]
        if char == "\\" and quote != "'":
            if line.startswith("{v}", at + 1):
                return None  # the shell's own
            made += line[at : at + 2]
            at += 2
            continue
        if char == "\\" and line.startswith("{v}", at + 1):
            return None  # ours too, as for sed's \{1,3\}
        if char == "#" and not quote and line[at - 1] in " \t\n;":
            return None
        if char in "'\"" and quote in ("", char):
            quote = "" if quote else char
        made += char
        at += 1
    return None if quote else made


@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [*"ab =-+.,:/%^~*\\$#!\t", "''", '""', "'a b'", '" \\\\"', "'$x'", '"it\'s"', "'\\'"]
        ),
        max_size=8,
    )
)
def test_a_line_run_without_a_shell_gives_what_the_shell_would(pieces: list[str]) -> None:
    line = "env " + PRINT + " " + "".join(pieces)
    parsed = understood([line])
    if isinstance(parsed, UsageError):
        return
    made = Renderer(parsed.command).render(Setting((), 1, 0, 1, "t", "h", 1))
    if made.argv is not None:
        assert words_of(made.argv) == words_of(["/bin/sh", "-c", line])


@pytest.mark.parametrize(
    "line",
    [
        "cd /", "exit 3", "x=1", "x=1 env", "if true", "! true", "ls *", "echo ~", "a; b", "a | b",
        "a > b", "a && b", "(a)", "echo $x", 'echo "$x"', "echo `a`", "echo a\\ b", "a\nb", "a # b",
        "printf x", "[ a ]", "chdir /", "readarray x", ". ./a", ": x", "time ls", "{ ls; }", "'if' x", "a {x..}",
    ],
)  # fmt: skip
def test_what_only_a_shell_can_read_goes_to_one(line: str) -> None:
    assert parse([line], folder=Empty()).command.simple is None


def test_a_quote_in_a_quoted_variable_is_read_as_the_shell_reads_it() -> None:
    line = f'x=; {PRINT} "${{x:-it\'s}}" {{v}}'
    assert words_of(rendered(declared(line, ["a'b"]), "a'b")) == ["it's", "a'b"]
    with pytest.raises(UsageError, match="never closed"):
        declared(line, ["a'b"], "/bin/bash")


@pytest.mark.parametrize("line", ["echo $(({v}))", 'echo "$((1 + {v} * 2))"', "((x = {v}))"])
@pytest.mark.parametrize("value", ["a[$(echo pwned >&2)]", "$(echo pwned >&2)", "1 + 1", ""])
def test_only_numbers_and_names_stand_where_the_shell_reckons(line: str, value: str) -> None:
    """Quotes protect nothing there: bash runs the $(…) of an index in whatever quotes."""
    with pytest.raises(UsageError, match="no number"):
        declared(line, ["1", value], "/bin/bash")
    assert declared(line, ["1", "-2", "x", "0x1f"], "/bin/bash").axes


def test_the_same_holds_for_an_axis_that_stands_there_itself(tmp_path: Path) -> None:
    (tmp_path / "values").write_text("1\n$(echo pwned)\n")
    with pytest.raises(UsageError, match="no number"):
        parse(["echo $(({@values}))"], folder=RealFolder(tmp_path))


def test_what_stands_in_dollar_quotes_is_bashs() -> None:
    line = f"{PRINT} $'{{v}}\\'{{v}}' {{v}}"
    assert words_of(rendered(declared(line, ["x y"], "/bin/bash"), "x y")) == ["{v}'{v}", "x y"]


@pytest.mark.parametrize("shell", ["/bin/bash", "bash", "/usr/bin/fish", "./mine"])
def test_another_shell_that_was_asked_for_is_used(shell: str) -> None:
    assert parse(["ls -l"], folder=Empty(), shell=shell).command.simple is None


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.text("ab1T.,:=<>@{}'\"\\$`( )#*[]-\n", min_size=1, max_size=16), min_size=1, max_size=3
    )
)
def test_whatever_is_typed_is_understood_or_refused_with_a_way_out(typed: list[str]) -> None:
    parsed = understood(typed)
    if isinstance(parsed, UsageError):
        assert parsed.hint or "cannot be read" in parsed.message
        if parsed.column is not None:
            assert parsed.text is not None
            assert 1 <= parsed.column <= len(parsed.text)
            assert "\n" not in parsed.text
        return
    again = msgspec.json.decode(msgspec.json.encode(parsed.command), type=Command)
    assert again == parsed.command
    values = tuple(axis.value(0) for axis in again.axes)
    made = Renderer(again).render(Setting(values, 1, 0, 1, "t", "h", 1))
    assert (made.argv is None) != (made.line is None)


@settings(max_examples=60, deadline=None)
@given(TEXT, TEXT)
def test_in_a_vector_values_are_words_and_nothing_is_quoted(one: str, two: str) -> None:
    typed = ["printf", "%s\\0", "{v}", "a{v}b", "$HOME"]
    command = parse(typed, folder=Empty(), declared={"v": [one, two]}).command
    for value in (one, two):
        assert words_of(rendered(command, value)) == [value, f"a{value}b", "$HOME"]
