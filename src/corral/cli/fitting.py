"""Which of the hosts that were named can take the tasks at all, as far as is known without a login?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.cli.output import talk
from corral.engine import needs as facts_of
from corral.errors import UsageError
from corral.hosts import hostset
from corral.scheduler import needs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from corral.model.host import HostSpec
    from corral.model.needs import Needs, Offer


def fitting(
    needed: Needs, hosts: tuple[HostSpec, ...], *, programs: Sequence[str] = (), quiet: bool
) -> tuple[HostSpec, ...]:
    """Leave out the hosts that can never run such a task, and say why.

    Raises:
        UsageError: None can.
    """
    offers = {spec.name: _offer(spec) for spec in hosts}
    alike: dict[str, list[str]] = {}
    for name, offer in offers.items():
        alike.setdefault(needs.why_never(needed, offer, programs=programs), []).append(name)
    if "" not in alike:
        unmet = needs.unmeetable(needed, offers, programs=programs)
        raise UsageError(unmet.what, hint=unmet.hint)
    fit = set(alike.pop(""))
    for why, names in alike.items():
        if not quiet:
            talk(f"  not on {hostset.fold(names)}: {why}")
    return tuple(spec for spec in hosts if spec.name in fit)


def _offer(spec: HostSpec) -> Offer:
    """Say what is known of a host now: what is configured, and of this machine all."""
    if not spec.is_here:
        return facts_of.offer(spec, None)
    import msgspec

    from corral import agent  # large, and of no use to most commands
    from corral.protocol import Facts

    found = agent.host_facts(".")  # type: ignore[no-untyped-call]  # it is for Python 3.6, too
    return facts_of.offer(spec, msgspec.convert(found, type=Facts))
