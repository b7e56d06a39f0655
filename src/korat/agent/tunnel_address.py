"""Sees to it that the node's tunnels have addresses of Calico's pools, and that its Node says so.

One address for each IP version of which a pool is encapsulated, for use by tunnels and for this
node; its handle is ``vxlan-tunnel-addr-<node>``. It is given up when there is no such pool, and
another is taken when its own pool is gone, or the blocks say that it is not this tunnel's.

A thread of its own, as the store may be slow; whoever knows that something has changed rings.
Source: node/pkg/allocateip (allocate-tunnel-addrs, tunnel-ip-allocator).
"""

import threading
from dataclasses import dataclass

import structlog
from msgspec.structs import replace

from korat.core.errors import Conflict, KoratError, NotFound
from korat.core.ipam.tunnel import Tunnel, ensure_tunnel, release_tunnel
from korat.core.model.endpoint import Node
from korat.core.model.key import Key
from korat.core.net.address import Addr, Family
from korat.drivers.store.client import Client
from korat.drivers.store.ipam import now, run
from korat.ports import Store

log = structlog.get_logger(__name__)

#: How often to look even though nobody rang: what somebody does to a block is not told.
_PERIOD_S = 60.0
_RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class TunnelAddress:
    """One node's tunnel addresses in the store."""

    store: Store
    node_name: str

    @property
    def keys(self) -> frozenset[Key]:
        """What tells of a change that concerns them, beside the pools."""
        handles = (Key("IPAMHandle", "", each.handle_id(self.node_name)) for each in Tunnel)
        return frozenset({Key("Node", "", self.node_name), *handles})

    def ensure(self) -> tuple[str, ...]:
        """Bring the Node's tunnel addresses in line with the pools; why one is missing.

        Raises:
            Unavailable: the store is away.
            Conflict: others write the same objects all the time.
        """
        missing: list[str] = []
        for tunnel in Tunnel:
            node = self._node()
            if node is None:
                return ()  # Somebody deleted it: its tunnels end with it.
            before = _tunnel_of(node, tunnel.family)
            if not _is_on(node, tunnel.family):
                if before:
                    run(self.store, release_tunnel(tunnel, self.node_name, now()))
                    self._write(node, tunnel.family, "")
                continue
            done = run(self.store, ensure_tunnel(tunnel, self.node_name, _parsed(before), now()))
            text = "" if done.addr is None else str(done.addr)
            if text != before:
                self._write(node, tunnel.family, text)
            if done.addr is None:
                missing.append(done.reason)
        return tuple(missing)

    def _node(self) -> Node | None:
        key = Key("Node", "", self.node_name)
        found = Client(self.store).read([key]).by_key.get(key)
        return found if isinstance(found, Node) else None

    def _write(self, node: Node, family: Family, text: str) -> None:
        if family is Family.V4:
            spec = replace(node.spec, ipv4_vxlan_tunnel_addr=text)
        else:
            spec = replace(node.spec, ipv6_vxlan_tunnel_addr=text)
        Client(self.store).update(replace(node, spec=spec), node)
        log.info("tunnel address", family=int(family), address=text or None)


class TunnelAddresses:
    """Keeps ``TunnelAddress.ensure`` true, from ``start`` to ``close``."""

    def __init__(self, address: TunnelAddress) -> None:
        self._address = address
        self._bell = threading.Event()
        self._bell.set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tunnel-address", daemon=True)
        self._said = ""

    def start(self) -> None:
        """Begin, with a look at once."""
        self._thread.start()

    def ring(self) -> None:
        """Something has changed; returns at once."""
        self._bell.set()

    def close(self) -> None:
        """End; the thread may finish its present look by itself."""
        self._stopping.set()
        self._bell.set()

    def _run(self) -> None:
        wait_s = _PERIOD_S
        while True:
            self._bell.wait(wait_s)
            self._bell.clear()
            if self._stopping.is_set():
                return
            try:
                reason, wait_s = "; ".join(self._address.ensure()), _PERIOD_S
            except (Conflict, NotFound):
                wait_s = _RETRY_S
                continue
            except Exception as error:
                reason, wait_s = str(error), _RETRY_S
                if not isinstance(error, KoratError):
                    log.exception("a defect in the tunnel's address")
            if reason and reason != self._said:
                log.warning("no tunnel address", reason=reason)
            self._said = reason


def _is_on(node: Node, family: Family) -> bool:
    bgp = node.spec.bgp
    return bool(bgp and (bgp.ipv4_address if family is Family.V4 else bgp.ipv6_address))


def _tunnel_of(node: Node, family: Family) -> str:
    spec = node.spec
    return spec.ipv4_vxlan_tunnel_addr if family is Family.V4 else spec.ipv6_vxlan_tunnel_addr


def _parsed(text: str) -> Addr | None:
    try:
        return Addr.parse(text)
    except ValueError:
        return None
