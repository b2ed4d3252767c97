"""Shows what hosts are like: those that are alike in one row, and what the odd ones differ in."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from corral.cli import output
from corral.cli.hostnews import ANYONE, plain_reason
from corral.cli.output import plain
from corral.hosts import hostset
from corral.model.base import Frozen
from corral.model.host import base_of
from corral.units import show_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from corral.fleet.survey import Answered, Checked
    from corral.protocol import Facts

CLOCK_S = 2.0  # a clock that is off by more is named; the login itself may take a second
LOW_DISK = 1 << 30  # bytes free; less is named
HEADS = ("platform", "python", "cores", "memory", "folder", "clock")


class Traits(Frozen, frozen=True, kw_only=True):
    """What hosts are compared by, as it is shown."""

    values: tuple[str, ...]  # in the order of `HEADS`
    low_disk: bool


def show(answers: Sequence[Answered[Checked]]) -> None:
    """Print the table, then the hosts that cannot be used, each with its reason and way out."""
    alike: dict[Traits, list[tuple[str, Facts]]] = {}
    for answer in answers:
        if answer.said is not None:
            facts = answer.said.facts
            alike.setdefault(traits(answer, facts), []).append((answer.spec.name, facts))
    if alike:
        usual = _usual(alike)
        output.print_table(
            ("hosts", *HEADS, "disk", "odd"),
            [
                (hostset.fold(name for name, _ in group), *kind.values, _disk(group), _odd(kind, usual))
                for kind, group in sorted(alike.items(), key=lambda item: -len(item[1]))
            ],
        )  # fmt: skip
    for names, text in together(
        (answer.spec.name, note) for answer in answers if (note := _note(answer))
    ):
        tell(names, text)
    for names, text in failures(answers):
        tell(names, text)


def _note(answer: Answered[Checked]) -> str:
    """Say what is odd about a host though it works."""
    return "" if answer.said is None else answer.spec.passed_over(answer.said.facts.folder)


def tell(names: str, text: str) -> None:
    """Print what is wrong with hosts, and the way out, which is the last line if there are several."""
    *said, hint = text.split("\n") if "\n" in text else (text, "")
    click.echo(f"{names}: " + "\n  ".join(plain(line) for line in said))
    if hint:
        click.echo(f"  try: {plain(hint)}")


def failures(answers: Sequence[Answered[Any]]) -> list[tuple[str, str]]:
    """Give the hosts that could not be asked, those with the same reason together."""
    return together(
        (
            answer.spec.name,
            plain_reason(
                answer.spec.name,
                answer.error.message + (f"\n{answer.error.hint}" if answer.error.hint else ""),
            ),
        )
        for answer in answers
        if answer.error is not None
    )


def together(said: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Fold hosts of which the same is said; ANYONE stands in it for their names."""
    alike: dict[str, list[str]] = {}
    for name, text in said:
        alike.setdefault(text, []).append(name)
    found = [(hostset.fold(names), text) for text, names in alike.items()]
    return [(names, text.replace(ANYONE, names)) for names, text in found]


def plainly(answer: Answered[Checked]) -> dict[str, Any]:
    """Give an answer for ``--json``."""
    found: dict[str, Any] = {"host": answer.spec.name, "seconds": round(answer.took_s, 3)}
    if answer.error is not None:
        return found | problem(answer)
    assert answer.said is not None
    facts = answer.said.facts
    off_s = round(_off(answer, facts), 3)
    return found | {"facts": facts, "clock_off_s": off_s, "note": _note(answer)}


def problem(answer: Answered[Any]) -> dict[str, Any]:
    """Give why a host could not be asked, for ``--json``."""
    assert answer.error is not None
    return {
        "host": answer.spec.name,
        "error": answer.error.message,
        "hint": answer.error.hint,
    }


def traits(answer: Answered[Checked], facts: Facts) -> Traits:
    """Say what a host is to be compared by."""
    off = _off(answer, facts)
    return Traits(
        values=(
            facts.platform,
            facts.python,
            str(facts.cores),
            show_size(facts.memory),
            base_of(facts.folder),
            "ok" if abs(off) <= CLOCK_S else f"{off:+.0f} s",
        ),
        low_disk=facts.disk_free < LOW_DISK,
    )


def _off(answer: Answered[Checked], facts: Facts) -> float:
    """Say by how many seconds a host's clock is ahead; the way back is not told from it."""
    return facts.time - answer.at


def _usual(alike: dict[Traits, list[tuple[str, Facts]]]) -> tuple[str, ...]:
    """Give the commonest value of each column."""
    columns: list[Counter[str]] = [Counter() for _ in HEADS]
    for kind, group in alike.items():
        for column, value in zip(columns, kind.values, strict=True):
            column[value] += len(group)
    return tuple(column.most_common(1)[0][0] for column in columns)


def _odd(kind: Traits, usual: tuple[str, ...]) -> str:
    """Name the columns in which hosts differ from most others."""
    odd = [
        head for head, value, common in zip(HEADS, kind.values, usual, strict=True)
        if value != common or (head == "clock" and value != "ok")
    ]  # fmt: skip
    return ", ".join([*odd, *(["disk"] if kind.low_disk else [])])


def _disk(group: list[tuple[str, Facts]]) -> str:
    free = [facts.disk_free for _, facts in group]
    low, high = show_size(min(free)), show_size(max(free))
    return low if low == high else f"{low} to {high}"
