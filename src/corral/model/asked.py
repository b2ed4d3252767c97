"""What the command line asks of a living master, and what it is answered."""

from __future__ import annotations

from typing import Annotated

import msgspec

from corral.model.base import Frozen
from corral.model.run import Submission

Offset = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]  # bytes
Row = Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
Offsets = tuple[Offset | None, Offset | None]  # in stdout and stderr; None: not that one


class Submit(Frozen, frozen=True, kw_only=True):
    """A command to take in; ``environment`` is what its tasks on this machine start from (`env -0`)."""

    submission: Submission
    environment: bytes


class Change(Frozen, frozen=True, kw_only=True):
    """The tasks that a verb is about, by row; None = the whole run."""

    tasks: list[Row] | None = None


class Serve(Frozen, frozen=True, kw_only=True):
    """See to it that a run which may go on has agents."""

    environment: bytes


class Follow(Frozen, frozen=True, kw_only=True):
    """Read on in what a running attempt writes; answered with `Followed` when there is more."""

    ticket: str
    offsets: Offsets


class Followed(Frozen, frozen=True, kw_only=True):
    """What has come beyond the offsets; nothing of both after a while without news."""

    stdout: bytes = b""
    stderr: bytes = b""


class Collected(Frozen, frozen=True, kw_only=True):
    """What a results folder holds now."""

    done: int
    missing: int


class Problem(Frozen, frozen=True, kw_only=True):
    """An error, in the one shape that all have."""

    error: str
    hint: str | None
    exit_code: int
