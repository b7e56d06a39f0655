"""What a lab is to look like, decided before anything is touched.

Pure: options in, a blueprint out, or every problem with them at once. The layout is Azure's: the
first usable address of a subnet is .4. With user-defined routes a node's pods have a /24 of the
cluster's range, which lies inside the virtual network but outside its subnets. With VXLAN and with
flannel the range is nobody's in the virtual network, and Calico's address management or flannel
divides it. With Azure CNI pods have secondary addresses of their node's NIC, so their range is the
nodes' subnet.
"""

from dataclasses import dataclass, replace

from korat.core.errors import Conflict, Invalid, NotFound, Problem
from korat.core.model.decode import nearest
from korat.core.net.address import Addr, Prefix
from korat.lab.arm.resource.rule import FORBIDDEN_SPACE
from korat.lab.mode import MODES, REFUSED, UDR, Addressing, Mode

SUBSCRIPTION = "00000000-0000-0000-0000-00000000ab1e"
RESOURCE_GROUP = "korat-lab"
LOCATION = "westeurope"
VNET = "vnet"
SUBNET = "nodes"
ROUTE_TABLE = "korat-routes"

VNET_CIDR = "10.10.0.0/16"
SUBNET_CIDR = "10.10.0.0/24"
#: Where pods live in the nodes' subnet: room for the largest lab, and for more addresses per NIC.
LARGE_SUBNET_CIDR = "10.10.0.0/20"
#: The virtual machine that keeps flannel's leases, with flannel alone.
ETCD = "etcd"

STORES = {
    "sqlite": "",
    "etcd": "this version has no etcd driver yet",
    "kubernetes": "this version has no Kubernetes driver yet",
}

#: Azure keeps .0 to .3 and the last address of every subnet.
_FIRST_HOST = 4
_RESERVED = 5
_POD_PREFIX_LENGTH = 24
_MAX_NODES = 100
_BLOCK_PREFIX_LENGTH = 26
#: The first address of a subnet that a NIC has for pods; those before are for primary ones.
_FIRST_SECONDARY = 256
#: A NIC has at most 256 private addresses, its primary one among them.
_NIC_ADDRESSES = range(1, 256)
#: The least that IP promises to carry, and what a NIC can send at most.
_PACKETS = range(576, 1501)


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for; an empty ``subnet_cidr`` or ``cluster_cidr`` is the mode's own.

    ``largest_packet`` is what the fabric carries in one piece (``fabric.switch``), 0 for all.
    ``nic_addresses`` is how many addresses for pods each NIC has with Azure CNI. ``beside`` names
    whose programs take a part of korat's, where the mode has such.
    """

    mode: str = UDR
    nodes: int = 3
    store: str = "sqlite"
    vnet_cidr: str = VNET_CIDR
    subnet_cidr: str = ""
    cluster_cidr: str = ""
    largest_packet: int = 0
    nic_addresses: int = 16
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Vm:
    """One virtual machine to make.

    ``pod_cidr`` is its pods' subnet, None where they have none. ``pod_addresses`` are the secondary
    addresses of its NIC, empty where pods have addresses that no NIC has.
    """

    name: str
    address: Addr
    nic: str
    pod_cidr: Prefix | None = None
    pod_addresses: tuple[Addr, ...] = ()


@dataclass(frozen=True, slots=True)
class Blueprint:
    """The lab to make, and while it runs the lab as it is.

    ``cluster`` is where pods' addresses come from: with Azure CNI the subnet itself.
    """

    options: Options
    vnet: Prefix
    subnet: Prefix
    cluster: Prefix
    vms: tuple[Vm, ...] = ()

    @property
    def mode(self) -> Mode:
        """The networking option."""
        return MODES[self.options.mode]

    @property
    def routed(self) -> bool:
        """Whether pods of two nodes need routes of Azure's to reach each other."""
        return self.mode.addressing is Addressing.SUBNET

    @property
    def in_subnet(self) -> bool:
        """Whether pods have addresses of the nodes' subnet."""
        return self.mode.addressing is Addressing.NIC

    @property
    def etcd(self) -> Vm | None:
        """The virtual machine that is no node, but has flannel's etcd."""
        if self.mode.addressing is not Addressing.LEASE:
            return None
        return Vm(ETCD, Addr(self.subnet.family, self.subnet.last - 1), f"{ETCD}-nic")

    @property
    def pod_subnets(self) -> Prefix | None:
        """What each node has a subnet of for its pods; None where nodes have none."""
        return self.cluster if self.routed else None

    @property
    def kept(self) -> range:
        """Addresses, as numbers, that only the lab itself gives to NICs, of VMs to come too."""
        if not self.in_subnet:
            return range(0)
        first = self.subnet.first
        addresses = _MAX_NODES * self.options.nic_addresses
        return range(first, first + _FIRST_SECONDARY + addresses)

    def vm(self, name: str) -> Vm:
        """A virtual machine by its name.

        Raises:
            NotFound: there is none; names the nearest one, or all.
        """
        names = [vm.name for vm in self.vms]
        if name in names:
            return self.vms[names.index(name)]
        near = nearest(name, names)
        hint = f"did you mean {near}?" if near else f"the lab's nodes are {', '.join(names)}"
        raise NotFound(f"there is no node {name}", hint)


def blueprint(options: Options) -> Blueprint:
    """Lay the lab out.

    Raises:
        Invalid: with everything that is wrong with the options.
    """
    modes: dict[str, str] = {**dict.fromkeys(MODES, ""), **REFUSED}
    problems = [*_choice("--mode", options.mode, modes), *_choice("--store", options.store, STORES)]
    # The other options are looked at all the same where the mode is none.
    known = options.mode if options.mode in MODES else UDR
    mode = MODES[known]
    if options.beside:
        problems += _choice("--beside", options.beside, dict.fromkeys(mode.beside, ""))
    in_subnet = mode.addressing is Addressing.NIC
    nodes = options.subnet_cidr or (LARGE_SUBNET_CIDR if in_subnet else SUBNET_CIDR)
    pods = options.cluster_cidr or mode.cluster_cidr
    vnet = _prefix("--vnet", options.vnet_cidr, problems)
    subnet = _prefix("--subnet", nodes, problems)
    if in_subnet and not options.cluster_cidr:
        cluster = subnet
    else:
        cluster = _prefix("--cluster-cidr", pods, problems)
    problems += _numbers(options)
    if not (vnet and subnet and cluster):
        raise Invalid(problems)
    empty = Blueprint(replace(options, mode=known), vnet, subnet, cluster)
    problems += [*_placement(empty), *_room(empty, options.nodes)]
    if problems:
        raise Invalid(problems)
    return replace(empty, vms=tuple(_vm(empty, number) for number in range(options.nodes)))


def grown(plan: Blueprint, count: int) -> Blueprint:
    """The lab with so many more virtual machines, of the lowest numbers that are free.

    Raises:
        Invalid: they have no room.
    """
    total = len(plan.vms) + count
    problems = _room(plan, total)
    if count < 1:
        problems.append(Problem("", "--count", count, "must be 1 or more"))
    elif total > _MAX_NODES:
        rule = f"a lab has at most {_MAX_NODES} nodes, and this one has {len(plan.vms)}"
        problems.append(Problem("", "--count", count, rule))
    if problems:
        raise Invalid(problems)
    names = {vm.name for vm in plan.vms}
    every = (_vm(plan, number) for number in range(total))
    new = [vm for vm in every if vm.name not in names][:count]
    return replace(plan, vms=tuple(sorted((*plan.vms, *new), key=lambda vm: vm.address)))


def without(plan: Blueprint, name: str) -> Blueprint:
    """The lab with one virtual machine less.

    Raises:
        NotFound: it has none of that name.
        Conflict: it has no other.
    """
    gone = plan.vm(name)
    if plan.vms == (gone,):
        raise Conflict(f"{name} is the lab's only node", "take the lab down with: korat lab down")
    return replace(plan, vms=tuple(vm for vm in plan.vms if vm != gone))


def _choice(option: str, value: str, choices: dict[str, str]) -> list[Problem]:
    if value not in choices:
        known = ", ".join(name for name, refusal in choices.items() if not refusal)
        rule = f"must be one of: {known}" if known else "is for other modes"
        return [Problem("", option, value, rule)]
    return [Problem("", option, value, choices[value])] if choices[value] else []


def _prefix(option: str, text: str, problems: list[Problem]) -> Prefix | None:
    try:
        prefix = Prefix.parse(text, strict=True)
    except ValueError:
        problems.append(Problem("", option, text, "must be a CIDR whose host bits are zero"))
        return None
    if prefix.family.bits != 32:  # noqa: PLR2004 - the width of an IPv4 address
        problems.append(Problem("", option, text, "must be IPv4"))
        return None
    return prefix


def _numbers(options: Options) -> list[Problem]:
    problems = []
    if not 1 <= options.nodes <= _MAX_NODES:
        rule = f"must be 1 to {_MAX_NODES}"
        problems.append(Problem("", "--nodes", options.nodes, rule))
    largest = options.largest_packet
    if largest and largest not in _PACKETS:
        rule = f"must be {_PACKETS[0]} to {_PACKETS[-1]}, or 0"
        problems.append(Problem("", "--largest-packet", largest, rule))
    if options.nic_addresses not in _NIC_ADDRESSES:
        rule = f"must be {_NIC_ADDRESSES[0]} to {_NIC_ADDRESSES[-1]}"
        problems.append(Problem("", "--nic-addresses", options.nic_addresses, rule))
    return problems


def _placement(plan: Blueprint) -> list[Problem]:
    vnet, subnet, cluster, problems = plan.vnet, plan.subnet, plan.cluster, []
    if any(vnet.overlaps(space) for space in FORBIDDEN_SPACE):
        rule = "contains addresses that Azure reserves"
        problems.append(Problem("", "--vnet", str(vnet), rule))
    if not vnet.covers(subnet):
        rule = f"must lie inside the virtual network {vnet}"
        problems.append(Problem("", "--subnet", str(subnet), rule))
    if plan.in_subnet:
        if cluster != subnet:
            rule = f"pods have addresses of their node's NIC, so it must be the subnet {subnet}"
            problems.append(Problem("", "--cluster-cidr", str(cluster), rule))
        return problems
    if plan.routed and not vnet.covers(cluster):
        rule = f"pod subnets must lie inside the virtual network {vnet}"
        problems.append(Problem("", "--cluster-cidr", str(cluster), rule))
    if cluster.overlaps(subnet):
        rule = f"overlaps the subnet {subnet}, where Azure would give pod addresses to NICs"
        problems.append(Problem("", "--cluster-cidr", str(cluster), rule))
    return problems


def _room(plan: Blueprint, nodes: int) -> list[Problem]:
    subnet, cluster, problems = plan.subnet, plan.cluster, []
    size, of = subnet.last - subnet.first + 1, ""
    hosts = size - _RESERVED
    if plan.in_subnet:
        each = plan.options.nic_addresses
        of = f" with {each} addresses for pods"
        hosts = (size - _FIRST_SECONDARY - 1) // max(each, 1)
    elif plan.etcd is not None:
        of, hosts = f" beside {ETCD}", hosts - 1
    if nodes > hosts:
        rule = f"has room for {max(hosts, 0)} virtual machines{of}, not {nodes}"
        problems.append(Problem("", "--subnet", str(subnet), rule))
    if plan.in_subnet:
        return problems
    blocks = plan.mode.addressing is Addressing.BLOCKS
    length = _BLOCK_PREFIX_LENGTH if blocks else _POD_PREFIX_LENGTH
    # flannel leaves the first of its subnets out.
    parts = (1 << max(length - cluster.length, 0)) - (plan.etcd is not None)
    if cluster.length > length or nodes > parts:
        rule = f"has no room for {nodes} pod subnets of /{length}"
        problems.append(Problem("", "--cluster-cidr", str(cluster), rule))
    return problems


def _vm(plan: Blueprint, number: int) -> Vm:
    name, family = f"vm{number + 1}", plan.subnet.family
    address = Addr(family, plan.subnet.base + _FIRST_HOST + number)
    vm = Vm(name, address, f"{name}-nic")
    if plan.in_subnet:
        each = plan.options.nic_addresses
        first = plan.subnet.base + _FIRST_SECONDARY + number * each
        own = range(first, first + each)
        return replace(vm, pod_addresses=tuple(Addr(family, value) for value in own))
    if plan.pod_subnets is None:
        return vm
    pods = plan.pod_subnets.base + (number << (family.bits - _POD_PREFIX_LENGTH))
    return replace(vm, pod_cidr=Prefix(family, pods, _POD_PREFIX_LENGTH))
