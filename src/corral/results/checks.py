"""Is a reported result valid? Verdicts on what came home; each check is one function."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from corral.model.base import Frozen
from corral.results.paths import matches
from corral.results.source import CHUNK

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from corral.model.task import ResultFile


class Output(Protocol):
    """A declared output, with the task's values in its name."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...


class Verdict(Frozen, frozen=True, kw_only=True):
    """What a check says."""

    ok: bool
    reason: str = ""  # why it is not, for people


def declared(outputs: Iterable[Output], files: Iterable[ResultFile]) -> Verdict:
    """Ask for all declared files."""
    reason = missing(
        [(output.name, output.kind) for output in outputs], [file.name for file in files]
    )
    return Verdict(ok=not reason, reason=reason)


def verify(path: Path, *, sha256: str, size: int) -> Verdict:
    """Ask for exactly these bytes.

    Raises:
        OSError: The file cannot be read: no verdict.
    """
    found = path.stat().st_size
    if found != size:
        return Verdict(ok=False, reason=f"{found} bytes came instead of {size}")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(CHUNK):
            digest.update(data)
    if digest.hexdigest() != sha256:
        return Verdict(ok=False, reason="other bytes came than were sent")
    return Verdict(ok=True)


def missing(outputs: Sequence[tuple[str, str]], names: Collection[str]) -> str:
    """Say which declared outputs did not come; "" if all did.

    ``outputs`` are (name, kind): a ``file`` must be there, a ``glob`` must match at least one
    file, a ``dir`` must hold at least one.
    """
    came = frozenset(names)
    absent = [name for name, kind in outputs if not _came(name, kind, came)]
    if not absent:
        return ""
    return f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing"


def _came(name: str, kind: str, names: frozenset[str]) -> bool:
    if kind == "glob":
        return any(matches(found, name) for found in names)
    if kind == "dir":
        return any(name == "." or found.startswith(f"{name}/") for found in names)
    return name in names
