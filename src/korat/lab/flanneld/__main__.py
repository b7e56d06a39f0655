"""``python -m korat.lab.flanneld``: the stand-in's life, from its lease to SIGTERM."""

import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

import structlog

from korat.core.errors import KoratError, Unavailable
from korat.drivers.log import configure as configure_log
from korat.lab.flanneld import contract, device, options
from korat.lab.flanneld.contract import Lease, Network
from korat.lab.flanneld.registry import LEASE_S, Registry

_RETRY_S = 1.0
_RENEW_RETRY_S = 60.0

log = structlog.get_logger("korat.lab.flanneld")


def main() -> None:
    """Run until SIGTERM, or until one's own lease is taken away; either way nothing is removed."""
    configure_log(os.environ)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    asked = options.parse(sys.argv[1:], os.environ)
    try:
        node = begin(asked)
        log.info("flannel is ready", subnet=str(node.subnet), file=str(asked.subnet_file))
        node.follow()
    except KoratError as error:
        sys.exit(str(error))


def begin(asked: options.Options) -> "Node":
    """Device, lease, address, masquerading, ``subnet.env``: in flanneld's order."""
    registry = Registry(asked.etcd_endpoints, asked.etcd_prefix)
    network = _network(registry)
    through = device.outer(asked.iface, asked.public_ip)
    mac = device.device(network, through)
    value = contract.value_of(through.public_ip, network.vni, mac)
    previous = contract.previous_subnet(_read(asked.subnet_file))
    subnet = registry.acquire(network, through.public_ip, value, previous, secrets.choice)
    device.configure(network, subnet)
    if asked.ip_masq:
        device.masquerade(network, subnet)
    mtu = (network.outer_mtu or through.mtu) - contract.OVERHEAD_BYTES
    _write(asked.subnet_file, contract.subnet_env(network, subnet, mtu, ip_masq=asked.ip_masq))
    return Node(registry, network, subnet, value, asked.subnet_lease_renew_margin * 60)


@dataclass(slots=True)
class Node:
    """A node that has its lease."""

    registry: Registry
    network: Network
    subnet: IPv4Network
    value: str
    margin_s: float
    peers: dict[IPv4Network, Lease] = field(default_factory=dict)
    renew_at: float = 0.0

    def follow(self) -> None:
        """Lead to each peer and keep the lease, until the lease is gone.

        A change is heard from ``etcdctl watch``; then every lease is read again, so that nothing
        rests on what the watch tells. It starts at the revision that was read last: no gap.
        """
        self.renew_at = time.monotonic() + LEASE_S - self.margin_s
        while True:
            try:
                if not self._watch_once():
                    log.error("the lease has been revoked; ending", subnet=str(self.subnet))
                    return
            except Unavailable as error:
                log.warning("etcd does not answer; trying again", why=str(error))
            time.sleep(_RETRY_S)

    def _watch_once(self) -> bool:
        """Follow one watch to its end; False when the node's own lease is gone."""
        revision, leases = self.registry.leases()
        if not self._apply(leases):
            return False
        with self.registry.watch(revision + 1) as events:
            while events.wait(self.renew_at - time.monotonic()):
                if time.monotonic() >= self.renew_at:
                    self._renew()
                elif not self._apply(self.registry.leases()[1]):
                    return False
        return True

    def _apply(self, leases: Sequence[Lease]) -> bool:
        name = f"flannel.{self.network.vni}"
        if self.subnet not in [lease.subnet for lease in leases]:
            return False
        now = {
            lease.subnet: lease
            for lease in leases
            if lease.backend == "vxlan" and lease.mac and lease.subnet != self.subnet
        }
        for subnet in self.peers.keys() - now.keys():
            device.remove(name, self.peers[subnet])
        for subnet, peer in now.items():
            if self.peers.get(subnet) != peer:
                device.add(name, peer)
        self.peers = now
        return True

    def _renew(self) -> None:
        try:
            self.registry.renew(self.subnet, self.value)
            self.renew_at = time.monotonic() + LEASE_S - self.margin_s
        except Unavailable as error:
            log.error("the lease is not renewed yet", why=str(error))
            self.renew_at = time.monotonic() + _RENEW_RETRY_S


def _network(registry: Registry) -> Network:
    """The network's configuration, waited for."""
    while True:
        try:
            text = registry.config()
            if text is not None:
                return contract.network_of(text)
            log.warning("no configuration in etcd yet", key=f"{registry.prefix}/config")
        except Unavailable as error:
            log.warning("etcd does not answer; trying again", why=str(error))
        time.sleep(_RETRY_S)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    """Put the file there at once and whole, for everybody to read."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    descriptor, made = tempfile.mkstemp(dir=path.parent, prefix=".subnet")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        os.fchmod(file.fileno(), 0o644)
    Path(made).replace(path)


if __name__ == "__main__":
    main()
