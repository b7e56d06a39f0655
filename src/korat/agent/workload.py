"""What CNI asks of a node, done in this process: a workload gets its link, address and policy.

ADD returns only when the endpoint's policy is in the kernel, so a workload never runs before its
policy; what fails half way is undone. DEL and GC take away whatever is still there, the link first.
The store's endpoint goes before the address does, so that no address ever has two owners there.
The caller sees to it that one workload has one request at a time.

Not for the protocol; ``korat.agent.cni`` speaks it.
Source: Calico cni-plugin/pkg/{plugin,k8s}; CNI specification 1.1.0.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from korat.agent.address_source import AddressRequest, AddressSource
from korat.agent.workload_endpoint import endpoint, key_of, pod_of, provide_profile, stored
from korat.agent.workload_removal import Removal, alias_of, of_request, stale
from korat.agent.workload_request import Request
from korat.agent.workload_result import addresses_of, differences, result
from korat.core.errors import Conflict, Invalid, KoratError, NotFound, Problem, Unavailable
from korat.core.ipam.hostlocal import Owner
from korat.core.model.endpoint import WorkloadEndpoint
from korat.core.model.key import Key
from korat.core.model.pod import Pod
from korat.core.net.address import Addr, Prefix
from korat.drivers.kernel.veth import Seen, Veth
from korat.drivers.store.client import Client
from korat.ports import Store

log = structlog.get_logger(__name__)

_TRIES = 5


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


@dataclass(frozen=True, slots=True)
class Workloads:
    """The workloads of one node.

    ``wait_programmed`` waits until the endpoint's policy is in the kernel, and says whether it is.
    ``forget`` deletes the tracked connections of addresses and says how many there were.
    ``ready`` gives the reason why the node cannot take workloads now, or nothing. ``mtu_bytes`` is
    what a link gets whose configuration says nothing; 0 leaves it to the kernel.
    """

    node_name: str
    store: Store
    links: Links
    ipam: AddressSource
    wait_programmed: Callable[[Key, float], bool]
    forget: Callable[[Iterable[Addr]], int]
    ready: Callable[[], str] = _always_ready
    mtu_bytes: Callable[[], int] = _kernels_own

    def add(self, request: Request) -> dict[str, Any]:
        """Network one workload and return the CNI result; the same again when asked again.

        Raises:
            NotFound: the pod is not in the store, or its namespace is gone.
            Unavailable: the store is away, no address is free, or the policy takes too long.
            Invalid, Conflict, Unsupported: the request cannot be done as it is.
        """
        _refuse_unready(self.ready())
        pod = pod_of(request, self._client)
        before = self._endpoint(key_of(request, self.node_name))
        link = self.links.read(request.host_name, request.env.netns, request.owner.ifname)
        try:
            addrs = self._assign(request, before, pod)
            seen = self._linked(request, link, addrs)
            provide_profile(request, self._client)
            networks = [str(Prefix.of(addr)) for addr in addrs]
            wanted = endpoint(request, self.node_name, pod, networks, seen.pod_mac)
            self._write(wanted, before)
            self._wait(wanted.key, request)
            if before is not None and seen is not link:
                # What its predecessor was permitted, also up to now, is not this container's.
                self._forget(addrs, request.owner)
        except BaseException:
            # A workload that ran before this request keeps its network.
            if link is None or link.owner != alias_of(request.config.name, request.owner):
                self._undo(request)
            raise
        return result(request, seen, addrs)

    def delete(self, request: Request) -> None:
        """Take one workload's network away; whatever is missing is fine.

        Raises:
            Unavailable: the store is away: the link is gone, the rest waits for another try.
        """
        self._remove(of_request(request, self.node_name))

    def check(self, request: Request) -> None:
        """Compare a workload's network with the result that its ADD gave.

        Raises:
            NotFound: something is missing or different; says all of it.
            Invalid: the request carries no earlier result.
        """
        config = request.config
        if config.prev_result is None:
            raise Invalid([Problem("CNI request", "prevResult", None, "CHECK needs it")])
        seen = self.links.read(request.host_name, request.env.netns, request.owner.ifname)
        if seen is None:
            raise NotFound(f"link {request.host_name} is gone")
        faults = differences(request, seen)
        held = self.ipam.of(config.name, config.ipam, request.owner)
        faults += [
            f"address {addr} is not reserved for this container"
            for addr in addresses_of(config.prev_result)
            if addr not in held
        ]
        key = key_of(request, self.node_name)
        stored = self._endpoint(key)
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
        if request.config.valid_attachments is None:
            raise Invalid(
                [Problem("CNI request", "cni.dev/valid-attachments", None, "GC needs it")]
            )
        config, failures = request.config, []
        holders = self.ipam.owners(config.name, config.ipam)
        for removal in stale(request, self.links.owners(), holders, self._endpoints()):
            try:
                self._remove(removal)
            except KoratError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def status(self, request: Request) -> None:
        """Say whether an ADD can be served now.

        Raises:
            KoratError: it cannot, and why.
        """
        _refuse_unready(self.ready())
        self.ipam.check(request.config.ipam)

    @property
    def _client(self) -> Client:
        return Client(self.store)

    def _endpoint(self, key: Key) -> WorkloadEndpoint | None:
        found = stored(self.store, key)
        return found if isinstance(found, WorkloadEndpoint) else None

    def _endpoints(self) -> Iterator[WorkloadEndpoint]:
        """Those of this node."""
        for found in self._client.read(["WorkloadEndpoint"]).by_key.values():
            if isinstance(found, WorkloadEndpoint) and found.spec.node == self.node_name:
                yield found

    def _assign(
        self, request: Request, before: WorkloadEndpoint | None, pod: Pod | None
    ) -> tuple[Addr, ...]:
        """Addresses; a new container of a known pod may follow the old one in its address."""
        heir_of = None
        if before is not None and before.spec.container_id != request.owner.container_id:
            heir_of = Owner(before.spec.container_id, request.owner.ifname)
        config = request.config
        return self.ipam.assign(
            AddressRequest(config.name, config.ipam, request.owner, request.requested, heir_of, pod)
        )

    def _linked(self, request: Request, link: Seen | None, addrs: tuple[Addr, ...]) -> Seen:
        """The workload's link: the one that is there if it is whole, else a new one."""
        alias = alias_of(request.config.name, request.owner)
        if link is not None:
            if link.owner == alias and _is_whole(link, addrs):
                return link
            self.links.delete(request.host_name)
        return self.links.create(
            Veth(
                host_name=request.host_name,
                netns=request.env.netns,
                ifname=request.owner.ifname,
                addresses=addrs,
                owner=alias,
                mtu_bytes=request.config.mtu or self.mtu_bytes(),
                ip_forward=request.config.container_settings.allow_ip_forwarding,
            )
        )

    def _write(self, wanted: WorkloadEndpoint, before: WorkloadEndpoint | None) -> None:
        try:
            if before is None:
                self._client.create(wanted)
            else:
                self._client.update(wanted, before)
        except (Conflict, NotFound):
            # Somebody changed it since it was read.
            self._client.apply(wanted)

    def _wait(self, key: Key, request: Request) -> None:
        timeout_s = request.config.policy_setup_timeout_seconds
        if timeout_s and not self.wait_programmed(key, timeout_s):
            raise Unavailable(f"the policy of {key} was not in the kernel after {timeout_s:g} s")

    def _undo(self, request: Request) -> None:
        """Take away what a failed ADD left; what cannot be, the runtime's DEL will."""
        try:
            self._remove(of_request(request, self.node_name))
        except KoratError as error:
            log.warning("a failed ADD is not undone", subject=request.subject, error=str(error))

    def _remove(self, gone: Removal) -> None:
        # The link first: it needs no store.
        for host_name in gone.host_names:
            self.links.delete(host_name, alias_of(gone.network, gone.owner))
        self._forget(self.ipam.of(gone.network, gone.ipam, gone.owner), gone.owner)
        for key in gone.endpoints:
            self._delete_endpoint(key, gone.owner.container_id)
        self.ipam.release(gone.network, gone.ipam, gone.owner)

    def _forget(self, addrs: Iterable[Addr], owner: Owner) -> None:
        try:
            self.forget(addrs)
        except KoratError as error:
            log.warning("connections are not forgotten", owner=owner, error=str(error))

    def _delete_endpoint(self, key: Key, container_id: str) -> None:
        for _ in range(_TRIES):
            found = self._endpoint(key)
            if found is None or found.spec.container_id != container_id:
                return
            try:
                self._client.delete(key, found.metadata.resource_version)
            except Conflict:
                continue
            except NotFound:
                return
            return
        raise Unavailable(f"{key} is changed by others all the time")


def _refuse_unready(reason: str) -> None:
    if reason:
        raise Unavailable(f"this node takes no workloads yet: {reason}")


def _is_whole(link: Seen, addrs: tuple[Addr, ...]) -> bool:
    return (
        link.up
        and link.addresses == frozenset(addrs)
        and link.host_routes == link.addresses
        and link.default_routes == {addr.family for addr in addrs}
    )
