"""``corral init``: writes a run file to begin with, or the one that repeats a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from corral.cli import output
from corral.cli.output import talk
from corral.engine import queries
from corral.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

EVERYTHING = """\
# What `corral run FILE` runs; `corral check FILE` says what it means. Keys with a # are as they
# would be without it, or an example.

# One text is a shell line, a list is a program and its arguments: ["./sim", "-T", "{T}"].
run = "echo {T} {L} {rep}"

# Replicates of every setting: {rep} is 1..N.
reps = 2

# Instead of `run`: a file with a command on each line; with counts they may begin with "10x".
#commands = "commands.txt"
#counts = true

# ---- which combinations

# Take first with first, second with second, instead of all combinations.
#zip = true
# Only those for which this holds.
#where = "T*L < 100"
# Another order: true, or a number for an order of its own; and only the first so many.
#shuffle = true
#limit = 1000

# ---- how tasks run

# The run's name; else that of this file. Where results go; else results/NAME.
#name = "sweep"
#out = "results/sweep"
# Kill a task after: 90 (seconds), "5m", "1h"; "200%" of the run's median time.
#timeout = "1h"
# Halt the run after this time; after so many failed tasks ("now" kills what runs, too).
#run_timeout = "12h"
#halt = "soon,fail=5%"
# Of a task's stdout, and of its stderr, head and tail are kept up to:
#output_cap = "100M"
# A task above its memory is killed, and tried again with the next size.
#mem = ["1G", "4G"]
# A host with less free disk starts nothing.
#disk_floor = "256M"
# How often a failed task is given out again.
#retries = 2
# Never try a late task on a second host.
#twins = false
# How often hosts speak ("off": their silence is fine), and how long a silent one keeps its tasks.
#heartbeat = "2s"
#lost_after = "60s"
# Without a master running tasks end as they would ("finish"), or are killed after 30 min ("stop").
#on_master_loss = "stop"
# Tasks at once on each host; else one a core.
#slots = 4
# What each task takes of its host while it runs; what no host has is said at once.
#needs = { cpus = 2, memory = "4G", tags = ["fast"], platform = "linux-x86_64", gpu = 1 }
# What runs a shell line.
#shell = "/bin/bash"
# Run in this folder instead of one of the task's own; nothing is shipped then.
#here = true

# ---- files

# Ship files, folders, patterns beside the program, which travels by itself.
#push = ["config.yaml"]
# Other files for hosts of one platform: a list, or by place in the task's folder.
#platform."linux-aarch64".push = { sim = "build/sim.aarch64" }
# Bring files home and require them, as {>out.txt} in the command.
#outputs = ["out.txt"]

# ---- results

# What a result must be, beside exit code 0 and the files above: nonempty, lines=1, json, ./check.py
#check = ["nonempty"]
# How stdout is collected: concat, tagged, blocks, table, files, split=100M, ./collect.py
#collect = "concat"

# ---- other ways to give values

# Settings from a table: CSV, TSV, JSON Lines; its columns are parameters.
#params = "settings.csv"
# Braces of `run` are axes too, though values stand below.
#axes = true
# No brace means anything, only this text stands for the value.
#plain = true
#mark = "VALUE"
# What `-` and `{@-}` stand for.
#stdin = "one\\ntwo\\n"

# Variables for tasks; true: as it is set where the file is read, and written down nowhere.
#env = { MODE = "fast", TOKEN = true }

# What exit codes mean beside failure: again, skip, fatal.
#exit_codes = { 99 = "again", 77 = "skip", 3 = "fatal" }

# The values: a range, a list, a pattern of files "data/*.txt", lines "@list.txt"; or a list.
[sweep]
T = "1..5:.5"
L = [16, 32, 64]

# Files that are made for each task from jinja2 templates.
#[inputs]
#"run.yaml" = "run.yaml.j2"

# Values for {1}, {2}, …, as behind ::: and ::::; linked = first with first.
#[[source]]
#values = ["a", "b"]
#[[source]]
#file = "list.txt"
#linked = true
"""


@output.verb("init")
@click.argument("file", required=False)
@click.option("--from-run", "run", metavar="RUN", help="Write the file that repeats this run.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@output.json_option
def command(file: str | None, *, run: str | None, force: bool, as_json: bool) -> None:
    """Write a run file with every key and a comment to FILE (job.toml); ``-`` prints it.

    With --from-run, write the file that repeats RUN (to NAME.toml, if no FILE is named).
    """
    here = output.here()
    name, text, folder = "job.toml", EVERYTHING, str(here)
    if run is not None:
        with output.client().reader() as reader:
            found = queries.find_run(reader, run)
            text = queries.source(reader, found.id)
        name, folder = f"{found.name}.toml", found.folder
    name = file or name
    if name != "-":
        _write(here / name, name, text, force=force)
    if as_json:
        output.print_json({"file": name, "folder": folder, "text": text})
        return
    if name == "-":
        click.echo(text, nl=False)
    else:
        talk(f"{name} is written; corral check {name}, then corral run {name}")
    if folder != str(here):
        talk(f"its paths are meant from {folder}: run it there")


def _write(path: Path, name: str, text: str, *, force: bool) -> None:
    if path.exists() and not force:
        raise UsageError(f"{name}: is there already", hint="another name, or --force")
    path.write_text(text, encoding="utf-8")
