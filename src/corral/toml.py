"""How TOML that people write is read: there is a table, or one kind of error, whatever stands in it.

`tomllib` alone lets lists in lists in lists end in a RecursionError, and takes whole numbers of any
length, of which Python cannot write the longest.
"""

from __future__ import annotations

import tomllib
from typing import Any

TOMLDecodeError = tomllib.TOMLDecodeError
DEEPEST = 64  # tables and lists inside one another
NUMBERS = range(-(1 << 63), 1 << 63)  # what TOML asks of a reader


def loads(text: str) -> dict[str, Any]:
    """Read TOML.

    Raises:
        TOMLDecodeError: It is none, or cannot be held.
    """
    try:
        found = tomllib.loads(text)
    except TOMLDecodeError:
        raise
    except RecursionError as error:
        raise TOMLDecodeError("Too deep to be read") from error
    except ValueError as error:  # of digits without end
        raise TOMLDecodeError("A number that is too large") from error
    level, depth = [found], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise TOMLDecodeError("Too deep to be read")
        level = [inner for value in level for inner in _inside(value)]
        if any(isinstance(value, int) and value not in NUMBERS for value in level):
            raise TOMLDecodeError("A number that is too large")
    return found


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
