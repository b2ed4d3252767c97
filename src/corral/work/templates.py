"""What stands in a task's own input files? Text from jinja2 templates and the task's parameters.

A template knows the parameters (as texts, the way they stand in the command), ``rep`` and ``seed``:
what is known before a task is handed out, so that the same task always gets the same bytes. It
runs in jinja2's sandbox, and a name that is not there is an error before anything starts.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from corral.errors import UsageError
from corral.model.base import Frozen
from corral.work import axes, identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2.sandbox import SandboxedEnvironment

    from corral.model.command import Command, Template

MOST_BYTES = 256 << 10  # of all texts of one task: they travel inside its lease
KNOWN = ("rep", "seed")  # beside the parameters


class RenderedText(Frozen, frozen=True, kw_only=True):
    """An input file of one task."""

    path: str
    text: str
    executable: bool = False


class Templates:
    """The templates of a command, compiled."""

    def __init__(self, command: Command) -> None:
        """Compile them.

        Raises:
            UsageError: One is no template, or names what is not there; with its line.
        """
        self._names = command.names
        environment = _environment()
        self._compiled = [
            (template, _compile(environment, template, command.names))
            for template in command.templates
        ]

    def render(self, values: Sequence[str], *, rep: int, k: int) -> tuple[RenderedText, ...]:
        """Make one task's files.

        Raises:
            UsageError: A template cannot be computed for these values, or makes too much.
        """
        seed = identity.seed(identity.settings(self._names, values), rep, k)
        known: dict[str, str | int] = {"rep": rep, "seed": seed}
        known.update(zip(self._names, values, strict=True))
        texts = tuple(
            RenderedText(
                path=template.path,
                text=_text(template, compiled, known),
                executable=template.executable,
            )
            for template, compiled in self._compiled
        )
        size = sum(len(text.text.encode()) for text in texts)
        if size > MOST_BYTES:
            raise UsageError(
                f"the input files of a task have {size} bytes, more than {MOST_BYTES}",
                hint="ship what is the same for all tasks with --push or {<…}",
            )
        return texts


def _text(template: Template, compiled: Any, known: Mapping[str, str | int]) -> str:
    from jinja2 import TemplateError

    errors = (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
    try:
        text: str = compiled.render(known)
        axes.check_text(text, f"what {template.source} makes")
    except (*errors, RecursionError, MemoryError) as error:
        line = _line_of(error)
        shown = " ".join(f"{name}={value!r}" for name, value in known.items() if name != "seed")
        raise UsageError(
            f"{template.source}{f':{line}' if line else ''}: cannot be computed for {shown}: {error}",
            hint="values are texts: {{ T|float * 2 }}, {% if T|int > 3 %}",
        ) from error
    return text


def _environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    del environment.filters["random"], environment.globals["lipsum"]  # other bytes every time
    return environment


def _compile(environment: SandboxedEnvironment, template: Template, names: Sequence[str]) -> Any:
    from jinja2 import TemplateSyntaxError, meta

    try:
        parsed = environment.parse(template.text)
        unknown = meta.find_undeclared_variables(parsed) - {*names, *KNOWN, *environment.globals}
        compiled = environment.from_string(template.text)
    except TemplateSyntaxError as error:
        raise _error(template, error.lineno, 1, error.message or "is no template") from error
    if next(meta.find_referenced_templates(parsed), "") != "":
        raise _error(template, 1, 1, "a template cannot take in another", "write it in one file")
    if unknown:
        raise _unknown(template, sorted(unknown), names)
    return compiled


def _unknown(template: Template, unknown: Sequence[str], names: Sequence[str]) -> UsageError:
    """Say which names are not there; the caret stands at the first of them."""
    known = [*names, *KNOWN]
    near = difflib.get_close_matches(unknown[0], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {' '.join(known)}"
    places = [
        (match.start(), name)
        for name in unknown
        if (match := re.search(rf"\b{re.escape(name)}\b", template.text))
    ]
    at = min(places)[0] if places else 0
    line = template.text.count("\n", 0, at) + 1
    column = at - template.text.rfind("\n", 0, at)
    return _error(template, line, column, f"{', '.join(unknown)} is not known", hint)


def _error(
    template: Template, line: int, column: int, what: str, hint: str = "see jinja2's manual"
) -> UsageError:
    lines = template.text.split("\n")
    text = lines[line - 1] if line <= len(lines) else ""
    return UsageError(f"{template.source}:{line}: {what}", hint=hint, text=text, column=column)


def _line_of(error: Exception) -> int | None:
    """Find the line of the template that an error came from: jinja2 puts it into the traceback."""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
