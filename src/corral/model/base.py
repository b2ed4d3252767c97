"""The base of every struct that is stored, sent or scheduled.

Subclasses repeat ``frozen=True, kw_only=True``: msgspec takes the latter for a class's own fields
only, type checkers the former.
"""

from __future__ import annotations

import msgspec


class Frozen(msgspec.Struct, frozen=True, kw_only=True):
    """A value that never changes; make another with ``msgspec.structs.replace``."""
