"""How ``korat node run`` is told what to do: calico/node's own environment variables.

Source: calico/node's startup (NODENAME, IP, CALICO_NETWORKING_BACKEND, CALICO_IPV4POOL_*). Korat's
own variables start with ``KORAT_``. FELIX_* settings live in ``korat.core.model.felix``.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from korat.cni.request import RUN_DIR, SOCKET_NAME
from korat.core.errors import Invalid, Problem
from korat.core.net.address import Prefix

_BLOCK_SIZES = range(20, 33)

#: What CALICO_NETWORKING_BACKEND may be, and why the others are refused.
_REFUSED_BACKENDS = {
    "bird": "Azure's fabric ignores routes learned by BGP; use none, with user-defined routes",
    "vxlan": "this version has no VXLAN data path yet; use none, with user-defined routes",
}


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """The pool to create when the datastore has none (CALICO_IPV4POOL_*)."""

    cidr: Prefix
    nat_outgoing: bool
    block_size: int


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Everything one node agent is told at start."""

    node_name: str
    ip: str  # an address, a CIDR, or "autodetect"
    pool: PoolSettings | None
    run_dir: Path
    ready_file: Path | None

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
    if backend != "none":
        reason = _REFUSED_BACKENDS.get(backend, "must be none, vxlan or bird")
        problems.append(Problem("", "CALICO_NETWORKING_BACKEND", backend, reason))
    name = environ.get("NODENAME") or socket.gethostname().lower()
    ip = environ.get("IP") or "autodetect"
    if ip != "autodetect" and not _is_cidr(ip):
        problems.append(Problem("", "IP", ip, "must be autodetect, an address or a CIDR"))
    pool = _pool(environ, problems)
    if problems:
        raise Invalid(problems)
    ready = environ.get("KORAT_READY_FILE")
    return NodeSettings(
        node_name=name,
        ip=ip,
        pool=pool,
        run_dir=Path(environ.get("KORAT_RUN_DIR") or RUN_DIR),
        ready_file=Path(ready) if ready else None,
    )


def _pool(environ: Mapping[str, str], problems: list[Problem]) -> PoolSettings | None:
    ipip = environ.get("CALICO_IPV4POOL_IPIP", "Never")
    if ipip not in ("Never", "off", ""):
        rule = "Azure's fabric drops IP protocol 4 (IPIP), so it must be Never"
        problems.append(Problem("", "CALICO_IPV4POOL_IPIP", ipip, rule))
    text = environ.get("CALICO_IPV4POOL_CIDR")
    if not text or environ.get("NO_DEFAULT_POOLS", "").lower() == "true":
        return None
    block_size = environ.get("CALICO_IPV4POOL_BLOCK_SIZE") or "26"
    if not block_size.isdecimal() or int(block_size) not in _BLOCK_SIZES:
        rule = "must be a prefix length from 20 to 32"
        problems.append(Problem("", "CALICO_IPV4POOL_BLOCK_SIZE", block_size, rule))
        return None
    if not _is_cidr(text):
        problems.append(Problem("", "CALICO_IPV4POOL_CIDR", text, "must be a CIDR"))
        return None
    nat = environ.get("CALICO_IPV4POOL_NAT_OUTGOING", "true").lower() == "true"
    return PoolSettings(Prefix.parse(text), nat, int(block_size))


def _is_cidr(text: str) -> bool:
    try:
        Prefix.parse(text)
    except ValueError:
        return False
    return True
