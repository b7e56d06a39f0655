"""What an allocation has to know before it begins, in one read of few objects.

Settings, pools, reservations, the labels of the node and of the namespace, and the host's own
claims; never anything of other hosts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from korat.core.ipam.draw import Holder
from korat.core.ipam.pool import WORKLOAD, Asking, Pool, choose, pools_of, reserved, selects_node
from korat.core.ipam.request import Seen, Steps, read
from korat.core.ipam.setting import SETTING_KEYS, Settings, settings_in
from korat.core.model.config import IPPool
from korat.core.model.endpoint import Node
from korat.core.model.ipam import BlockAffinity, IPReservation, affinities_of, owner_of_host
from korat.core.model.key import Key
from korat.core.model.kubernetes.profile import namespace_profile_name
from korat.core.model.label import NAMESPACE_PREFIX
from korat.core.model.policy import Profile
from korat.core.net.address import Addr, Family, Prefix
from korat.core.net.interval import IntervalSet


@dataclass(frozen=True, slots=True)
class Demand:
    """Who wants how many addresses.

    ``pools`` are names or CIDRs of the only ones to take from; ``max_blocks`` 0 is no limit of
    the asker's own.
    """

    host: str
    family: Family
    number: int = 1
    holder: Holder = field(default_factory=Holder)
    use: str = WORKLOAD
    namespace: str = ""
    pools: tuple[str, ...] = ()
    max_blocks: int = 0

    @property
    def owner(self) -> str:
        """The host as blocks name it."""
        return owner_of_host(self.host)


@dataclass(frozen=True, slots=True)
class Own:
    """One of the host's claims, and whether a pool that may be used has it."""

    affinity: BlockAffinity
    cidr: Prefix
    is_usable: bool
    #: Whether some pool has it that is for this node, whatever it is for.
    is_at_home: bool


@dataclass(frozen=True, slots=True)
class View:
    """What an allocation sees."""

    settings: Settings
    pools: tuple[Pool, ...]
    reasons: tuple[str, ...]
    withheld: IntervalSet
    own: tuple[Own, ...]

    def is_reserved(self, addr: Addr) -> bool:
        """Whether nobody gets the address who does not ask for it."""
        return addr.value in self.withheld

    def pool_of(self, cidr: Prefix) -> Pool | None:
        """The pool of those to take from that has a block."""
        return next((pool for pool in self.pools if pool.cidr.covers(cidr)), None)


def look(demand: Demand) -> Steps[View]:
    """Read what the demand depends on."""
    node_key = Key("Node", "", demand.host)
    namespace_key = Key("Profile", "", namespace_profile_name(demand.namespace))
    seen = yield from read(
        *SETTING_KEYS,
        "IPPool",
        "IPReservation",
        node_key,
        *((namespace_key,) if demand.namespace else ()),
        affinities_of(demand.owner),
    )
    node = seen.get(node_key, Node)
    labels = {} if node is None else node.metadata.labels
    pools = pools_of(seen.readable(IPPool))
    asking = Asking(
        family=demand.family,
        use=demand.use,
        node=demand.host,
        node_labels=labels,
        namespace_labels=_namespace_labels(seen.get(namespace_key, Profile)),
        pools=demand.pools,
    )
    choice = choose(pools, asking)
    home = [pool for pool in pools if selects_node(pool, labels)]
    return View(
        settings=settings_in(seen),
        pools=choice.pools,
        reasons=choice.reasons,
        withheld=reserved(seen.readable(IPReservation), demand.family),
        own=_own(seen, demand.family, choice.pools, home),
    )


def _own(seen: Seen, family: Family, usable: tuple[Pool, ...], home: list[Pool]) -> tuple[Own, ...]:
    """The host's claims of a family: those of the first pool first, then by address."""
    found = []
    for affinity in seen.readable(BlockAffinity):
        try:
            cidr = Prefix.parse(affinity.spec.cidr)
        except ValueError:
            continue
        if cidr.family is family:
            rank = next((i for i, p in enumerate(usable) if p.cidr.covers(cidr)), len(usable))
            is_at_home = any(pool.cidr.covers(cidr) for pool in home)
            found.append((rank, cidr, Own(affinity, cidr, rank < len(usable), is_at_home)))
    return tuple(own for _, _, own in sorted(found, key=lambda item: item[:2]))


def _namespace_labels(profile: Profile | None) -> Mapping[str, str]:
    """A namespace's own labels, which its profile hands down to pods with a prefix."""
    if profile is None:
        return {}
    return {
        key.removeprefix(NAMESPACE_PREFIX): value
        for key, value in profile.spec.labels_to_apply.items()
        if key.startswith(NAMESPACE_PREFIX)
    }
