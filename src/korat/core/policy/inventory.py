"""The cluster as policy sees it, kept up to date: stored objects in, changed entities out.

Says the same as ``Cluster.build`` of all objects, and holds of each no more than that needs: a
hundred thousand endpoints share the labels that they have in common. What a profile lends is worked
out again for its endpoints when it changes. An object that cannot be read is left out and named.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from korat.core.errors import Problem
from korat.core.model.builtin import DEFAULT_ALLOW
from korat.core.model.endpoint import GlobalNetworkSet, NetworkSet, WorkloadEndpoint
from korat.core.model.host import HostEndpoint
from korat.core.model.key import Key
from korat.core.model.kind import KINDS
from korat.core.model.policy import Profile as ProfileResource
from korat.core.model.policy import Tier as TierResource
from korat.core.model.resource import Resource
from korat.core.model.service import EndpointSlice
from korat.core.pmap import PMap
from korat.core.policy.cluster import Cluster, by_service, of_workloads, tiers_of
from korat.core.policy.entity import AddressSet, Endpoint, Policy, Profile, Slice
from korat.core.policy.outcome import PolicySet
from korat.core.policy.read import (
    endpoint_of,
    host_of,
    inherited,
    own_labels,
    policy_of,
    profile_of,
    set_labels,
    set_of,
    slice_of,
)
from korat.core.policy.written import written_policy

Labels = Mapping[str, str]


class Listener(Protocol):
    """Who is told of entities that came, changed, or (None) went."""

    def set_endpoint(self, key: Key, endpoint: Endpoint | None) -> None:
        """An endpoint, with the labels of its profiles."""

    def set_address_set(self, key: Key, group: AddressSet | None) -> None:
        """A network set, with the labels of its namespace."""

    def set_slice(self, key: Key, part: Slice | None) -> None:
        """Some endpoints of a service."""

    def set_policy(self, key: Key, policy: Policy | None) -> None:
        """A policy of any kind, by the key of the object that it is read from."""

    def set_profile(self, name: str, profile: Profile | None) -> None:
        """A profile's rules."""

    def set_tier(self, name: str, order: float | None, *, denies: bool) -> None:
        """A stored tier."""

    def drop_tier(self, name: str) -> None:
        """A tier that is stored no more."""


class _Lot:
    """Endpoints with the same labels of their own and the same profiles: their labels in all."""

    __slots__ = ("key", "labels", "own", "profiles", "uses")

    def __init__(self, key: object, own: Labels, profiles: tuple[str, ...]) -> None:
        self.key = key
        self.own = own
        self.profiles = profiles
        self.labels: Labels = {}
        self.uses = 0


class Inventory:
    """All that policy needs of the stored objects; tells a listener what of it changes."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._lent: dict[str, Labels] = {}
        self._lots: dict[object, _Lot] = {}
        self._lot_of: dict[Key, _Lot] = {}
        self._own: dict[Key, Labels] = {}
        self._endpoints: dict[Key, Endpoint] = {}
        self._hosts: dict[Key, Endpoint] = {}
        self._hosts_of: dict[str, set[Key]] = {}
        self._sets: dict[Key, AddressSet] = {}
        self._slices: dict[Key, Slice] = {}
        self._policies: PMap[Key, Policy] = PMap()
        self._profiles: PMap[str, Profile] = PMap()
        self._tiers: dict[str, TierResource] = {}
        self._parents: dict[Key, tuple[str, ...]] = {}
        self._borrowers: defaultdict[str, set[Key]] = defaultdict(set)
        self._problems: dict[Key, tuple[Problem, ...]] = {}
        self._setters: dict[str, Callable[[Key, Resource | None], None]] = {
            "WorkloadEndpoint": self._set_endpoint,
            "HostEndpoint": self._set_host,
            "NetworkSet": self._set_group,
            "GlobalNetworkSet": self._set_group,
            "EndpointSlice": self._set_slice,
            "Profile": self._set_profile,
            "Tier": self._set_tier,
            **{kind: self._set_policy for kind in KINDS if kind.endswith("NetworkPolicy")},
        }
        self._set_profile(DEFAULT_ALLOW.key, DEFAULT_ALLOW)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is left out or means something else than it says, in the order of keys."""
        return tuple(each for key in sorted(self._problems) for each in self._problems[key])

    @property
    def workloads(self) -> int:
        """How many workload endpoints there are."""
        return len(self._endpoints)

    def set(self, key: Key, resource: Resource | None) -> bool:
        """An object came, changed, or (None) went; False when policy has no use for its kind."""
        change = self._setters.get(key.kind)
        if change is None:
            return False
        self._problems.pop(key, None)
        try:
            change(key, resource)
        except ValueError as error:
            self._problems[key] = (_left_out(key, error),)
            change(key, None)
        return True

    def around(self, local: tuple[Endpoint, ...]) -> "Surroundings":
        """What is known of a node's own endpoints' policies, as a value of this moment."""
        tiers = tuple(self._tiers.values())
        return Surroundings(local, self._policies, self._profiles, tiers, self.workloads)

    def cluster(self) -> Cluster:
        """The whole snapshot; takes as long as there are objects."""
        return Cluster(
            endpoints=tuple(self._endpoints[key] for key in sorted(self._endpoints)),
            sets=tuple(self._sets[key] for key in sorted(self._sets)),
            tiers=tiers_of(self._tiers.values(), of_workloads(self._policies.values())),
            profiles=dict(self._profiles),
            services=by_service(self._slices[key] for key in sorted(self._slices)),
            problems=self.problems,
            hosts=tuple(self._hosts[key] for key in sorted(self._hosts)),
            host_tiers=tiers_of(self._tiers.values(), self._policies.values())
            if self._hosts
            else (),
        )

    def of_hosts(self, node: str) -> Cluster:
        """A node's own host endpoints and what governs them; nobody else is in it."""
        hosts = self._own_hosts(node)
        policies = (p for p in self._policies.values() if _selects(p, hosts))
        return Cluster(
            endpoints=(),
            sets=(),
            tiers=(),
            profiles=self._profiles,
            services={},
            problems=(),
            hosts=tuple(hosts),
            host_tiers=tiers_of(self._tiers.values(), policies) if hosts else (),
        )

    def governs(self, key: Key, node: str) -> bool:
        """Whether an object as it is now has to do with what ``of_hosts`` says."""
        if key in self._hosts:
            return self._hosts[key].node == node
        if node not in self._hosts_of:
            return False
        policy = self._policies.get(key)
        if policy is not None:
            return _selects(policy, self._own_hosts(node))
        if key.kind == "Profile":
            return any(key.name in host.profiles for host in self._own_hosts(node))
        return key.kind == "Tier"

    def _own_hosts(self, node: str) -> list[Endpoint]:
        return [self._hosts[key] for key in sorted(self._hosts_of.get(node, ()))]

    def _set_endpoint(self, key: Key, resource: Resource | None) -> None:
        found: Endpoint | None = None
        lot: _Lot | None = None
        if isinstance(resource, WorkloadEndpoint):
            lot = self._lot(own_labels(resource), resource.spec.profiles)
            try:
                found = endpoint_of(resource, lot.labels)
            except ValueError:
                self._forget_unused(lot)
                raise
        before = self._lot_of.pop(key, None)
        if lot is not None and found is not None:
            lot.uses += 1
            self._lot_of[key] = lot
            self._endpoints[key] = found
            self._borrow(key, lot.profiles)
        else:
            self._endpoints.pop(key, None)
        if before is not None:
            before.uses -= 1
            self._forget_unused(before)
            if lot is None or lot.profiles != before.profiles:
                self._repay(key, before.profiles)
                self._borrow(key, lot.profiles if lot is not None else ())
        self._listener.set_endpoint(key, found)

    def _lot(self, own: Labels, profiles: tuple[str, ...]) -> _Lot:
        key = frozenset(own.items()), profiles
        lot = self._lots.get(key)
        if lot is None:
            lot = self._lots[key] = _Lot(key, own, profiles)
            lot.labels = inherited(own, profiles, self._lent)
        return lot

    def _forget_unused(self, lot: _Lot) -> None:
        if not lot.uses:
            del self._lots[lot.key]

    def _set_host(self, key: Key, resource: Resource | None) -> None:
        found = host_of(resource, self._lent) if isinstance(resource, HostEndpoint) else None
        before = self._hosts.pop(key, None)
        if before is not None:
            del self._own[key]
            self._repay(key, before.profiles)
            self._hosts_of[before.node].discard(key)
            if not self._hosts_of[before.node]:
                del self._hosts_of[before.node]
        if found is not None and isinstance(resource, HostEndpoint):
            self._hosts[key] = found
            self._hosts_of.setdefault(found.node, set()).add(key)
            self._own[key] = resource.metadata.labels
            self._borrow(key, found.profiles)
        self._listener.set_endpoint(key, found and owner_of(found))

    def _set_group(self, key: Key, resource: Resource | None) -> None:
        found: AddressSet | None = None
        if isinstance(resource, NetworkSet | GlobalNetworkSet):
            found = set_of(resource, self._lent)
        if self._sets.pop(key, None) is not None:
            del self._own[key]
            self._repay(key, self._parents.pop(key))
        if found is not None and isinstance(resource, NetworkSet | GlobalNetworkSet):
            self._sets[key] = found
            self._own[key], self._parents[key] = set_labels(resource)
            self._borrow(key, self._parents[key])
        self._listener.set_address_set(key, found)

    def _set_slice(self, key: Key, resource: Resource | None) -> None:
        found = slice_of(resource) if isinstance(resource, EndpointSlice) else None
        self._slices.pop(key, None)
        if found is not None:
            self._slices[key] = found
        self._listener.set_slice(key, found)

    def _set_policy(self, key: Key, resource: Resource | None) -> None:
        written = written_policy(resource) if resource is not None else None
        found = None
        if written is not None:
            found = policy_of(written)
        if written is not None and written.problems:
            self._problems[key] = written.problems
        self._policies = self._policies.changed({key: found})
        of_workloads = found is not None and PolicySet.NORMAL in found.sets
        self._listener.set_policy(key, found if of_workloads else None)

    def _set_tier(self, key: Key, resource: Resource | None) -> None:
        if isinstance(resource, TierResource):
            self._tiers[key.name] = resource
            denies = resource.spec.default_action != "Pass"
            self._listener.set_tier(key.name, resource.spec.order, denies=denies)
        else:
            self._tiers.pop(key.name, None)
            self._listener.drop_tier(key.name)

    def _set_profile(self, key: Key, resource: Resource | None) -> None:
        """A profile lends its labels even if its rules cannot be read."""
        if resource is None and key == DEFAULT_ALLOW.key:
            resource = DEFAULT_ALLOW
        name = key.name
        lent = resource.spec.labels_to_apply if isinstance(resource, ProfileResource) else None
        if lent != self._lent.get(name):
            self._lend(name, lent)
        found = None
        try:
            found = profile_of(resource) if isinstance(resource, ProfileResource) else None
        except ValueError as error:
            self._problems[key] = (_left_out(key, error),)
        self._profiles = self._profiles.changed({name: found})
        self._listener.set_profile(name, found)

    def _lend(self, name: str, labels: Labels | None) -> None:
        """A profile's labels are others now, and so are those of all who borrow them."""
        if labels is None:
            self._lent.pop(name, None)
        else:
            self._lent[name] = labels
        for lot in self._lots.values():
            if name in lot.profiles:
                lot.labels = inherited(lot.own, lot.profiles, self._lent)
        for key in tuple(self._borrowers.get(name, ())):
            lot_of = self._lot_of.get(key)
            if lot_of is not None:
                endpoint = replace(self._endpoints[key], labels=lot_of.labels)
                self._endpoints[key] = endpoint
                self._listener.set_endpoint(key, endpoint)
            elif key in self._hosts:
                host = self._hosts[key]
                labels_now = inherited(self._own[key], host.profiles, self._lent)
                host = self._hosts[key] = replace(host, labels=labels_now)
                self._listener.set_endpoint(key, owner_of(host))
            else:
                now = inherited(self._own[key], self._parents[key], self._lent)
                group = self._sets[key] = replace(self._sets[key], labels=now)
                self._listener.set_address_set(key, group)

    def _borrow(self, key: Key, profiles: tuple[str, ...]) -> None:
        for name in profiles:
            self._borrowers[name].add(key)

    def _repay(self, key: Key, profiles: tuple[str, ...]) -> None:
        for name in profiles:
            self._borrowers[name].discard(key)
            if not self._borrowers[name]:
                del self._borrowers[name]


def _selects(policy: Policy, hosts: Iterable[Endpoint]) -> bool:
    return any(policy.selector.matches(host.labels) for host in hosts)


def owner_of(host: Endpoint) -> Endpoint:
    """A host endpoint as rules of workloads see it: addresses with labels, and no workload."""
    return replace(host, node="", interface="")


def _left_out(key: Key, error: ValueError) -> Problem:
    return Problem(str(key), "", None, f"is left out: {error}")


@dataclass(frozen=True, repr=False)
class Surroundings:
    """A node's own endpoints and everybody's policies at one moment; safe in any thread."""

    local: tuple[Endpoint, ...]
    policies: Mapping[Key, Policy]
    profiles: Mapping[str, Profile]
    stored_tiers: tuple[TierResource, ...]
    workloads: int

    @cached_property
    def cluster(self) -> Cluster:
        """All policies in order, with no other endpoints than the node's own."""
        return Cluster(
            endpoints=tuple(sorted(self.local, key=lambda each: each.key)),
            sets=(),
            tiers=tiers_of(self.stored_tiers, of_workloads(self.policies.values())),
            profiles=self.profiles,
            services={},
            problems=(),
            host_tiers=tiers_of(self.stored_tiers, self.policies.values()),
        )
