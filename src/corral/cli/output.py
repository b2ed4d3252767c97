"""How verbs print: a table for people, one JSON object for programs; data on stdout, talk on stderr."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click
import msgspec

from corral import columns
from corral.cli import streams
from corral.client import Client
from corral.engine import queries
from corral.errors import NotFoundError, UsageError
from corral.model.run import TASK_STATES
from corral.store.folder import StateFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from corral.model.run import Run
    from corral.store.base import Reader

STATES = frozenset({*TASK_STATES, "all"})
NUMBER_DIGITS = 18
VERSION = 1  # of the JSON that every verb prints
_CONTROL = {code: "�" for code in (*range(32), 127, *range(128, 160)) if code not in (9,)}

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
run_argument = click.argument("run", default="last", metavar="[RUN]")


def here() -> Path:
    """Give the current folder.

    Raises:
        NotFoundError: It was removed under our feet.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise NotFoundError("the current folder is gone", hint="cd somewhere else") from error


def client() -> Client:
    """Open the state folder that is found from here upwards.

    Raises:
        NotFoundError: There is none.
    """
    folder = StateFolder.find(here())
    if folder is None:
        raise NotFoundError(
            "there is no run here: no .corral in this folder or above",
            hint="corral run COMMAND makes one",
        )
    return Client(folder)


def print_json(value: dict[str, Any]) -> None:
    """Print an object with the version of its shape."""
    encoded = msgspec.json.encode({"version": VERSION, **value}, enc_hook=str)
    sys.stdout.write(msgspec.json.format(encoded, indent=2).decode() + "\n")


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows in columns; the last one is not padded."""
    texts = [[_cell(value) for value in row] for row in rows]
    widths = [
        max(len(head), *(columns.width(row[i]) for row in texts)) if texts else len(head)
        for i, head in enumerate(heads)
    ]
    for row in [list(heads), *texts]:
        cells = [columns.padded(text, width) for text, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def talk(text: str = "") -> None:
    """Say something to the person; never data."""
    streams.say(plain(text))


def plain(text: str) -> str:
    """Strip what could steer a terminal out of text that came from elsewhere."""
    return "\n".join(line.translate(_CONTROL) for line in text.split("\n"))


def ask(question: str, *, yes: bool) -> bool:
    """Ask before something is lost; without a terminal only ``--yes`` is a yes."""
    if yes:
        return True
    if not sys.stdin.isatty():
        return False
    return click.confirm(question, err=True)


def when(at: datetime | None) -> str:
    """Write a time in the reader's zone."""
    return "-" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def counted(number: int, word: str) -> str:
    """Write so many of what a word means."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def shorten(text: str, width: int) -> str:
    """Cut a text for a table."""
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= width else one_line[: width - 1] + "…"


def verb(
    name: str,
    *,
    options_anywhere: bool = True,
    hidden: bool = False,
    optional: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a verb.

    ``options_anywhere`` is off where the words after the first are the user's own. ``optional``
    names options whose value may be left out, with the value that they have then.
    """
    settings = {
        "help_option_names": ["-h", "--help"],
        "allow_interspersed_args": options_anywhere,
    }
    cls = type("Verb", (_Verb,), {"optional": dict(optional or {})})
    return click.command(name, cls=cls, context_settings=settings, hidden=hidden)


class _Verb(click.Command):
    """A command some of whose options may stand without their value."""

    optional: ClassVar[dict[str, str]] = {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give such an option its value, unless it is a word of the user's own command."""
        if not self.optional.keys() & set(args):
            return super().parse_args(ctx, args)
        given = [
            f"{word}={self.optional[word]}" if word in self.optional else word for word in args
        ]
        parsed, _, _ = self.make_parser(ctx).parse_args(list(given))
        words = sum(len(parsed[p.name]) for p in self.params if p.nargs == -1 and p.name in parsed)
        options = len(given) - words
        return super().parse_args(ctx, given[:options] + args[options:])


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.2f}"
    return shorten(plain(str(value)), 100)


def is_number(text: str) -> bool:
    """Say whether a word is the number of a run or a task that a database can hold."""
    return text.isascii() and text.isdigit() and len(text) <= NUMBER_DIGITS


def run_then_tasks(run: str, which: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Read ``[RUN] [TASKS]``: a first word that can only mean tasks is of the last run."""
    if run != "last" and not which and _means_tasks(run):
        return "last", (run,)
    return run, which


def _means_tasks(word: str) -> bool:
    first, dash, last = word.partition("-")
    if dash and is_number(first) and is_number(last):
        return True
    return is_number(word) or "," in word or "=" in word or word in STATES


def run_and_task(words: tuple[str, ...]) -> tuple[str, int]:
    """Read ``[RUN] TASK``.

    Raises:
        UsageError: There is no task number.
    """
    if len(words) in (1, 2) and is_number(words[-1]):
        return (words[0] if len(words) == 2 else "last"), int(words[-1])
    raise UsageError("which task?", hint="corral show 7, or corral show RUN 7")


def run_maybe_task(reader: Reader, words: tuple[str, ...]) -> tuple[Run, int | None]:
    """Read ``[RUN] [TASK]``; a number alone is a task of the last run.

    Raises:
        UsageError: It cannot be read so.
    """
    if not words:
        return queries.find_run(reader, "last"), None
    if len(words) == 1 and is_number(words[0]):
        return queries.find_run(reader, "last"), int(words[0])
    if len(words) == 1:
        return queries.find_run(reader, words[0]), None
    if len(words) == 2 and is_number(words[1]):
        return queries.find_run(reader, words[0]), int(words[1])
    raise UsageError("which task?", hint="corral why 7, or corral why RUN 7")
