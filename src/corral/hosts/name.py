"""Is a text the name of one host, and what are its parts: ``user@node01:2222``?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from corral.errors import UsageError
from corral.model.host import HostSpec

if TYPE_CHECKING:
    from typing import NoReturn

LONGEST = 255  # characters of a name; the domain name system takes no more either
_PARTS = re.compile(r"(?:(.*)@)?(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::(.*))?", re.DOTALL)
_HOST = re.compile(r"\w[\w.-]*")
_USER = re.compile(r"[\w.+\\@][\w.+\\@-]*")
_ZONE = re.compile(r"\w[\w.-]*")  # after % in an address; ssh hands it to shells
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_STRANGE = re.compile(r"[^\w.@:\[\]-]")


def parse(text: str) -> HostSpec:
    """Read one name; the spec's name is the text itself, so equal hosts are equal texts.

    Raises:
        UsageError: It can be no host's; ``column`` is the place in ``text``.
    """
    match = _PARTS.fullmatch(text)
    if match is None or len(text) > LONGEST:
        _refuse(text)
    user, address, host, port = match.groups()
    if user is not None and not _USER.fullmatch(user):
        _refuse_part(text, user, 0, "user")
    if address is not None:
        _check_address(text, address, match.start(2))
        host = address
    elif not _HOST.fullmatch(host) or ".." in host:
        _refuse_part(text, host, match.start(3), "host")
    if port is not None and (not _PORT.fullmatch(port) or int(port) > 65535):
        _refuse_port(text, match.start(4))
    return HostSpec(name=text, host=host, user=user, port=None if port is None else int(port))


def _refuse(text: str) -> NoReturn:
    if len(text) > LONGEST:
        raise UsageError(
            f"a name of {len(text)} characters is no host's",
            hint=f"at most {LONGEST}",
            text=text,
            column=1,
        )
    if text.count(":") > 1 and "[" not in text:
        _refuse_port(text, text.index(":") + 1)
    raise UsageError(
        f"{text!r} is no host's name",
        hint="write node1, user@node1:2222 or [2001:db8::1]:22",
        text=text,
        column=1,
    )


def _refuse_part(text: str, part: str, start: int, what: str) -> NoReturn:
    """Say what is wrong with a user or a host."""
    if not part and text.count(":") > 1:
        _refuse_port(text, text.index(":") + 1)
    place, hint = start, "letters, digits and . _ - make a name; a comma divides names"
    if not part:
        message = f"the {what} is missing"
        hint = "write node1 or user@node1:2222"
    elif part.startswith("-"):
        message = f"a {what} does not start with -"
        hint = "options go before the set"
    elif ".." in part:
        place = start + part.index("..")
        message = "`..` is a range in braces or of addresses"
        hint = "write node{1..5}, node[1-5] or 10.0.0.5..7"
    elif strange := _STRANGE.search(part):
        place = start + strange.start()
        message = f"{strange[0]!r} is in no {what}'s name"
    else:
        message = f"{part!r} is no {what}'s name"
    raise UsageError(message, hint=hint, text=text, column=place + 1)


def _refuse_port(text: str, start: int) -> NoReturn:
    if text.count(":") > 1 and "[" not in text:
        raise UsageError(
            "two colons make an IPv6 address",
            hint="write it in brackets: [2001:db8::1] or [2001:db8::1]:22",
            text=text,
            column=start,
        )
    raise UsageError(f"{text[start:]!r} is no port", hint="1 to 65535", text=text, column=start + 1)


def _check_address(text: str, address: str, start: int) -> None:
    import ipaddress

    _, percent, zone = address.partition("%")
    try:
        ipaddress.IPv6Address(address)
        if percent and not _ZONE.fullmatch(zone):
            raise ValueError(f"{zone!r} is no name of a network device")
    except ValueError as error:
        raise UsageError(
            f"[{address}] is no IPv6 address",
            hint="write [2001:db8::1] or [fe80::1%eth0]",
            text=text,
            column=start + 1,
        ) from error
