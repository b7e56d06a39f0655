"""What is to be taken away: one attachment of a DEL, or all that a GC finds without an owner.

Also what holds of every removal, whoever made the link: one that fails keeps none of the others
back, and connections that are not forgotten do not hold it up. Not for taking a workload's parts
away; ``korat.agent.workload`` and ``korat.agent.chained`` do.
Source: CNI specification 1.1.0, "GC".
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import structlog

from korat.agent.address_source import AddressRequest, IpamCall
from korat.agent.workload_endpoint import key_of
from korat.agent.workload_request import Request
from korat.core.errors import KoratError
from korat.core.ipam.hostlocal import Owner
from korat.core.model.endpoint import WorkloadEndpoint
from korat.core.model.key import Key
from korat.core.net.address import Addr

log = structlog.get_logger(__name__)

T = TypeVar("T")

# The first word of the alias of a link that korat made.
_MARK = "korat"


@dataclass(frozen=True, slots=True)
class Removal:
    """One attachment to take away: whose addresses they are, and where its other parts may be.

    ``host_name`` is the link that it should have, empty for none; an alias tells of another.
    """

    addresses: AddressRequest
    host_name: str
    endpoints: tuple[Key, ...]

    @property
    def owner(self) -> Owner:
        """Whose it is."""
        return self.addresses.owner

    @property
    def alias(self) -> str:
        """What its link carries."""
        return alias_of(self.addresses.network, self.owner)


def of_request(request: Request, node_name: str, host_name: str) -> Removal:
    """What a DEL, or an ADD that failed, takes away."""
    key = key_of(request, node_name)
    return Removal(addresses_of(request, request.owner), host_name, (key,))


def addresses_of(request: Request, owner: Owner) -> AddressRequest:
    """Whose addresses a request is about, with what their source needs to let go of them."""
    config, env = request.config, request.env
    call = IpamCall(request.whole, env.path, env.netns, env.args)
    return AddressRequest(config.name, config.ipam, owner, call=call)


def stale(
    request: Request,
    aliases: Mapping[str, str],
    holders: Iterable[Owner],
    endpoints: Iterable[WorkloadEndpoint],
) -> Iterator[Removal]:
    """What a GC takes away, from the node's links, its addresses and its endpoints.

    An endpoint does not say its network; it goes only when no link of any network has its
    container. Of a holder whose interface is not known any interface of his container counts.
    """
    config = request.config
    valid = {Owner(a.container_id, a.ifname) for a in request.attachments}
    links = {owner_of(alias): (alias, name) for name, alias in aliases.items()}
    ours = {
        owner: name
        for owner, (alias, name) in links.items()
        if owner is not None and alias == alias_of(config.name, owner)
    }
    alive = {owner.container_id for owner in (*valid, *(links.keys() - ours.keys())) if owner}
    orphans = {
        Owner(found.spec.container_id, found.spec.endpoint): found.key
        for found in endpoints
        if found.spec.container_id not in alive
    }
    wanted = {owner.container_id for owner in valid}
    known = {holder for holder in holders if holder.ifname or holder.container_id not in wanted}
    for owner in sorted({*ours, *known, *orphans} - valid):
        keys = (orphans[owner],) if owner in orphans else ()
        yield Removal(addresses_of(request, owner), ours.get(owner, ""), keys)


def remove_each(gone: Iterable[T], remove: Callable[[T], None]) -> None:
    """Take all of them away.

    Raises:
        KoratError: the first one that could not be; the others were.
    """
    failures = []
    for each in gone:
        try:
            remove(each)
        except KoratError as error:
            failures.append(error)
    if failures:
        raise failures[0]


def undo(request: Request, remove: Callable[[], None]) -> None:
    """Take away what a failed ADD left; what cannot be, the runtime's DEL will."""
    try:
        remove()
    except KoratError as error:
        log.warning("a failed ADD is not undone", subject=request.subject, error=str(error))


def forget_connections(
    forget: Callable[[Iterable[Addr]], int], addrs: Iterable[Addr], whose: object
) -> None:
    """Delete the tracked connections of addresses that have no workload any more."""
    try:
        forget(addrs)
    except KoratError as error:
        log.warning("connections are not forgotten", whose=str(whose), error=str(error))


def alias_of(network: str, owner: Owner) -> str:
    """What a link carries, so that it is known whose it is."""
    return " ".join((_MARK, network, *owner))


def owner_of(alias: str) -> Owner | None:
    """Whose link it is; None for links that korat did not make."""
    match alias.split(" "):
        case [mark, _, container_id, ifname] if mark == _MARK:
            return Owner(container_id, ifname)
        case _:
            return None
