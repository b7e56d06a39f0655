"""NetworkPolicy, GlobalNetworkPolicy, Tier and Profile, and the Rule they share.

Source: projectcalico.org/v3 (api/pkg/apis/projectcalico/v3).
"""

from typing import Any

import msgspec

from korat.core.model.resource import Frozen, Resource, written

#: The tier of a policy that names none.
DEFAULT_TIER = "default"

#: A port in a rule: a number, or ``"min:max"``, or a port's name.
Port = int | str


class Icmp(Frozen, frozen=True):
    """ICMP or ICMPv6 type and code; a code needs a type."""

    type: int | None = None
    code: int | None = None


class ServiceAccountMatch(Frozen, frozen=True):
    """Service accounts by name or by label."""

    names: tuple[str, ...] = ()
    selector: str = ""


class ServiceMatch(Frozen, frozen=True):
    """A Kubernetes Service, whose endpoints are matched."""

    name: str = ""
    namespace: str = ""


class EntityRule(Frozen, frozen=True):
    """One side of a rule; all given fields must hold."""

    nets: tuple[str, ...] = ()
    selector: str = ""
    namespace_selector: str = ""
    services: ServiceMatch | None = None
    ports: tuple[Port, ...] = ()
    not_nets: tuple[str, ...] = ()
    not_selector: str = ""
    not_ports: tuple[Port, ...] = ()
    service_accounts: ServiceAccountMatch | None = None


class HttpPath(Frozen, frozen=True):
    """An exact path or a prefix of one."""

    exact: str = ""
    prefix: str = ""


class HttpMatch(Frozen, frozen=True):
    """HTTP criteria: kept and validated; the kernel cannot match them."""

    methods: tuple[str, ...] = ()
    paths: tuple[HttpPath, ...] = ()


class RuleMetadata(Frozen, frozen=True):
    """Annotations that are copied to the dataplane's comment."""

    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class Rule(Frozen, frozen=True):
    """One rule; all given fields must hold for it to match. Protocols are names or numbers."""

    action: str = written("")
    ip_version: int | None = None
    protocol: int | str | None = None
    icmp: Icmp | None = None
    not_protocol: int | str | None = None
    not_icmp: Icmp | None = msgspec.field(default=None, name="notICMP")
    source: EntityRule = written(EntityRule())
    destination: EntityRule = written(EntityRule())
    http: HttpMatch | None = None
    metadata: RuleMetadata | None = None


class PolicySpec(Frozen, frozen=True):
    """What NetworkPolicy and GlobalNetworkPolicy share; ``order`` None sorts last."""

    tier: str = written(DEFAULT_TIER)
    order: int | float | None = None
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    selector: str = ""
    types: tuple[str, ...] = ()
    service_account_selector: str = ""
    performance_hints: tuple[str, ...] = ()


class GlobalPolicySpec(PolicySpec, frozen=True):
    """GlobalNetworkPolicy adds the namespaces it selects and the host-endpoint switches."""

    namespace_selector: str = ""
    do_not_track: bool = False
    pre_dnat: bool = msgspec.field(default=False, name="preDNAT")
    apply_on_forward: bool = False


class NetworkPolicy(Resource, frozen=True):
    """A policy for the endpoints of one namespace."""

    kind: str = written("NetworkPolicy")
    spec: PolicySpec = written(PolicySpec())


class GlobalNetworkPolicy(Resource, frozen=True):
    """A policy for endpoints anywhere."""

    kind: str = written("GlobalNetworkPolicy")
    spec: GlobalPolicySpec = written(GlobalPolicySpec())


class TierSpec(Frozen, frozen=True):
    """A tier's place and what happens to traffic that its policies did not decide."""

    order: int | float | None = None
    default_action: str = written("Deny")


class Tier(Resource, frozen=True):
    """A group of policies that decides before the next group."""

    kind: str = written("Tier")
    spec: TierSpec = written(TierSpec())
    status: dict[str, Any] | None = None


class ProfileSpec(Frozen, frozen=True):
    """Rules for traffic that no policy decided, and labels its endpoints inherit."""

    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    labels_to_apply: dict[str, str] = msgspec.field(default_factory=dict)


class Profile(Resource, frozen=True):
    """``kns.<namespace>`` and ``ksa.<namespace>.<account>``, or a user's own."""

    kind: str = written("Profile")
    spec: ProfileSpec = written(ProfileSpec())
