"""When are two commands the same run, two rows the same task?

A run is known by its skeleton: the template with each axis cut to its name. A task is known by
(axis names and value texts, rep, k). So the same command again does only what is missing.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from typing import TYPE_CHECKING

import msgspec

from corral.model.command import Line, Mark, Ref, Segment, Shipped, Text
from corral.model.needs import Needs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.model.command import Command

NAME_LENGTH = 40
KEY_LENGTH = 80  # characters of values that a task's key spells out


def skeleton(command: Command) -> str:
    """Write what makes a command this run: not values, hosts, replicates or limits."""
    words = ["".join(_cut(part) for part in word) for word in command.words]
    inputs = sorted(f"{template.path}={template.source}" for template in command.templates)
    checks = {"checks": sorted(command.checks)} if command.checks else {}
    needs = {"needs": msgspec.to_builtins(command.needs)} if command.needs != Needs() else {}
    return json.dumps(
        ({"inputs": inputs} if inputs else {})
        | {
            "form": command.form,
            "words": words,
            "axes": sorted(command.names),
            "outputs": sorted(_cut(mark) for mark in command.outputs),
            "shell": command.shell if command.form == "line" else "",
            "here": command.here,
            **checks,
            **needs,
        },
        sort_keys=True,
        ensure_ascii=False,
    )


def run_name(words: Sequence[str]) -> str:
    """Name a run after its program: the base name without ending, safe as a folder's name."""
    first = words[0].split() if len(words) == 1 else list(words[:1])
    plain = [word for word in first if not re.fullmatch(r"\w+=.*", word)] or ["run"]
    base = posixpath.basename(plain[0].strip("'\"").rstrip("/"))
    stem = posixpath.splitext(base)[0] if not base.startswith(".") else base
    return safe_name(stem)


def safe_name(text: str) -> str:
    """Make a name out of any text: safe as a folder's name, and no id of a run."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:NAME_LENGTH]
    return safe if safe and not safe.isdigit() and safe != "last" else "run"


def task_key(names: Sequence[str], values: Sequence[str], rep: int, k: int) -> str:
    """Write a task's identity within its run: its values by name, its replicate, its k.

    Neighbours in a sweep get neighbouring keys, so that a million of them go into an index page by
    page; only what is long is cut and digested.
    """
    ordered = [value for _, value in sorted(zip(names, values, strict=True))]
    text = msgspec.json.encode(ordered).decode()
    if len(text) > KEY_LENGTH:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16)
        text = f"{text[: KEY_LENGTH // 2]}#{digest.hexdigest()}"
    return f"{text} {rep} {k}"


def settings(names: Sequence[str], values: Sequence[str]) -> str:
    """Write names and values so that no two settings are alike, whatever order the axes stand in."""
    return msgspec.json.encode(sorted(zip(names, values, strict=True))).decode()


def seed(setting: str, rep: int, k: int) -> int:
    """Give 31 bits: the same for ever for the same task, never shared by its replicates."""
    base = hashlib.blake2b(f"{k}\0{setting}".encode(), digest_size=8).digest()
    return (int.from_bytes(base, "big") + rep) & 0x7FFFFFFF


def _cut(part: Segment) -> str:
    match part:
        case Text(text=text):
            return text.replace("{", "{{").replace("}", "}}")
        case Ref():
            parts = "".join(f".{name}" for name in part.parts)
            form = ":raw" if part.raw else f":{part.format}" if part.format else ""
            return f"{{{part.name}{parts}{form}}}"
        case Mark():
            inside = "".join(_cut(piece) for piece in part.pattern)
            return f"{{{'<' if part.kind == 'in' else '>'}{inside}}}"
        case Shipped(path=path):
            return path
        case Line(name=name, list=path):
            return f"{{{name}=@{path}}}"
