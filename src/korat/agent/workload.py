"""What CNI asks of a node, done in this process: a workload gets its link, address and policy.

ADD returns only when the endpoint's policy is in the kernel, so a workload never runs before its
policy; what fails half way is undone. DEL and GC take away whatever is still there, the link first.
The store's endpoint goes before the address does, so that no address ever has two owners there.
The caller sees to it that one workload has one request at a time.

Not for the protocol; ``korat.agent.cni`` speaks it.
Source: Calico cni-plugin/pkg/{plugin,k8s}; CNI specification 1.1.0.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from korat.agent.address_source import AddressSource
from korat.agent.workload_endpoint import LinkEnds, endpoint, key_of, pod_of, provide_profile
from korat.agent.workload_removal import (
    Removal,
    addresses_of,
    alias_of,
    forget_connections,
    of_request,
    remove_each,
    stale,
    undo,
)
from korat.agent.workload_request import Request
from korat.agent.workload_result import differences, result, result_addresses
from korat.agent.workload_store import Endpoints, refuse_unready
from korat.core.errors import Invalid, NotFound, Problem
from korat.core.ipam.hostlocal import Owner
from korat.core.model.endpoint import WorkloadEndpoint
from korat.core.model.felix import FelixSettings
from korat.core.model.key import Key
from korat.core.model.pod import Pod
from korat.core.net.address import Addr, Prefix
from korat.drivers.kernel.veth import Seen, Veth
from korat.drivers.store.client import Client
from korat.ports import Store

log = structlog.get_logger(__name__)


class Links(Protocol):
    """The veth pairs of this node; ``korat.drivers.kernel.veth.Veths``."""

    def create(self, veth: Veth) -> Seen:
        """Make a pair, whole or not at all."""

    def read(self, host_name: str, netns: str, ifname: str) -> Seen | None:
        """The pair as it is now."""

    def delete(self, host_name: str, owner: str = "") -> bool:
        """Remove a pair, unless it has another owner."""

    def owners(self) -> Mapping[str, str]:
        """Every link's owner, by the link's name."""


def _always_ready() -> str:
    return ""


def _kernels_own() -> int:
    return 0


def _calicos_own() -> tuple[str, ...]:
    return FelixSettings().interface_prefix


@dataclass(frozen=True, slots=True)
class Workloads:
    """The workloads of one node.

    ``wait_programmed`` waits until the endpoint's policy is in the kernel, and says whether it is.
    ``forget`` deletes the tracked connections of addresses and says how many there were.
    ``ready`` gives the reason why the node cannot take workloads now, or nothing. ``mtu_bytes`` is
    what a link gets whose configuration says nothing; 0 leaves it to the kernel. The first of
    ``interface_prefixes`` begins the names of links.
    """

    node_name: str
    store: Store
    links: Links
    ipam: AddressSource
    wait_programmed: Callable[[Key, float], bool]
    forget: Callable[[Iterable[Addr]], int]
    ready: Callable[[], str] = _always_ready
    mtu_bytes: Callable[[], int] = _kernels_own
    interface_prefixes: Callable[[], tuple[str, ...]] = _calicos_own

    def add(self, request: Request) -> dict[str, Any]:
        """Network one workload and return the CNI result; the same again when asked again.

        Raises:
            NotFound: the pod is not in the store, or its namespace is gone.
            Unavailable: the store is away, no address is free, or the policy takes too long.
            Invalid, Conflict, Unsupported: the request cannot be done as it is.
        """
        refuse_unready(self.ready())
        client, endpoints = Client(self.store), self._endpoints
        pod = pod_of(request, client)
        before = endpoints.find(key_of(request, self.node_name))
        host_name = self._host_name(request, before)
        link = self.links.read(host_name, request.env.netns, request.owner.ifname)
        try:
            addrs = self._assign(request, before, pod)
            self._unlink_predecessor(request, host_name, before)
            seen = self._linked(request, host_name, link, addrs)
            provide_profile(request, client)
            networks = [str(Prefix.of(addr)) for addr in addrs]
            ends = LinkEnds(host_name, seen.pod_mac)
            wanted = endpoint(request, self.node_name, pod, networks, ends)
            endpoints.write(wanted, before)
            endpoints.wait(wanted.key, request.config.policy_setup_timeout_seconds)
            if before is not None and seen is not link:
                # What its predecessor was permitted, also up to now, is not this container's.
                forget_connections(self.forget, addrs, request.owner)
        except BaseException:
            # A workload that ran before this request keeps its network.
            if link is None or link.owner != alias_of(request.config.name, request.owner):
                undo(request, lambda: self._remove(self._removal(request)))
            raise
        return result(request, host_name, seen, addrs)

    def delete(self, request: Request) -> None:
        """Take one workload's network away; whatever is missing is fine.

        Raises:
            Unavailable: the store is away: the link is gone, the rest waits for another try.
        """
        self._remove(self._removal(request))

    def check(self, request: Request) -> None:
        """Compare a workload's network with the result that its ADD gave.

        Raises:
            NotFound: something is missing or different; says all of it.
            Invalid: the request carries no earlier result.
        """
        config = request.config
        if config.prev_result is None:
            raise Invalid([Problem("CNI request", "prevResult", None, "CHECK needs it")])
        key = key_of(request, self.node_name)
        stored = self._endpoints.find(key)
        host_name = self._host_name(request, stored)
        seen = self.links.read(host_name, request.env.netns, request.owner.ifname)
        if seen is None:
            raise NotFound(f"link {host_name} is gone")
        faults = differences(request, host_name, seen)
        held = self.ipam.of(config.name, config.ipam, request.owner)
        faults += [
            f"address {addr} is not reserved for this container"
            for addr in result_addresses(config.prev_result)
            if addr not in held
        ]
        if stored is None or stored.spec.container_id != request.owner.container_id:
            faults.append(f"{key} is not this container's")
        if faults:
            raise NotFound("; ".join(faults))

    def gc(self, request: Request) -> None:
        """Take away every attachment to this network that the runtime does not name.

        Raises:
            Invalid: the runtime names none at all, not even an empty list.
            KoratError: the first of the removals that failed; the others were done.
        """
        config = request.config
        holders = self.ipam.owners(config.name, config.ipam)
        gone = stale(request, self.links.owners(), holders, self._endpoints.of_network())
        remove_each(gone, self._remove)

    def status(self, request: Request) -> None:
        """Say whether an ADD can be served now.

        Raises:
            KoratError: it cannot, and why.
        """
        refuse_unready(self.ready())
        self.ipam.check(request.config.ipam)

    @property
    def _endpoints(self) -> Endpoints:
        return Endpoints(self.node_name, self.store, self.wait_programmed)

    def _host_name(self, request: Request, before: WorkloadEndpoint | None) -> str:
        """The name of the link: a container keeps the one it has, whatever is set meanwhile."""
        if before is not None and before.spec.container_id == request.owner.container_id:
            return before.spec.interface_name
        return request.host_name(self.interface_prefixes()[0])

    def _assign(
        self, request: Request, before: WorkloadEndpoint | None, pod: Pod | None
    ) -> tuple[Addr, ...]:
        """Addresses; a new container of a known pod may follow the old one in its address."""
        heir_of = None
        if before is not None and before.spec.container_id != request.owner.container_id:
            heir_of = Owner(before.spec.container_id, request.owner.ifname)
        asked = addresses_of(request, request.owner)
        return self.ipam.assign(
            replace(asked, requested=request.requested, heir_of=heir_of, pod=pod)
        )

    def _unlink_predecessor(
        self, request: Request, host_name: str, before: WorkloadEndpoint | None
    ) -> None:
        """An earlier container's link goes that has another name: names began otherwise then."""
        if before is not None and before.spec.interface_name not in ("", host_name):
            old = Owner(before.spec.container_id, request.owner.ifname)
            self.links.delete(before.spec.interface_name, alias_of(request.config.name, old))

    def _linked(
        self, request: Request, host_name: str, link: Seen | None, addrs: tuple[Addr, ...]
    ) -> Seen:
        """The workload's link: the one that is there if it is whole, else a new one."""
        alias = alias_of(request.config.name, request.owner)
        if link is not None:
            if link.owner == alias and _is_whole(link, addrs):
                return link
            self.links.delete(host_name)
        return self.links.create(
            Veth(
                host_name=host_name,
                netns=request.env.netns,
                ifname=request.owner.ifname,
                addresses=addrs,
                owner=alias,
                mtu_bytes=request.config.mtu or self.mtu_bytes(),
                ip_forward=request.config.container_settings.allow_ip_forwarding,
            )
        )

    def _remove(self, gone: Removal) -> None:
        # The link first: it needs no store.
        self._unlink(gone)
        asked = gone.addresses
        forget_connections(
            self.forget, self.ipam.of(asked.network, asked.ipam, gone.owner), gone.owner
        )
        for key in gone.endpoints:
            self._endpoints.delete(key, gone.owner.container_id)
        self.ipam.release(asked)

    def _removal(self, request: Request) -> Removal:
        host_name = request.host_name(self.interface_prefixes()[0])
        return of_request(request, self.node_name, host_name)

    def _unlink(self, gone: Removal) -> None:
        """Remove the link; under the name that it should have, or else wherever its alias is."""
        if not gone.host_name or self.links.delete(gone.host_name, gone.alias):
            return
        for name, alias in self.links.owners().items():
            if alias == gone.alias:
                self.links.delete(name, alias)


def _is_whole(link: Seen, addrs: tuple[Addr, ...]) -> bool:
    return (
        link.up
        and link.addresses == frozenset(addrs)
        and link.host_routes == link.addresses
        and link.default_routes == {addr.family for addr in addrs}
    )
