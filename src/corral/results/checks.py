"""Is a reported result valid? Pure verdicts; whoever calls has fetched what they look at."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def missing(declared: Sequence[tuple[str, str]], names: Sequence[str]) -> str:
    """Say which declared outputs did not come; "" if all did.

    ``declared`` are (name, kind): a ``file`` must be there, a ``glob`` must match at least one
    file, a ``dir`` must hold at least one.
    """
    absent = [name for name, kind in declared if not _present(name, kind, names)]
    if not absent:
        return ""
    return f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing"


def _present(name: str, kind: str, names: Sequence[str]) -> bool:
    if kind == "file":
        return name in names
    if kind == "dir":
        return any(found.startswith(f"{name}/") for found in names)
    return any(fnmatch.fnmatchcase(found, name) for found in names)
