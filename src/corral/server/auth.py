"""Who may ask: never nobody in particular. The command line proves that it can read the secret."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from corral.protocol import user_token

if TYPE_CHECKING:
    from collections.abc import Iterable


def is_user(headers: Iterable[tuple[bytes, bytes]], secret: bytes, address: str) -> bool:
    """Say whether a request comes from somebody who may read the state folder.

    The ``Host`` must be the address that was announced: a page in a browser, however it came by
    the name, cannot send that together with the token.
    """
    found = dict(headers)
    if found.get(b"host", b"").decode("latin-1") != address or b"origin" in found:
        return False
    token = found.get(b"authorization", b"").decode("latin-1").removeprefix("Bearer ")
    return hmac.compare_digest(token, user_token(secret))
