"""How ``korat node run`` is told what to do: calico/node's own environment variables.

Source: calico/node's startup (NODENAME, IP, IP6, CALICO_NETWORKING_BACKEND, CALICO_IPV4POOL_*,
CALICO_IPV6POOL_*). Korat's own variables start with ``KORAT_``. FELIX_* settings live in
``korat.core.model.felix``.
"""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from korat.agent.flannel_settings import CANAL, FlannelSettings, flannel_settings
from korat.cni.request import RUN_DIR, SOCKET_NAME
from korat.core.errors import Invalid, Problem
from korat.core.net.address import Family, Prefix

#: What CALICO_NETWORKING_BACKEND may be, and why the others are refused.
NONE, VXLAN = "none", "vxlan"
BACKENDS = (NONE, VXLAN)
_REFUSED_BACKENDS = {
    "bird": "Azure's fabric ignores routes learned by BGP; use none, with user-defined routes, "
    "or vxlan"
}
_CROSS_SUBNET = (
    "Azure's fabric drops pods' packets that are not encapsulated, within one subnet too, so it "
    "must be Always"
)


#: Where Calico keeps what azure-vnet-ipam gave, too.
AZURE_STATE_DIR = "/var/run/calico/azure"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class _PoolDefaults:
    """What the variables of one IP version's pool are called by, and what holds without them."""

    prefix: str
    sizes: range
    size: str
    nat: str


_POOLS = {
    Family.V4: _PoolDefaults("CALICO_IPV4POOL", range(20, 33), "26", "true"),
    Family.V6: _PoolDefaults("CALICO_IPV6POOL", range(116, 129), "122", "false"),
}


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """A pool to create when the datastore has none of its IP version (CALICO_IPV4POOL_*)."""

    cidr: Prefix
    nat_outgoing: bool
    block_size: int
    vxlan_mode: str = "Never"


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Everything one node agent is told at start."""

    node_name: str
    backend: str
    ip: str  # an address, a CIDR, or "autodetect"
    ip6: str  # the same, or "none"
    poll_s: float  # how often the node's own address is looked at (AUTODETECT_POLL_INTERVAL)
    pools: tuple[PoolSettings, ...]
    run_dir: Path
    ready_file: Path | None
    azure_state_dir: Path  # what azure-vnet-ipam gave to whom
    flannel: FlannelSettings | None = None  # None: flannel is not what does the networking

    @property
    def tunnelled(self) -> bool:
        """Whether the networking option is one with tunnels."""
        return self.backend == VXLAN

    @property
    def socket_path(self) -> Path:
        """Where the CNI plugin finds this agent."""
        return self.run_dir / SOCKET_NAME


def node_settings(environ: Mapping[str, str]) -> NodeSettings:
    """Read the environment.

    Raises:
        Invalid: with every variable that is wrong.
    """
    problems: list[Problem] = []
    backend = environ.get("CALICO_NETWORKING_BACKEND", "none")
    if backend not in BACKENDS:
        reason = _REFUSED_BACKENDS.get(backend, f"must be {' or '.join(BACKENDS)}")
        problems.append(Problem("", "CALICO_NETWORKING_BACKEND", backend, reason))
    name = environ.get("NODENAME") or socket.gethostname().lower()
    ip = environ.get("IP") or "autodetect"
    if ip != "autodetect" and not _is_cidr(ip):
        problems.append(Problem("", "IP", ip, "must be autodetect, an address or a CIDR"))
    ip6 = environ.get("IP6") or "none"
    if ip6 not in ("none", "autodetect") and not _is_cidr(ip6):
        problems.append(Problem("", "IP6", ip6, "must be none, autodetect, an address or a CIDR"))
    ipip = environ.get("CALICO_IPV4POOL_IPIP", "Never")
    if ipip not in ("Never", "off", ""):
        rule = "Azure's fabric drops IP protocol 4 (IPIP), so it must be Never"
        problems.append(Problem("", "CALICO_IPV4POOL_IPIP", ipip, rule))
    found = (_pool(environ, backend, family, problems) for family in Family)
    pools = tuple(pool for pool in found if pool is not None)
    poll_s = _seconds(environ.get("AUTODETECT_POLL_INTERVAL") or "60s", problems)
    flannel = flannel_settings(environ, problems)
    if flannel is not None and backend != NONE:
        rule = f"must be {NONE} with CLUSTER_TYPE {CANAL}: flannel does the networking"
        problems.append(Problem("", "CALICO_NETWORKING_BACKEND", backend, rule))
    if problems:
        raise Invalid(problems)
    ready = environ.get("KORAT_READY_FILE")
    return NodeSettings(
        node_name=name,
        backend=backend,
        ip=ip,
        ip6=ip6,
        poll_s=poll_s,
        pools=pools,
        run_dir=Path(environ.get("KORAT_RUN_DIR") or RUN_DIR),
        ready_file=Path(ready) if ready else None,
        azure_state_dir=Path(environ.get("KORAT_AZURE_STATE_DIR") or AZURE_STATE_DIR),
        flannel=flannel,
    )


def _pool(
    environ: Mapping[str, str], backend: str, family: Family, problems: list[Problem]
) -> PoolSettings | None:
    defaults = _POOLS[family]
    prefix = defaults.prefix
    text = environ.get(f"{prefix}_CIDR")
    if not text or environ.get("NO_DEFAULT_POOLS", "").lower() == "true":
        return None
    # Calico's default is Never; without any encapsulation this networking option carries nothing.
    mode = environ.get(f"{prefix}_VXLAN") or ("Always" if backend == VXLAN else "Never")
    size = environ.get(f"{prefix}_BLOCK_SIZE") or defaults.size
    faults = []
    if mode not in ("Never", "Always"):
        rule = _CROSS_SUBNET if mode == "CrossSubnet" else "must be Never or Always"
        faults.append(Problem("", f"{prefix}_VXLAN", mode, rule))
    if not size.isdecimal() or int(size) not in defaults.sizes:
        rule = f"must be a prefix length from {defaults.sizes[0]} to {defaults.sizes[-1]}"
        faults.append(Problem("", f"{prefix}_BLOCK_SIZE", size, rule))
    if not _is_cidr(text) or Prefix.parse(text).family is not family:
        rule = f"must be a CIDR of IPv{family.value}"
        faults.append(Problem("", f"{prefix}_CIDR", text, rule))
    problems += faults
    if faults:
        return None
    nat = environ.get(f"{prefix}_NAT_OUTGOING", defaults.nat).lower() == "true"
    return PoolSettings(Prefix.parse(text), nat, int(size), mode)


def _seconds(text: str, problems: list[Problem]) -> float:
    match = _DURATION.fullmatch(text)
    if match is None or not float(match[1]):
        rule = "must be a duration such as 60s"
        problems.append(Problem("", "AUTODETECT_POLL_INTERVAL", text, rule))
        return 0.0
    return float(match[1]) * _UNIT_S[match[2]]


def _is_cidr(text: str) -> bool:
    try:
        Prefix.parse(text)
    except ValueError:
        return False
    return True
