"""The command line: which verb lives where, what an exit code means, how an error is shown.

A verb's file is imported only when it is called: start-up time is a budget.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from importlib import import_module

import click

from corral import __version__, columns
from corral.cli import streams
from corral.errors import CorralError, UsageError

SELDOM = 50_000  # new objects; few are in cycles, and to look every 700 is 4 % of a start
COMPLETE = "_CORRAL_COMPLETE"  # set by a shell that completes words
VERBS = {
    "init": "Write a run file to begin with, or one that repeats a run.",
    "check": "Say what a run file means, or all that is wrong with it.",
    "test": "Try one task of a job on every host, and leave nothing.",
    "run": "Run one program with many settings.",
    "resume": "Go on with a run, and follow it to its end.",
    "attach": "Follow a run that is under way.",
    "ls": "List the runs.",
    "status": "Show how a run stands.",
    "tasks": "List the tasks of a run.",
    "attempts": "List who did what: every start of every task.",
    "show": "Show all about one task.",
    "logs": "Print what tasks wrote.",
    "why": "Say why a task, or a run, is as it is.",
    "collect": "Bring the results folder up to date, or collect by another rule.",
    "report": "Write one HTML file about a run.",
    "retry": "Give failed and cancelled tasks out again.",
    "rerun": "Give tasks out again, whatever they are.",
    "pause": "Hand out nothing until unpause.",
    "unpause": "Hand out again.",
    "stop": "Let running tasks finish, then halt the run.",
    "cancel": "Kill what runs and hand out nothing more.",
    "rm": "Delete a run and its results.",
    "reap": "End and remove what corral left on hosts.",
    "db": "Verify every promise on the state folder.",
    "hosts": "Show hosts, check them, read sets of them.",
}
HIDDEN = {"_master": "master"}  # verbs that only corral itself calls, and their files


class Verbs(click.Group):
    """The verbs, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in VERBS and cmd_name not in HIDDEN:
            return None
        module = import_module(f"corral.cli.{HIDDEN.get(cmd_name, cmd_name)}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None:
            import difflib

            near = difflib.get_close_matches(name, VERBS, n=1)
            hint = f"did you mean: corral {near[0]}" if near else "corral --help lists the verbs"
            raise UsageError(f"there is no verb {name!r}", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=False,
    no_args_is_help=True,
)
@click.version_option(__version__, prog_name="corral")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(*, debug: bool) -> None:
    """Run one program with many settings on every core, whatever breaks on the way.

    \b
    corral run -r10 './sim -T {1..5:.5} -L {16,32,64} -s {rep}'
    """
    if debug:
        os.environ["CORRAL_DEBUG"] = "1"


def main() -> None:
    """Run the command line and exit; the only place where an error becomes words."""
    gc.set_threshold(SELDOM)
    logging.getLogger("corral").addHandler(logging.NullHandler())  # logs go to files, not here
    streams.prepare()
    words = sys.argv[1:]
    try:
        _heed_interrupts()
        _check_words(words)
        if (asked := os.environ.get(COMPLETE)) is not None:
            code = _complete(asked)
        else:
            with cli.make_context("corral", words.copy()) as context:
                code = cli.invoke(context)
    except click.exceptions.Exit as ended:
        code = ended.exit_code
    except click.Abort:
        code = 130
    except click.exceptions.NoArgsIsHelpError as error:
        streams.say(error.format_message())
        code = UsageError.exit_code
    except click.ClickException as error:
        code = _show(_as_usage(error, words))
    except CorralError as error:
        code = _show(error)
    except BrokenPipeError:
        streams.stop_printing()
        code = 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        hint = "look at its rights and at the disk's free space"
        code = _show(CorralError(f"{place}{error.strerror or error}", hint=hint))
    except KeyboardInterrupt:
        code = 130
    streams.flush()
    os._exit(code if isinstance(code, int) else 0)  # all is closed: spare Python's long farewell


def _complete(asked: str) -> int:
    """Answer a shell that completes words, or wants the script that does."""
    from click.shell_completion import shell_complete

    return shell_complete(cli, {}, "corral", COMPLETE, asked)


def _heed_interrupts() -> None:
    """Let Ctrl-C be an exception again, which it was not while modules were loaded."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _check_words(words: list[str]) -> None:
    """Refuse bytes that are no text, which nothing could keep, send or show."""
    if not all(map(_is_text, words)):
        from corral.work import axes

        for word in words:
            axes.check_text(word, "a word of the command line")


def _is_text(word: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in word)


def _as_usage(error: click.ClickException, words: list[str]) -> UsageError:
    """Say what click found wrong in our two lines."""
    message = error.format_message().rstrip(".")
    help_ = f"{_verb_of(error, words)} --help"
    if isinstance(error, click.NoSuchOption):
        near = ", ".join(sorted(error.possibilities or ()))
        hint = f"did you mean {near}?" if near else f"{help_} lists the options"
        return UsageError(f"no such option: {error.option_name}", hint=hint)
    return UsageError(message[:1].lower() + message[1:], hint=help_)


def _verb_of(error: click.ClickException, words: list[str]) -> str:
    """Name the verb that an error is about, which click does not tell of every error."""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return error.ctx.command_path
    return " ".join(["corral", *(word for word in words[:1] if word in VERBS)])


def _show(error: CorralError) -> int:
    from corral.cli.output import talk

    if os.environ.get("CORRAL_DEBUG"):
        import traceback

        traceback.print_exc()
    lines = [f"corral: {error.message}"]
    if isinstance(error, UsageError) and error.text is not None and error.column is not None:
        lines += _caret(error.text, error.column)
    if error.hint:
        lines.append(f"  try: {error.hint}")
    talk("\n".join(lines))
    return error.exit_code


def _caret(text: str, column: int) -> list[str]:
    """Show the line that an error stands in, and where."""
    before = text[: column - 1]
    start = before.rfind("\n") + 1
    end = text.find("\n", start)
    line = text[start : len(text) if end < 0 else end]
    place = column - 1 - start
    first = max(0, place - 50)
    shown = ("…" if first else "") + line[first : first + 76]
    blank = columns.blank(shown[: place - first + bool(first)])
    return [f"  {shown}", f"  {blank}^ column {column}"]
