"""IPPool, on its own and on Azure.

Source: libcalico-go/lib/validator/v3 and the CEL rules of the CRD; for Azure, the protocols that
its fabric carries.
"""

from korat.core.errors import Problem
from korat.core.model.config import IPPool, IPPoolSpec
from korat.core.model.resource import Resource
from korat.core.model.validate.faults import Faults
from korat.core.model.validate.ipam import BLOCK_SIZES
from korat.core.net.address import Family, Prefix

_MODES = ("Never", "Always", "CrossSubnet")
_USES = ("Workload", "Tunnel", "LoadBalancer")
_LINK_LOCAL = (Prefix.parse("169.254.0.0/16"), Prefix.parse("fe80::/10"))
_NO_IPIP = (
    "Azure's fabric drops IP protocol 4 (IPIP); write `ipipMode: Never` and use user-defined "
    "routes, or `vxlanMode: Always`"
)
_NO_CROSS_SUBNET = (
    "Azure's fabric drops pods' packets that are not encapsulated, within one subnet too; write "
    "`vxlanMode: Always`"
)


def pool(faults: Faults, own: IPPool) -> None:
    """A pool, with the defaults filled in."""
    spec = own.spec
    faults.choice("spec.ipipMode", spec.ipip_mode, _MODES)
    faults.choice("spec.vxlanMode", spec.vxlan_mode, _MODES)
    faults.choice("spec.assignmentMode", spec.assignment_mode, ("Automatic", "Manual"))
    if "Never" not in {spec.ipip_mode, spec.vxlan_mode}:
        faults.add("spec.vxlanMode", spec.vxlan_mode, "ipipMode and vxlanMode may not both be on")
    faults.selector("spec.nodeSelector", spec.node_selector)
    faults.selector("spec.namespaceSelector", spec.namespace_selector)
    _uses(faults, spec)
    if not spec.cidr:
        faults.add("spec.cidr", None, "is missing")
        return
    cidr = faults.cidr("spec.cidr", spec.cidr)
    if cidr is not None:
        _range(faults, spec, cidr)


def on_azure(resource: Resource) -> list[Problem]:
    """What works elsewhere and not on Azure: IPIP, and packets that are encapsulated at times."""
    if not isinstance(resource, IPPool):
        return []
    faults = Faults(resource.title)
    spec = resource.spec
    if spec.ipip_mode not in {"", "Never"}:
        faults.add("spec.ipipMode", spec.ipip_mode, _NO_IPIP)
    if spec.vxlan_mode == "CrossSubnet":
        faults.add("spec.vxlanMode", spec.vxlan_mode, _NO_CROSS_SUBNET)
    return faults.found


def _range(faults: Faults, spec: IPPoolSpec, cidr: Prefix) -> None:
    if cidr.family is Family.V6 and spec.ipip_mode != "Never":
        faults.add("spec.ipipMode", spec.ipip_mode, "IPIP is not supported on IPv6 pools")
    for reserved in _LINK_LOCAL:
        if cidr.overlaps(reserved):
            faults.add("spec.cidr", spec.cidr, f"overlaps the link-local range {reserved}")
    smallest, largest = BLOCK_SIZES[cidr.family]
    if not smallest <= spec.block_size <= largest:
        faults.add("spec.blockSize", spec.block_size, f"must be {smallest} to {largest}")
    elif cidr.length > spec.block_size and not spec.disabled:
        rule = f"is smaller than one block (/{spec.block_size}); give a larger CIDR or blockSize"
        faults.add("spec.cidr", spec.cidr, rule)


def _uses(faults: Faults, spec: IPPoolSpec) -> None:
    for i, use in enumerate(spec.allowed_uses):
        faults.choice(f"spec.allowedUses[{i}]", use, _USES)
    if "Tunnel" in spec.allowed_uses and spec.namespace_selector:
        rule = "may not be given when allowedUses has Tunnel"
        faults.add("spec.namespaceSelector", spec.namespace_selector, rule)
    if "LoadBalancer" not in spec.allowed_uses:
        return
    if set(spec.allowed_uses) - {"LoadBalancer"}:
        faults.add("spec.allowedUses", None, "LoadBalancer must stand alone")
    if {spec.ipip_mode, spec.vxlan_mode} != {"Never"}:
        faults.add("spec.allowedUses", None, "a LoadBalancer pool may have no encapsulation")
    if spec.node_selector != "all()":
        rule = "must be all() in a LoadBalancer pool"
        faults.add("spec.nodeSelector", spec.node_selector, rule)
    if spec.disable_bgp_export:
        faults.add("spec.disableBGPExport", None, "may not be true in a LoadBalancer pool")
