"""Clusters to measure with: namespaces, apps and their pods, and policies between apps.

The same seed and shape give the same objects, byte for byte. Every app has named ports and three
labels that policies ask for; policies allow from an app of the same namespace, from a kind of app
in all namespaces of a team, and from a network outside. Pods are spread over nodes as a scheduler
would, so that the pods of our own node belong to many apps and most policies concern few of them.

The two driven pods and the two that ask from elsewhere are in a namespace of their own, ``driven``.
The pool is not natOutgoing: source NAT has a cost of its own, which is not policy's.
Not for random clusters that hunt for bugs: those are Hypothesis', in the tests.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from msgspec.structs import replace

from bench.lane import CLIENT, CLIENT_INTERFACE, SERVER, SERVER_INTERFACE
from korat.core.model.config import IPPool, IPPoolSpec
from korat.core.model.default import apply as with_defaults
from korat.core.model.endpoint import EndpointPort, WorkloadEndpoint, WorkloadEndpointSpec
from korat.core.model.endpoint_name import EndpointIdentity, endpoint_name
from korat.core.model.kubernetes.profile import account_profile, namespace_profile
from korat.core.model.kubernetes.workload import interface_name
from korat.core.model.policy import EntityRule, NetworkPolicy, PolicySpec, Rule
from korat.core.model.resource import Metadata, Resource
from korat.core.net.address import Addr, Family

NODE = "bench"
DRIVEN = "driven"
#: Two pods elsewhere that ask the driven server; their labels ``asker`` are one and two.
ASKER_ONE, ASKER_TWO = Addr.parse("10.127.0.1"), Addr.parse("10.127.0.2")

_REMOTE = Addr.parse("10.128.0.1").value
_LOCAL = Addr.parse("10.65.1.1").value
_FRESH = Addr.parse("10.126.0.1").value
_APPS = 20  # of a namespace
_TEAMS = 8
_KINDS = ("front", "back", "data", "job")
_PODS_PER_NODE = 50
_MADE = "2026-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Shape:
    """How large. ``focus`` is the number of policies that select both driven pods."""

    remote: int
    local: int
    policies: int
    focus: int
    seed: int = 1

    def scaled(self, scale: float) -> "Shape":
        """The same, smaller; nothing that was there vanishes."""

        def less(number: int) -> int:
            return max(1, round(number * scale)) if number else 0

        return Shape(
            less(self.remote),
            less(self.local),
            less(self.policies),
            less(self.focus),
            self.seed,
        )

    @property
    def namespaces(self) -> int:
        """Enough for one app a policy, at most 100."""
        return min(100, max(2, self.policies // _APPS))


def objects(shape: Shape) -> Iterator[Resource]:
    """Everything in the cluster, defaults filled in."""
    dice = Random(shape.seed)  # noqa: S311 - reproducible, not secret
    yield with_defaults(IPPool(metadata=_meta("bench"), spec=IPPoolSpec(cidr="10.64.0.0/10")))
    for number in range(shape.namespaces):
        labels = {"team": f"t{number % _TEAMS}", "env": ("prod", "stage")[number % 2]}
        yield namespace_profile(f"ns-{number}", labels)
        yield account_profile(f"ns-{number}", "default", {})
    yield namespace_profile(DRIVEN, {"team": "bench", "env": "bench"})
    yield account_profile(DRIVEN, "default", {})
    yield from _driven()
    for number in range(shape.local):
        yield _pod(shape, dice, number, local=True)
    for number in range(shape.remote):
        yield _pod(shape, dice, number, local=False)
    for number in range(shape.policies):
        yield with_defaults(_between_apps(shape, dice, number))
    for number in range(shape.focus):
        yield with_defaults(_focus(shape, dice, number))


def idle_interfaces(shape: Shape) -> tuple[str, ...]:
    """The interfaces of the local pods that are not driven."""
    dice = Random(shape.seed)  # noqa: S311 - reproducible, not secret
    pods = (_pod(shape, dice, number, local=True) for number in range(shape.local))
    return tuple(pod.spec.interface_name for pod in pods)


def fresh_pod(number: int) -> WorkloadEndpoint:
    """A pod that comes up elsewhere, selected by what allows the asker one."""
    addr = Addr(Family.V4, _FRESH + number)
    return _endpoint(DRIVEN, f"fresh-{number}", f"node-{number % 97}", addr, {"asker": "one"})


def fresh_address(number: int) -> Addr:
    """The address of ``fresh_pod``."""
    return Addr(Family.V4, _FRESH + number)


def probe_policy(port: int, asker: str) -> NetworkPolicy:
    """The policy that the measured changes rewrite: one asker may send to one port."""
    allow = Rule(
        action="Allow",
        protocol="UDP",
        source=EntityRule(selector=f"asker == '{asker}'"),
        destination=EntityRule(ports=(port,)),
    )
    spec = PolicySpec(selector="role == 'server'", order=10, ingress=(allow,), types=("Ingress",))
    made = NetworkPolicy(metadata=_meta("probe", DRIVEN), spec=spec)
    filled = with_defaults(made)
    if not isinstance(filled, NetworkPolicy):
        raise TypeError("a policy with defaults is a policy")
    return filled


def _driven() -> Iterator[Resource]:
    for name, addr, interface in (
        ("client", CLIENT, CLIENT_INTERFACE),
        ("server", SERVER, SERVER_INTERFACE),
    ):
        labels = {"role": name, "driven": "true"}
        yield _endpoint(DRIVEN, name, NODE, addr, labels, interface)
    for name, addr in (("one", ASKER_ONE), ("two", ASKER_TWO)):
        yield _endpoint(DRIVEN, f"asker-{name}", "node-0", addr, {"asker": name})


def _pod(shape: Shape, dice: Random, number: int, *, local: bool) -> WorkloadEndpoint:
    """One pod of a random app."""
    namespace, app = dice.randrange(shape.namespaces), dice.randrange(_APPS)
    labels = {
        "app": f"app-{app}",
        "kind": _KINDS[app % len(_KINDS)],
        "version": f"v{dice.randrange(3)}",
    }
    node = NODE if local else f"node-{number // _PODS_PER_NODE}"
    addr = Addr(Family.V4, (_LOCAL if local else _REMOTE) + number)
    name = f"app-{app}-{'l' if local else 'r'}{number}"
    return _endpoint(f"ns-{namespace}", name, node, addr, labels)


def _endpoint(
    namespace: str,
    name: str,
    node: str,
    addr: Addr,
    labels: dict[str, str],
    interface: str = "",
) -> WorkloadEndpoint:
    identity = EndpointIdentity(node=node, orchestrator="k8s", pod=name, endpoint="eth0")
    spec = WorkloadEndpointSpec(
        orchestrator="k8s",
        node=node,
        pod=name,
        endpoint="eth0",
        service_account_name="default",
        ip_networks=(f"{addr}/32",),
        profiles=(f"kns.{namespace}", f"ksa.{namespace}.default"),
        interface_name=interface or interface_name(namespace, name),
        ports=(
            EndpointPort(name="http", protocol="TCP", port=8000 + len(name) % 3),
            EndpointPort(name="metrics", protocol="TCP", port=9100),
        ),
    )
    own = {
        **labels,
        "projectcalico.org/namespace": namespace,
        "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": "default",
    }
    return WorkloadEndpoint(metadata=_meta(endpoint_name(identity), namespace, own), spec=spec)


def _between_apps(shape: Shape, dice: Random, number: int) -> NetworkPolicy:
    """A policy of one app: who may ask it, and for every third one whom it may ask."""
    namespace, app = divmod(number, _APPS)
    ingress = [
        _allow(source=EntityRule(selector=f"app == 'app-{dice.randrange(_APPS)}'"), port="http")
    ]
    if dice.random() < 0.5:  # noqa: PLR2004 - every other one
        team, kind = dice.randrange(_TEAMS), dice.choice(_KINDS)
        source = EntityRule(namespace_selector=f"team == 't{team}'", selector=f"kind == '{kind}'")
        ingress.append(_allow(source=source, port="metrics"))
    if dice.random() < 0.25:  # noqa: PLR2004 - every fourth one
        nets = (f"192.168.{dice.randrange(64)}.0/24", f"172.16.{dice.randrange(16) * 16}.0/20")
        ingress.append(_allow(source=EntityRule(nets=nets), port=443))
    egress = []
    if number % 3 == 0:
        target = EntityRule(selector=f"kind == '{dice.choice(_KINDS)}'", ports=("http",))
        egress.append(Rule(action="Allow", protocol="TCP", destination=target))
        egress.append(Rule(action="Allow", protocol="UDP", destination=EntityRule(ports=(53,))))
    spec = PolicySpec(
        selector=f"app == 'app-{app}'",
        order=float(100 + number % 10),
        ingress=tuple(ingress),
        egress=tuple(egress),
    )
    return NetworkPolicy(
        metadata=_meta(f"app-{app}-{number}", f"ns-{namespace % shape.namespaces}"), spec=spec
    )


def _allow(source: EntityRule, port: int | str) -> Rule:
    return Rule(
        action="Allow", protocol="TCP", source=source, destination=EntityRule(ports=(port,))
    )


def _focus(shape: Shape, dice: Random, number: int) -> NetworkPolicy:
    """A policy of both driven pods, in both directions; the one in the middle lets them talk."""
    team, app = f"ns-{dice.randrange(shape.namespaces)}", f"app-{dice.randrange(_APPS)}"
    peer = EntityRule(
        namespace_selector=f"projectcalico.org/name == '{team}'",
        selector=f"app == '{app}' && version == 'v{number % 3}'",
    )
    port = 10_000 + number % 1000
    ingress = [_allow(source=peer, port=port)]
    egress = [Rule(action="Allow", protocol="TCP", destination=replace(peer, ports=(port,)))]
    if number == shape.focus // 2:
        ingress.append(_allow(source=EntityRule(selector="role == 'client'"), port="1:9999"))
        target = EntityRule(selector="role == 'server'", ports=("1:9999",))
        egress.append(Rule(action="Allow", protocol="TCP", destination=target))
    spec = PolicySpec(
        selector="driven == 'true'",
        order=float(100 + number),
        ingress=tuple(ingress),
        egress=tuple(egress),
    )
    return NetworkPolicy(metadata=_meta(f"focus-{number}", DRIVEN), spec=spec)


def _meta(name: str, namespace: str = "", labels: dict[str, str] | None = None) -> Metadata:
    return Metadata(name=name, namespace=namespace, labels=labels or {}, creation_timestamp=_MADE)
