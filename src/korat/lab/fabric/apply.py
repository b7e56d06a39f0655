"""Making the kernel hold what the plan says: read what is there, change only what differs.

Nothing is remembered between two calls, so an apply that was killed half-way is repaired by the
next one, from whatever process. The nftables table is replaced whole: it is small, and its
replacement is atomic.
"""

from typing import Self

from korat.drivers.kernel import namespace
from korat.lab.arm.view import NetworkView
from korat.lab.fabric import topology
from korat.lab.fabric.forwarding import apply_forwarding
from korat.lab.fabric.plan import FabricPlan, Port, plan
from korat.lab.fabric.switch import Switches
from korat.lab.fabric.topology import (
    Names,
    ensure_vm,
    load,
    observe_ports,
    plug,
    sweep,
    unplug,
    with_netlink,
)


class Fabric:
    """The Azure fabric of one lab: give it a view, and packets go as that view says."""

    def __init__(self, lab: str, switches: Switches | None = None) -> None:
        """Nothing is made before ``build``; an existing fabric of this lab can be applied to."""
        self.names = Names(lab)
        self._switches = switches or Switches()

    def build(self) -> None:
        """Make the fabric and the internet, without VMs; leftovers of this lab go first.

        Raises:
            Unsupported: not root, or the kernel lacks something.
        """
        sweep(self.names.lab)
        topology.build(self.names)

    def apply(self, view: NetworkView) -> FabricPlan:
        """Make VMs, cables, routes and checks be what the view says, and return the plan for it.

        Raises:
            NotFound: there is no fabric of this lab.
        """
        wanted = plan(view, self._switches)
        self._apply_ports(wanted)
        load(self.names.fabric, wanted.ruleset)
        load(self.names.internet, wanted.edge)
        with_netlink(self.names.fabric, lambda ip: apply_forwarding(ip, wanted))
        return wanted

    def power_off(self, vm: str) -> None:
        """Destroy a VM's namespace and all its kernel knows; the next ``apply`` makes it anew."""
        seen = observe_ports(self.names.fabric)
        unplug(self.names.fabric, [port.device for port in seen if port.vm == vm])
        namespace.remove(self.names.vm(vm))

    def close(self) -> None:
        """Remove the fabric, its VMs and all that is in them."""
        sweep(self.names.lab)

    def __enter__(self) -> Self:
        self.build()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _apply_ports(self, wanted: FabricPlan) -> None:
        there = observe_ports(self.names.fabric)
        keep = {str(port) for port in wanted.ports}
        unplug(self.names.fabric, [seen.device for seen in there if seen.alias not in keep])
        vms = {port.vm for port in wanted.ports}
        for vm in {seen.vm for seen in there if seen.vm} - vms:
            namespace.remove(self.names.vm(vm))
        aliases = {seen.alias for seen in there}
        for port in wanted.ports:
            if str(port) not in aliases:
                self._add_port(port)

    def _add_port(self, port: Port) -> None:
        guest = self.names.vm(port.vm)
        ensure_vm(guest)
        plug(self.names.fabric, port, guest)
