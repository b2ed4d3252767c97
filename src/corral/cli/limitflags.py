"""The flags of ``corral run`` that limit it; a run file has the same as keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = ("timeout", "run_timeout", "halt", "output_cap", "mem", "disk_floor")

_OPTIONS = (
    click.option("--timeout", metavar="TIME", help="Kill a task after: 90, 5m, 200% (of median)."),
    click.option("--run-timeout", metavar="TIME", help="Halt the run after: 2h."),
    click.option("--halt", metavar="WHEN", help="soon,fail=10 or now,fail=5%: halt on failures."),
    click.option("--output-cap", metavar="SIZE", help="Of a task's stdout, and stderr (1G)."),
    click.option(
        "--memory",
        "mem",
        metavar="SIZE[,SIZE]",
        callback=lambda _, __, text: None if text is None else tuple(text.split(",")),
        help="Of a task: 2G; 1G,4G gives more to what was killed for it.",
    ),
    click.option("--disk-floor", metavar="SIZE", help="Free on a host, or it starts nothing."),
)


def limit_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the flags to a verb; they arrive one by one, under the names in `KEYS`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
