"""What a cluster is made of, as policy sees it: endpoints, address sets, policies, tiers, profiles.

Each value is one resource with its text parsed and its inherited labels filled in; ``cluster`` puts
them together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from korat.core.model.key import Key
from korat.core.model.policy import Rule
from korat.core.net.address import Addr, Family, Prefix
from korat.core.policy.outcome import Direction, PolicySet
from korat.core.policy.rule import NormalRule
from korat.core.policy.scope import Scope, ServiceName
from korat.core.selector import Selector


class NamedPort(NamedTuple):
    """An endpoint's name for one of its ports."""

    name: str
    protocol: int
    port: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A workload's or a host's interface.

    ``labels`` are its own and, behind them, those of its profiles. A host's ``interface`` may be
    empty or ``*``, and its ``addresses`` are those that it is expected to have.
    """

    key: Key
    node: str
    interface: str
    addresses: tuple[Addr, ...]
    labels: Mapping[str, str]
    ports: tuple[NamedPort, ...]
    profiles: tuple[str, ...]
    spoof_allowed: tuple[Prefix, ...]

    def addresses_of(self, family: Family) -> tuple[Addr, ...]:
        """Its addresses of one IP version."""
        return tuple(addr for addr in self.addresses if addr.family is family)


@dataclass(frozen=True, slots=True)
class AddressSet:
    """A NetworkSet or GlobalNetworkSet; ``labels`` include those of its namespace."""

    key: Key
    nets: tuple[Prefix, ...]
    labels: Mapping[str, str]


class SlicePort(NamedTuple):
    """A port that every address of a slice has."""

    protocol: int
    port: int


@dataclass(frozen=True, slots=True)
class Slice:
    """Some endpoints of a service: each address with each port, whether it is ready or not."""

    key: Key
    service: ServiceName
    addresses: tuple[Addr, ...]
    ports: tuple[SlicePort, ...]


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """A rule as written, whom its sides speak of, and its normal form for each IP version."""

    written: Rule
    source: Scope
    destination: Scope
    v4: NormalRule | None
    v6: NormalRule | None

    def normal(self, family: Family) -> NormalRule | None:
        """The normal form for one IP version, or None where the rule cannot match."""
        return self.v4 if family is Family.V4 else self.v6


Rules = tuple[PolicyRule, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy with its effective selector; a ``staged`` one is counted and decides nothing.

    ``sets`` are those of a host endpoint's policies that it belongs to.
    """

    key: Key
    tier: str
    order: float
    selector: Selector
    directions: frozenset[Direction]
    ingress: Rules
    egress: Rules
    staged: bool = False
    sets: frozenset[PolicySet] = frozenset({PolicySet.NORMAL})

    def rules(self, direction: Direction) -> Rules:
        """Its rules for one direction."""
        return self.ingress if direction is Direction.INGRESS else self.egress

    def applies(self, endpoint: Endpoint, direction: Direction) -> bool:
        """Whether it governs this direction of this endpoint."""
        return direction in self.directions and self.selector.matches(endpoint.labels)

    @property
    def rank(self) -> tuple[float, str]:
        """What policies of a tier are sorted by."""
        return self.order, f"{self.key.name}/{self.key.namespace}/{self.key.kind}"


@dataclass(frozen=True, slots=True)
class Tier:
    """A tier with its policies in order, and whether it denies what none of them decided."""

    name: str
    denies: bool
    policies: tuple[Policy, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """Rules for what no tier decided; the labels it lends are in its endpoints already."""

    name: str
    ingress: Rules
    egress: Rules

    def rules(self, direction: Direction) -> Rules:
        """Its rules for one direction."""
        return self.ingress if direction is Direction.INGRESS else self.egress
