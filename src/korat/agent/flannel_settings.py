"""How a node is told that flannel does its networking: canal's environment, and flanneld's own.

``CLUSTER_TYPE`` with ``canal`` in it, beside ``CALICO_NETWORKING_BACKEND=none``, is what canal's
manifest gives calico/node: a flanneld runs on the node, and the rest is told by its subnet.env.
Where the same environment also names flanneld's etcd (``FLANNELD_ETCD_ENDPOINTS``), korat takes
flanneld's place. Every flag of flanneld may be given so, as ``FLANNELD_`` and its name.
Source: canal's manifest; flannel's documentation of its configuration.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from korat.core.errors import Problem
from korat.core.net.address import Addr
from korat.core.route.flannel.env import DEFAULT_PATH

CANAL = "canal"
_ENDPOINTS = "FLANNELD_ETCD_ENDPOINTS"
_KUBERNETES = "FLANNELD_KUBE_SUBNET_MGR"
_FILE, _MASQUERADE = "FLANNELD_SUBNET_FILE", "FLANNELD_IP_MASQ"
_PUBLIC_IP, _MARGIN = "FLANNELD_PUBLIC_IP", "FLANNELD_SUBNET_LEASE_RENEW_MARGIN"
#: A lease lasts a day, and must be renewed before it ends.
_MARGINS_MIN = range(1, 24 * 60)


@dataclass(frozen=True, slots=True)
class FlannelSettings:
    """What flannel's side of a node is told; ``own``: korat is it, and no flanneld runs.

    ``public_ip`` is empty where it is the node's address. ``margin_s`` is how long before its end
    a lease is renewed.
    """

    own: bool
    subnet_file: Path
    masquerade: bool
    public_ip: str
    margin_s: float


def flannel_settings(environ: Mapping[str, str], problems: list[Problem]) -> FlannelSettings | None:
    """Read the environment; None where flannel is not what does the networking."""
    kinds = {kind.strip() for kind in environ.get("CLUSTER_TYPE", "").split(",")}
    if CANAL not in kinds:
        return None
    if environ.get("USE_POD_CIDR", "true").lower() != "true":
        rule = "must be true with canal: pods' addresses are of the subnet that flannel gives"
        problems.append(Problem("", "USE_POD_CIDR", environ["USE_POD_CIDR"], rule))
    if environ.get(_KUBERNETES, "").lower() == "true":
        rule = f"this version knows flannel's subnets in etcd only; give {_ENDPOINTS}"
        problems.append(Problem("", _KUBERNETES, "true", rule))
    file = environ.get(_FILE) or DEFAULT_PATH
    if not file.startswith("/") or ".." in file.split("/"):
        problems.append(Problem("", _FILE, file, "must be an absolute path without '..'"))
    public_ip = environ.get(_PUBLIC_IP, "")
    if public_ip and not _is_address(public_ip):
        problems.append(Problem("", _PUBLIC_IP, public_ip, "must be an address"))
    margin = environ.get(_MARGIN) or "60"
    if not margin.isdecimal() or int(margin) not in _MARGINS_MIN:
        rule = f"must be {_MARGINS_MIN[0]} to {_MARGINS_MIN[-1]} minutes"
        problems.append(Problem("", _MARGIN, margin, rule))
        margin = "60"
    return FlannelSettings(
        own=bool(environ.get(_ENDPOINTS)),
        subnet_file=Path(file),
        masquerade=environ.get(_MASQUERADE, "").lower() == "true",
        public_ip=public_ip,
        margin_s=int(margin) * 60.0,
    )


def _is_address(text: str) -> bool:
    try:
        Addr.parse(text)
    except ValueError:
        return False
    return True
