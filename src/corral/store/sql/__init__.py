"""Where the SQL stands: named queries and numbered migrations, loaded by name.

A query is ``-- name --``, a sentence, the SQL. Query files are read once per process.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_COMMENT = re.compile(r"--.*")
_HEAD = re.compile(r"^-- (\w+) --$", re.MULTILINE)


@cache
def queries(database: str) -> Mapping[str, str]:
    """Load ``queries.sql`` and what only ``database`` needs; a later file overrides a name."""
    found: dict[str, str] = {}
    for name in ("queries.sql", f"queries.{database}.sql"):
        file = resources.files(__name__).joinpath(name)
        if not file.is_file():
            continue
        parts = _HEAD.split(file.read_text(encoding="utf-8"))
        found.update(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True))
    return found


class Migration(NamedTuple):
    """A step from one version of the tables to the next."""

    number: int  # the version it leads to
    script: str
    digest: str  # of what it does: comments and blanks do not count


@cache
def migrations(database: str) -> list[Migration]:
    """List the migrations in order."""
    folder = resources.files(__name__).joinpath("migrations")
    files = [file for file in folder.iterdir() if file.name.endswith(f".{database}.sql")]
    return sorted(
        _migration(int(file.name[:4]), file.read_text(encoding="utf-8")) for file in files
    )


def _migration(number: int, script: str) -> Migration:
    plain = " ".join(_COMMENT.sub("", script).split())
    return Migration(number, script, hashlib.sha256(plain.encode()).hexdigest()[:32])
