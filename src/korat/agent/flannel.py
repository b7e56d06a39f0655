"""flannel on one node: beside a flanneld that does the networking, or in its place.

Beside one, korat only reads subnet.env. In its place it holds the lease of the node's subnet, keeps
the tunnel as everybody's leases say, and writes subnet.env once the tunnel is there. Everything
else is as with Calico's own tunnels: the same thread mends them, tests their checksums, reports.

Where leases are kept is behind a port: etcd now, annotations of Kubernetes' Nodes later.
Source: flannel's main.go and pkg/backend/vxlan.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import structlog
from typing_extensions import override

from korat.agent.flannel_memory import recall, remember
from korat.agent.flannel_overlay import FlannelState, FlannelTunnels, OthersTunnel
from korat.agent.flannel_settings import FlannelSettings
from korat.agent.intent import Intent
from korat.agent.networking import Networking
from korat.agent.node_address import Addresses, NodeAddress
from korat.agent.offload import OffloadTests
from korat.agent.overlay import NOTHING, Plans, TunnelSource
from korat.agent.settings import NodeSettings
from korat.agent.startup import announce, own_addresses
from korat.agent.tunnel import Tunnels
from korat.agent.tunnel_report import TunnelReporter
from korat.core.errors import KoratError, NotFound, Unavailable
from korat.core.net.address import Addr, Family, Prefix
from korat.core.route.flannel.choice import Pair
from korat.core.route.flannel.env import SubnetEnv, read_env, write_env
from korat.core.route.flannel.lease import Held, Holder, TunnelEnd
from korat.core.route.flannel.network import FlannelNetwork
from korat.core.route.flannel.plan import device_mac, tunnel_names
from korat.core.route.tunnel import TunnelNames
from korat.drivers.file import replace
from korat.drivers.kernel.address import links
from korat.drivers.store.client import Client
from korat.ports import LeaseWatch, Store, SubnetLeases

log = structlog.get_logger(__name__)

_RETRY_FIRST_S, _RETRY_LAST_S = 0.5, 10.0
_LOOK_S = 1.0


class BesideFlannel(Networking):
    """Another program is flannel: it owns the device, the lease and subnet.env."""

    def __init__(self, node_name: str, flannel: FlannelSettings) -> None:
        super().__init__(node_name)
        self._flannel = flannel

    @property
    @override
    def tunnels(self) -> TunnelSource | None:
        return OthersTunnel()

    @override
    def subnets(self, _store: Store) -> tuple[Prefix, ...]:
        return self._env().subnets

    @override
    def pod_mtu_bytes(self, _enforced: Intent | None) -> int:
        return self._env().mtu_bytes

    def _env(self) -> SubnetEnv:
        """What flannel says of this node.

        Raises:
            Unavailable: it has not said it yet.
        """
        path = self._flannel.subnet_file
        try:
            return read_env(path.read_text("utf-8"))
        except FileNotFoundError as error:
            raise Unavailable(
                f"flannel has not written {path} yet", "does flanneld run on this node?"
            ) from error
        except (OSError, ValueError) as error:
            raise Unavailable(f"{path} cannot be read: {error}") from error


class FlannelNode(BesideFlannel):
    """This node's side of flannel: its lease, its tunnel, its subnet.env."""

    def __init__(
        self,
        settings: NodeSettings,
        flannel: FlannelSettings,
        leases: Callable[[], SubnetLeases],
    ) -> None:
        """``leases`` opens the place where they are kept."""
        super().__init__(settings.node_name, flannel)
        self._settings = settings
        self._leases = leases
        self._overlay = FlannelTunnels(masquerade=flannel.masquerade)
        self._reporter = TunnelReporter(settings.run_dir)
        self._tests = OffloadTests(settings.node_name, self._reporter.tested)
        self._lock = threading.RLock()
        self._keeper: Tunnels | None = None
        self._names: TunnelNames = {}
        self._state: FlannelState | None = None
        self._address: Addresses = ("", "")
        self._own: NodeAddress | None = None
        self._refresh: Callable[[], None] = lambda: None
        self._opened: SubnetLeases | None = None
        self._watch: LeaseWatch | None = None
        #: What a lease says may be another than when the thread began with it.
        self._again = threading.Event()
        self._stopping = threading.Event()
        self._pause_s, self._said = _RETRY_FIRST_S, ""
        self._thread = threading.Thread(target=self._run, name="flannel", daemon=True)

    @property
    @override
    def tunnels(self) -> TunnelSource | None:
        return self._overlay

    @override
    def start(self, store: Store, announced: Addresses, refresh: Callable[[], None]) -> None:
        self._address, self._refresh = announced, refresh
        self._state = recall(self._settings.run_dir)
        if self._state is not None:
            # Until the leases are read, and perhaps they cannot be now.
            self._keep(self._state.network)
            self._overlay.tell(self._state)
        self._own = NodeAddress(
            lambda: own_addresses(self._settings),
            lambda found: self._moved(store, found),
            announced,
            self._settings.poll_s,
        )
        for each in (self._own, self._tests):
            each.start()
        self._thread.start()

    @override
    def close(self) -> None:
        with self._lock:
            self._stopping.set()
            opened = self._opened
        self._look_again()
        if opened is not None:
            opened.close()  # what the thread asks now would wait for etcd
        self._thread.join()
        for each in (self._own, self._tests, self._keeper):
            if each is not None:
                each.close()

    @override
    def heard(self) -> None:
        if self._own is not None:
            self._own.ring()

    @override
    def want(self, plans: Plans, refresh_s: float) -> None:
        with self._lock:
            if self._keeper is not None:
                self._keeper.want(plans, refresh_s)

    def _moved(self, store: Store, found: Addresses) -> None:
        """The node has another address: its Node says so, then its lease."""
        announce(Client(store), self._settings, *found)
        self._address = found
        self._look_again()

    def _look_again(self) -> None:
        """Wake the thread, which then begins with the lease."""
        self._again.set()
        watch = self._watch
        if watch is not None:
            watch.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._open() as leases:
                    self._follow(leases)
            except KoratError as error:
                if str(error) != self._said and not self._stopping.is_set():
                    log.warning("flannel's lease is not followed", error=str(error))
                self._said = str(error)
            except Exception as error:
                log.exception("a defect in flannel's side", error=str(error))
            self._stopping.wait(self._pause_s)
            self._pause_s = min(self._pause_s * 2, _RETRY_LAST_S)

    @contextlib.contextmanager
    def _open(self) -> Iterator[SubnetLeases]:
        """The place where leases are kept, until the end or ``close``."""
        with contextlib.closing(self._leases()) as leases:
            with self._lock:
                self._opened = leases
                stopping = self._stopping.is_set()
            if stopping:
                leases.close()
            yield leases

    def _follow(self, leases: SubnetLeases) -> None:
        """Have a lease and follow everybody's, until somebody deletes it or ``_look_again``."""
        self._again.clear()
        network = leases.network()
        held, until_s = self._hold(leases, network)
        self._keep(network)
        with contextlib.closing(leases.watch()) as watch:
            self._watch = watch
            while not (self._again.is_set() or self._stopping.is_set()):
                found = watch.poll(max(min(until_s - time.monotonic(), _LOOK_S), 0.0))
                if found is not None:
                    if held.lease not in found:
                        log.warning("somebody changed this node's lease", lease=held.lease.key)
                        return
                    self._tell(FlannelState(network, held.lease, tuple(found)))
                if time.monotonic() >= until_s:
                    held, until_s = self._timed(leases.renew(held.lease))

    def _hold(self, leases: SubnetLeases, network: FlannelNetwork) -> tuple[Held, float]:
        """This node's lease as it must be now, and when it is to be renewed."""
        holder, before = self._holder(network), self._state
        if before is not None and before.own.public_ip != holder.public_ip:
            # The node has moved: its pods stay in their subnet.
            own = holder.lease(before.own.subnet, before.own.subnet6)
            with contextlib.suppress(NotFound):
                return self._timed(leases.renew(own))
        found = self._timed(leases.acquire(holder, self._previous()))
        subnet = found[0].lease.subnet
        if before is not None and before.own.subnet != subnet:
            log.error("pods keep addresses of a subnet that this node has lost", now=str(subnet))
        return found

    def _timed(self, held: Held) -> tuple[Held, float]:
        # Whoever gives leases for less than the margin must not be asked all the time.
        left_s = max(held.left_s - self._flannel.margin_s, held.left_s / 2)
        log.info("flannel lease", subnet=str(held.lease.subnet), renewed_in_s=left_s)
        return held, time.monotonic() + left_s

    def _holder(self, network: FlannelNetwork) -> Holder:
        """What the lease says of this node.

        Raises:
            Unavailable: the node has no address.
        """
        texts = self._flannel.public_ip or self._address[0], self._address[1]
        public = [Addr.parse_interface(text) for text in texts if text]
        if not public or public[0].family is not Family.V4:
            raise Unavailable("this node has no IPv4 address for its flannel lease", "set IP")
        vxlan = network.vxlan
        if vxlan is None:
            return Holder(public[0], network.backend)
        ends = (
            TunnelEnd(addr, vxlan.vni, device_mac(addr))
            for addr in public
            if network.of(addr.family) is not None
        )
        return Holder(public[0], network.backend, tuple(ends))

    def _previous(self) -> Pair | None:
        """The subnets of before, by memory or by subnet.env."""
        if self._state is not None:
            return self._state.own.subnet, self._state.own.subnet6
        try:
            env = self._env()
        except Unavailable:
            return None
        return env.subnet, env.subnet6

    def _keep(self, network: FlannelNetwork) -> None:
        """Have a keeper for the devices that this configuration names."""
        names = tunnel_names(network)
        with self._lock:
            if names == self._names:
                return
            if self._keeper is not None:
                self._keeper.want(dict(NOTHING), 0.0)
                self._keeper.close()
            self._names, self._keeper = {}, None
            if names:
                keeper = Tunnels(names, self._tried)
                keeper.start()
                self._names, self._keeper = names, keeper

    def _tell(self, state: FlannelState) -> None:
        """All is well: this is what is known."""
        self._pause_s, self._said = _RETRY_FIRST_S, ""
        self._state = state
        if self._overlay.tell(state):
            remember(self._settings.run_dir, state)
            self._refresh()
        if state.network.vxlan is None:
            parents = (link for link in links() if state.own.public_ip in link.addresses)
            self._write_env(next((link.mtu_bytes for link in parents), 0))

    def _tried(self, plans: Plans, faults: Mapping[Family, str]) -> None:
        """The tunnels were brought up to these plans, as far as possible."""
        self._reporter.planned(plans, faults)
        self._tests.look(plans)
        plan = plans[Family.V4]
        if plan.state.device is not None and plan.mtu is not None and Family.V4 not in faults:
            self._write_env(plan.mtu.size_bytes)

    def _write_env(self, mtu_bytes: int) -> None:
        """Tell the node's other programs; only what is different is written."""
        state = self._state
        ipv4 = state.network.ipv4 if state is not None else None
        if state is None or ipv4 is None or not mtu_bytes:
            return
        own, ipv6 = state.own, state.network.ipv6
        env = SubnetEnv(
            ipv4.network,
            own.subnet,
            mtu_bytes,
            self._flannel.masquerade,
            ipv6.network if ipv6 is not None else None,
            own.subnet6,
        )
        with contextlib.suppress(Unavailable):
            if self._env() == env:
                return
        path = self._flannel.subnet_file
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            replace(path, write_env(env).encode())
        except OSError as error:
            log.error("subnet.env cannot be written", path=str(path), error=str(error))
