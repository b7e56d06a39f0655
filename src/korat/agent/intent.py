"""What a node's kernel should hold, worked out from the store's objects: pure, change by change.

Output depends on the present objects only, never on how they came about, so a node that restarts
arrives at the same state as one that saw every change.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from korat.agent.overlay import Overlays, Plans, TunnelSource
from korat.agent.settings import VXLAN
from korat.core.errors import Problem
from korat.core.model.builtin import INFORMATION
from korat.core.model.config import ClusterInformation, IPPool
from korat.core.model.endpoint import Node
from korat.core.model.felix import FelixSettings, settings
from korat.core.model.key import Key
from korat.core.model.label import AZURE_VNET
from korat.core.model.resource import Resource
from korat.core.net.address import Addr, Prefix
from korat.core.policy.entity import Endpoint
from korat.core.policy.host import HostInterface
from korat.core.policy.inventory import Inventory, Surroundings
from korat.core.render.nft.host import HostInput
from korat.core.render.nft.node import (
    NodeInput,
    NodeRenderer,
    OwnPolicy,
    Pool,
    hook_settings,
    host_sequences,
    render_slow,
)
from korat.core.render.nft.ruleset import Ruleset
from korat.core.route.vxlan import Link
from korat.core.table.compile import NodeCompiler, workloads_of
from korat.core.table.host import HostSequences
from korat.core.table.paint import IntricateError
from korat.core.table.value import NodePolicy

T = TypeVar("T")

#: What Calico's address management keeps: of it only the blocks matter here, and only to tunnels.
_ADDRESS_KINDS = frozenset({"IPAMBlock", "BlockAffinity", "IPAMHandle", "IPAMConfig", "IPAMHost"})

_PLAIN = ("", "Never")


@dataclass(frozen=True, slots=True)
class Intent:
    """One node's kernel state as it should be."""

    ruleset: Ruleset
    routes: Mapping[Addr, str]  # address of a local workload -> its interface
    endpoints: frozenset[Key]
    problems: tuple[Problem, ...]  # settings and objects that could not be honoured
    felix: FelixSettings
    around: Surroundings
    policy: NodePolicy | None  # None: it is enforced rule by rule
    own: OwnPolicy | None = None  # None: no host endpoint governs the node, or ``policy`` is None
    tunnels: Plans | None = None  # None: this networking option has none


def intent(
    resources: Mapping[Key, Resource],
    node_name: str,
    environ: Mapping[str, str],
    interfaces: Iterable[HostInterface] = (),
) -> Intent:
    """Everything one node needs, from scratch; ``interfaces`` are its own."""
    state = NodeState(node_name, environ)
    state.see(interfaces)
    for key, resource in resources.items():
        state.set(key, resource)
    return state.intent()


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the node's settings and the cluster's say beside policy."""

    node: NodeInput
    problems: tuple[Problem, ...]


class NodeState:
    """What a node knows of the store; each ``intent`` works out only what has changed."""

    def __init__(
        self, node_name: str, environ: Mapping[str, str], tunnels: TunnelSource | None = None
    ) -> None:
        """``tunnels`` stands in the place of Calico's, where the networking option has others."""
        self._node_name = node_name
        self._environ = environ
        self._overlays = tunnels
        if tunnels is None and environ.get("CALICO_NETWORKING_BACKEND") == VXLAN:
            self._overlays = Overlays(node_name)
        self._overlays_seen = 0
        self._links: tuple[Link, ...] = ()
        self._compiler = NodeCompiler(node_name)
        self._inventory = Inventory(self._compiler)
        self._renderer = NodeRenderer()
        self._others: dict[Key, Resource] = {}
        self._frame: _Frame | None = None
        self._known: set[Key] = set()
        self._local: tuple[Endpoint, ...] = ()
        self._routes: Mapping[Addr, str] = {}
        self._keys: frozenset[Key] = frozenset()
        self._interfaces: tuple[HostInterface, ...] = ()
        self._own: HostSequences | None = None
        self._own_stale = True

    @property
    def known(self) -> frozenset[Key]:
        """The keys of all objects that were set."""
        return frozenset(self._known)

    def set(self, key: Key, resource: Resource | None) -> None:
        """An object came, changed, or (None) went."""
        if resource is None:
            self._known.discard(key)
        else:
            self._known.add(key)
        if self._overlays is not None:
            self._overlays.set(key, resource)
        if key.kind in _ADDRESS_KINDS:
            return
        self._own_stale |= self._inventory.governs(key, self._node_name)
        known = self._inventory.set(key, resource)
        self._own_stale |= self._inventory.governs(key, self._node_name)
        if known:
            return
        self._frame, self._own_stale = None, True
        if resource is None:
            self._others.pop(key, None)
        else:
            self._others[key] = resource

    @property
    def tunnelled(self) -> bool:
        """Whether the node may have tunnels: then it must know its links."""
        return self._overlays is not None

    def see(self, interfaces: Iterable[HostInterface], links: Iterable[Link] = ()) -> None:
        """These are the node's own interfaces now, for host endpoints to govern.

        ``links`` are the same, as tunnels need to know them.
        """
        self._links = tuple(links)
        found = tuple(interfaces)
        self._own_stale |= found != self._interfaces
        self._interfaces = found

    def intent(self) -> Intent:
        """Everything the node needs now."""
        overlays = self._overlays
        if overlays is not None and overlays.version != self._overlays_seen:
            self._overlays_seen = overlays.version
            self._frame, self._own_stale = None, True
        if self._frame is None:
            self._frame = self._framed()
        problems = list(self._frame.problems)
        felix = self._frame.node.felix
        self._govern(felix)
        ruleset, policy = self._ruleset(self._frame.node, problems)
        local = self._compiler.local
        if local is not self._local:
            self._local = local
            self._routes = {addr: e.interface for e in local for addr in e.addresses}
            self._keys = frozenset(each.key for each in local)
        problems += _unguarded(local, hook_settings(felix).interface_prefixes)
        return Intent(
            ruleset=ruleset,
            routes=self._routes,
            endpoints=self._keys,
            problems=(*problems, *self._inventory.problems),
            felix=felix,
            around=self._inventory.around(local),
            policy=policy,
            own=None if policy is None else self._renderer.own_policy(),
            tunnels=overlays.plans(felix, self._links, self._routes) if overlays else None,
        )

    def _framed(self) -> _Frame:
        node = self._others.get(Key("Node", "", self._node_name))
        labels = node.metadata.labels if node else {}
        # In the order of keys, for what is said must not depend on who came first.
        objects = [self._others[key] for key in sorted(self._others)]
        felix, problems = settings(self._node_name, labels, objects, self._environ)
        made = NodeInput(
            NodePolicy((), {}),
            felix,
            pools=_read(objects, _pools, problems),
            untouched=_read(objects, _vnet_prefixes, problems),
            hosts=_read(objects, _node_addresses, problems),
        )
        calicos = isinstance(self._overlays, Overlays)
        problems += _block_routes(felix) if calicos else _not_tunnelled(objects)
        if self._overlays is None:
            return _Frame(made, tuple(problems))
        around = self._overlays.surroundings(felix)
        made = replace(
            made,
            filter=around.filter,
            tunnels=around.sources,
            tunnel_port=around.port,
            pools=(*made.pools, *around.pools),
        )
        return _Frame(made, (*problems, *around.problems))

    def _govern(self, felix: FelixSettings) -> None:
        """Find out what governs the node's own interfaces, and which sets that asks for."""
        if not self._own_stale:
            return
        cluster = self._inventory.of_hosts(self._node_name)
        self._own = host_sequences(cluster, self._node_name, self._interfaces, felix)
        self._compiler.ask(frozenset() if self._own is None else self._own.asked())
        self._own_stale = False

    def _ruleset(
        self, node: NodeInput, problems: list[Problem]
    ) -> tuple[Ruleset, NodePolicy | None]:
        policy: NodePolicy | None = None
        try:
            policy = self._compiler.settle()
        except IntricateError as error:
            rule = f"is enforced rule by rule, which is slower: {error}"
            problems.append(Problem(f"the policy of node {self._node_name}", "", None, rule))
        own = None if self._own is None else HostInput(self._own, self._compiler.members)
        if policy is not None:
            return self._renderer.render(replace(node, policy=policy, own=own)), policy
        local = self._compiler.local
        node = replace(node, policy=NodePolicy(workloads_of(local), {}), own=own)
        return render_slow(node, self._inventory.cluster(), local), None


def _unguarded(local: Iterable[Endpoint], prefixes: tuple[str, ...]) -> Iterator[Problem]:
    """Endpoints whose packets no rule looks at, because of their interface's name."""
    for each in local:
        if not each.interface.startswith(prefixes):
            rule = f"begins with none of {', '.join(prefixes)}, so its packets are not policed"
            yield Problem(str(each.key), "spec.interfaceName", each.interface, rule)


def _read(
    objects: Iterable[Resource],
    read: Callable[[Resource], Iterable[T]],
    problems: list[Problem],
) -> tuple[T, ...]:
    """What is read from all objects; one that cannot be read is left out, and named."""
    found: list[T] = []
    for each in objects:
        try:
            found += read(each)
        except ValueError as error:
            problems.append(Problem(each.title, "", None, f"is left out: {error}"))
    return tuple(found)


def _pools(each: Resource) -> Iterator[Pool]:
    if isinstance(each, IPPool):
        spec = each.spec
        yield Pool(Prefix.parse(spec.cidr), spec.nat_outgoing, spec.vxlan_mode not in _PLAIN)


def _not_tunnelled(objects: Iterable[Resource]) -> Iterator[Problem]:
    """Pools whose packets should be encapsulated, on a node that was told not to."""
    for each in objects:
        if isinstance(each, IPPool) and each.spec.vxlan_mode not in _PLAIN:
            rule = "is not carried out: set CALICO_NETWORKING_BACKEND to vxlan on every node"
            yield Problem(each.title, "spec.vxlanMode", each.spec.vxlan_mode, rule)


def _block_routes(felix: FelixSettings) -> Iterator[Problem]:
    """What a node with Calico's tunnels says to routes that should follow workloads."""
    if felix.routes_of_workloads:
        rule = (
            "is not carried out with CALICO_NETWORKING_BACKEND=vxlan: tunnels follow Calico's"
            " address blocks; set it to CalicoIPAM"
        )
        yield Problem("", "routeSource", "WorkloadIPs", rule)


def _node_addresses(each: Resource) -> Iterator[Addr]:
    if isinstance(each, Node) and each.spec.bgp and each.spec.bgp.ipv4_address:
        yield Addr.parse_interface(each.spec.bgp.ipv4_address)


def _vnet_prefixes(each: Resource) -> Iterator[Prefix]:
    """The virtual network's address space, as far as the controller has published it."""
    if isinstance(each, ClusterInformation) and each.key == INFORMATION:
        text = each.metadata.annotations.get(AZURE_VNET, "")
        yield from (Prefix.parse(part.strip()) for part in text.split(",") if part.strip())
