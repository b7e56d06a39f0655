"""The cluster as policy sees it: a frozen snapshot with tiers and policies in order.

Built from any mixture of resources; kinds that say nothing about workload policy are passed over.
A resource that cannot be read is left out, as Calico leaves out what fails validation, and named
in ``problems``: an endpoint whose profile is left out is denied what its tiers do not decide.
Source: felix/calc/policy_sorter.go and policy_resolver.go (order, tiers that nobody stored).
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from korat.core.errors import Problem
from korat.core.model.builtin import DEFAULT_ALLOW
from korat.core.model.endpoint import GlobalNetworkSet, NetworkSet, WorkloadEndpoint
from korat.core.model.host import HostEndpoint
from korat.core.model.policy import Profile as ProfileResource
from korat.core.model.policy import Tier as TierResource
from korat.core.model.resource import Resource
from korat.core.model.service import EndpointSlice
from korat.core.net.address import Addr
from korat.core.policy.entity import AddressSet, Endpoint, Policy, Profile, Slice, Tier
from korat.core.policy.outcome import PolicySet
from korat.core.policy.read import (
    endpoint_of,
    host_of,
    inherited,
    own_labels,
    policy_of,
    profile_of,
    set_of,
    slice_of,
)
from korat.core.policy.scope import ServiceName
from korat.core.policy.written import written_policy

R = TypeVar("R", bound=Resource)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A snapshot: ``endpoints`` sorted by key, ``tiers`` and their policies in order.

    ``services`` has the slices of those that have any, sorted by key. ``hosts`` are host endpoints,
    sorted by name. ``tiers`` have the policies that workloads may have, ``host_tiers`` all of them;
    without a host endpoint there are none of the latter.
    """

    endpoints: tuple[Endpoint, ...]
    sets: tuple[AddressSet, ...]
    tiers: tuple[Tier, ...]
    profiles: Mapping[str, Profile]
    services: Mapping[ServiceName, tuple[Slice, ...]]
    problems: tuple[Problem, ...]
    hosts: tuple[Endpoint, ...] = ()
    host_tiers: tuple[Tier, ...] = ()

    @classmethod
    def build(cls, resources: Iterable[Resource]) -> "Cluster":
        """Put resources with distinct keys, in any order, together."""
        every = sorted(resources, key=lambda resource: resource.key)
        problems: list[Problem] = []
        stored = _of(ProfileResource, every)
        lent = {profile.metadata.name: profile.spec.labels_to_apply for profile in stored}
        profiles = _read([DEFAULT_ALLOW, *stored], profile_of, problems)

        def read(resource: WorkloadEndpoint) -> Endpoint:
            labels = inherited(own_labels(resource), resource.spec.profiles, lent)
            return endpoint_of(resource, labels)

        workloads = _read(_of(WorkloadEndpoint, every), read, problems)
        hosts = _read(_of(HostEndpoint, every), lambda r: host_of(r, lent), problems)
        policies = _policies(every, problems)
        tiers = _of(TierResource, every)
        return cls(
            endpoints=tuple(workloads),
            sets=tuple(_read(_sets(every), lambda r: set_of(r, lent), problems)),
            tiers=tiers_of(tiers, of_workloads(policies)),
            profiles={profile.name: profile for profile in profiles},
            services=by_service(_read(_of(EndpointSlice, every), slice_of, problems)),
            problems=tuple(problems),
            hosts=tuple(hosts),
            host_tiers=tiers_of(tiers, policies) if hosts else (),
        )

    @property
    def owners(self) -> Iterator[Endpoint]:
        """Everything that has addresses and labels of its own: workloads, then hosts."""
        return chain(self.endpoints, self.hosts)

    def endpoint_at(self, addr: Addr) -> Endpoint | None:
        """The workload that has an address; of several, the first by key."""
        return next((e for e in self.endpoints if addr in e.addresses), None)


def _of(kind: type[R], resources: Sequence[Resource]) -> list[R]:
    return [resource for resource in resources if isinstance(resource, kind)]


def _policies(resources: Iterable[Resource], problems: list[Problem]) -> list[Policy]:
    """The policies of every kind; rules that mean something else than they say are problems too."""

    def read(resource: Resource) -> Policy | None:
        written = written_policy(resource)
        if written is None:
            return None
        policy = policy_of(written)
        problems.extend(written.problems)
        return policy

    return [policy for policy in _read(resources, read, problems) if policy is not None]


def of_workloads(policies: Iterable[Policy]) -> Iterator[Policy]:
    """Those that workloads may have; untracked and pre-DNAT policy is for hosts."""
    return (policy for policy in policies if PolicySet.NORMAL in policy.sets)


def _sets(resources: Sequence[Resource]) -> list[NetworkSet | GlobalNetworkSet]:
    return [*_of(NetworkSet, resources), *_of(GlobalNetworkSet, resources)]


def by_service(slices: Iterable[Slice]) -> dict[ServiceName, tuple[Slice, ...]]:
    """The slices of each service that has any, in the order given."""
    found: defaultdict[ServiceName, list[Slice]] = defaultdict(list)
    for each in slices:
        if each.service.name:
            found[each.service].append(each)
    return {service: tuple(own) for service, own in found.items()}


def _read(resources: Iterable[R], read: Callable[[R], T], problems: list[Problem]) -> list[T]:
    """Read what can be read, and add a problem for what cannot."""
    values = []
    for resource in resources:
        try:
            values.append(read(resource))
        except ValueError as error:
            problems.append(Problem(str(resource.key), "", None, f"is left out: {error}"))
    return values


def tiers_of(stored: Iterable[TierResource], policies: Iterable[Policy]) -> tuple[Tier, ...]:
    """Tiers in order: stored ones first, then those that policies name but nobody stored.

    The latter are enforced too, with Deny at their end.
    """
    of_tier: defaultdict[str, list[Policy]] = defaultdict(list)
    for policy in policies:
        of_tier[policy.tier].append(policy)
    specs = {tier.metadata.name: tier.spec for tier in stored}
    passing = {name for name, spec in specs.items() if spec.default_action == "Pass"}
    ranked = [
        *((False, math.inf if s.order is None else s.order, name) for name, s in specs.items()),
        *((True, math.inf, name) for name in of_tier.keys() - specs.keys()),
    ]
    return tuple(
        Tier(name, name not in passing, tuple(sorted(of_tier[name], key=lambda p: p.rank)))
        for _, _, name in sorted(ranked)
    )
