"""One object among the others: what may not be written or deleted because of them.

Not for what may never be written or deleted, which is ``korat.core.model.builtin``'s.
Source: libcalico-go/lib/clientv3 (tiers, policies, pools, profiles).
"""

from collections.abc import Iterable, Sequence

from korat.core.errors import Problem
from korat.core.model import builtin
from korat.core.model.config import IPPool
from korat.core.model.ipam import IPAMBlock
from korat.core.model.label import AZURE_SUBNETS, NAMESPACE_PROFILE_PREFIX
from korat.core.model.pod import Pod
from korat.core.model.policy import DEFAULT_TIER, GlobalNetworkPolicy, NetworkPolicy, Profile, Tier
from korat.core.model.resource import Resource
from korat.core.model.staged import StagedGlobalNetworkPolicy, StagedNetworkPolicy
from korat.core.model.validate.faults import Faults
from korat.core.net.address import Prefix

_SHOWN = 3
#: The kinds that name a tier; Kubernetes' kinds are in one of those that are always there.
_TIERED = (NetworkPolicy, GlobalNetworkPolicy, StagedNetworkPolicy, StagedGlobalNetworkPolicy)


def against(resource: Resource, existing: Iterable[Resource]) -> list[Problem]:
    """What forbids writing the object beside ``existing``, which may hold its present state."""
    faults = Faults(resource.title)
    match resource:
        case (
            NetworkPolicy()
            | GlobalNetworkPolicy()
            | StagedNetworkPolicy()
            | StagedGlobalNetworkPolicy()
        ):
            _tier_exists(faults, resource.spec.tier or DEFAULT_TIER, existing)
        case IPPool():
            _pool(faults, resource, existing)
        case _:
            pass
    return faults.found


def deletable(resource: Resource, existing: Iterable[Resource]) -> list[Problem]:
    """What forbids deleting an object that is not built in."""
    faults = Faults(resource.title)
    match resource:
        case Tier() if builtin.may_delete(resource.key):
            _tier_unused(faults, resource, existing)
        case Profile():
            _namespace_empty(faults, resource, existing)
        case _:
            pass
    return faults.found


def _tier_exists(faults: Faults, tier: str, existing: Iterable[Resource]) -> None:
    known = set(builtin.TIERS)
    known.update(other.metadata.name for other in existing if isinstance(other, Tier))
    if tier not in known:
        rule = f"there is no such tier; create it first, or use one of {', '.join(sorted(known))}"
        faults.add("spec.tier", tier, rule)


def _tier_unused(faults: Faults, tier: Tier, existing: Iterable[Resource]) -> None:
    policies = sorted(
        other.title
        for other in existing
        if isinstance(other, _TIERED) and other.spec.tier == tier.metadata.name
    )
    if policies:
        rule = f"still has {len(policies)} policies ({_few(policies)}); delete them first"
        faults.add("", None, rule)


def _namespace_empty(faults: Faults, profile: Profile, existing: Iterable[Resource]) -> None:
    """A namespace with pods stays: without its profile they could talk to nobody."""
    name = profile.metadata.name
    if not name.startswith(NAMESPACE_PROFILE_PREFIX):
        return
    namespace = name.removeprefix(NAMESPACE_PROFILE_PREFIX)
    inside = (o.metadata for o in existing if isinstance(o, Pod))
    pods = sorted(meta.name for meta in inside if meta.namespace == namespace)
    if pods:
        what = f"still has {len(pods)} pods ({_few(pods)})"
        rule = f"{what}; delete them first, or with the same files"
        faults.found.append(Problem(f"Namespace {namespace}", "", None, rule))


def _few(names: Sequence[str]) -> str:
    """Enough of them to know where to look."""
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _pool(faults: Faults, pool: IPPool, existing: Iterable[Resource]) -> None:
    pools = [other for other in existing if isinstance(other, IPPool)]
    own = next((other for other in pools if other.key == pool.key), None)
    if own is not None:
        _unchanged(faults, pool, own)
        return
    cidr = _cidr(pool)
    for other in pools:
        theirs = _cidr(other)
        if cidr and theirs and cidr.overlaps(theirs):
            rule = f"overlaps {theirs} of {other.title}"
            faults.add("spec.cidr", pool.spec.cidr, rule)
    if cidr and not pool.spec.disabled:
        _no_subnet(faults, cidr, existing)
    if cidr:
        _no_foreign_blocks(faults, cidr, pool, existing)


def _no_foreign_blocks(
    faults: Faults, cidr: Prefix, pool: IPPool, existing: Iterable[Resource]
) -> None:
    """Blocks that an earlier pool of another block size has left behind are no blocks of this."""
    left = sorted(
        other.spec.cidr
        for other in existing
        if isinstance(other, IPAMBlock)
        and (found := _cidr(other)) is not None
        and cidr.overlaps(found)
        and found.length != pool.spec.block_size
    )
    if left:
        rule = (
            f"{len(left)} blocks of another size lie within the pool ({_few(left)}); use their "
            "size, or delete the pods that have addresses there and release the blocks first"
        )
        faults.add("spec.blockSize", pool.spec.block_size, rule)


def _no_subnet(faults: Faults, cidr: Prefix, existing: Iterable[Resource]) -> None:
    """Where Azure gives addresses to network interfaces, a pool would give them out again."""
    for subnet in _azure_subnets(existing):
        if cidr.overlaps(subnet):
            rule = (
                f"overlaps the subnet {subnet} of the virtual network, where Azure gives addresses "
                "to network interfaces; choose a range outside its subnets"
            )
            faults.add("spec.cidr", str(cidr), rule)


def _azure_subnets(existing: Iterable[Resource]) -> list[Prefix]:
    """The subnets as the route controller has told them; none before it has."""
    for other in existing:
        if other.key == builtin.INFORMATION:
            text = other.metadata.annotations.get(AZURE_SUBNETS, "")
            return [Prefix.parse(part) for part in text.split(",") if part]
    return []


def _unchanged(faults: Faults, pool: IPPool, own: IPPool) -> None:
    """What of a pool is fixed for its life, since addresses were given out by it."""
    if _cidr(pool) != _cidr(own):
        rule = f"may not change, it is {own.spec.cidr}; make a new pool and disable this one"
        faults.add("spec.cidr", pool.spec.cidr, rule)
    if own.spec.block_size and pool.spec.block_size != own.spec.block_size:
        rule = f"may not change, it is {own.spec.block_size}; make a new pool"
        faults.add("spec.blockSize", pool.spec.block_size, rule)
    if ("LoadBalancer" in pool.spec.allowed_uses) != ("LoadBalancer" in own.spec.allowed_uses):
        faults.add("spec.allowedUses", None, "LoadBalancer may not be added or taken away later")


def _cidr(own: IPPool | IPAMBlock) -> Prefix | None:
    try:
        return Prefix.parse(own.spec.cidr)
    except ValueError:
        return None
