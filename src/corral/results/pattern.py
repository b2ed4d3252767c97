"""Is what a user gave a regular expression?"""

from __future__ import annotations

import re
import warnings

from corral.errors import UsageError


def compiled(pattern: str, what: str, *, hint: str) -> re.Pattern[str]:
    """Make it ready; ``^`` and ``$`` are those of each line.

    Raises:
        UsageError: It is none; ``what`` is where it stands.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of a set in a set
            return re.compile(pattern, re.MULTILINE)
    except re.error as error:
        raise UsageError(
            f"{what}: is no regular expression: {error}",
            hint=hint,
            text=pattern,
            column=1 + (error.pos or 0),
        ) from error
    except (RecursionError, OverflowError) as error:
        raise UsageError(f"{what}: is no regular expression: {error}", hint=hint) from error
