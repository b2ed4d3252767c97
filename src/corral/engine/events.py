"""What was decided, on record: one row per decision, with the tickets it was about."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.ids import RunId
    from corral.model.event import EventKind
    from corral.store.base import Tx


def add(
    tx: Tx,
    now: float,
    kind: EventKind,
    *,
    run: RunId | None = None,
    name: str = "",
    host: str = "",
    tickets: Sequence[str] = (),
    text: str = "",
) -> None:
    """Append an event in the same transaction as what it tells of."""
    tx.insert("event_add", now, kind, run, name, host, json.dumps(list(tickets)), text)
