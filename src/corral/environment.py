"""What do tasks on this machine start from? The environment of who asked for them, byte for byte."""

from __future__ import annotations

import os


def own() -> bytes:
    """Give this process's environment as ``env -0`` writes it: a variable need not be text."""
    return b"".join(b"%s=%s\0" % pair for pair in os.environb.items())
