"""What can go wrong, and what the user is told: one root, each error with its way out.

``str(error)`` is the first line (what, to what, where), ``error.hint`` the second (what to do).
``cli.main`` is the only printer; nothing else in corral writes an error to a terminal.
"""

from __future__ import annotations


class CorralError(Exception):
    """Anything corral tells a user about; the root of all errors below."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CorralError):
    """What was typed or written in a file cannot be meant; nothing was started.

    ``text`` is the line the error stands in, ``column`` the 1-based place in it that a caret
    points at (both None when there is no such place).
    """

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        text: str | None = None,
        column: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.text = text
        self.column = column


class NoHostError(CorralError):
    """No host can be used, so nothing ran."""

    exit_code = 3


class MasterError(CorralError):
    """The master of the state folder does not answer, or refuses."""

    exit_code = 4


class StoreError(CorralError):
    """The database cannot be used: foreign, corrupt, of a newer version, or the disk is full."""

    exit_code = 4


class NotFoundError(UsageError):
    """No run, task or host answers to the name that was given."""


class StateError(UsageError):
    """The verb makes no sense for the state that the run or task is in."""
