"""``korat-policy``: policy for a workload whose network another CNI plugin made.

It stands after that plugin in the configuration list, writes the workload's endpoint, and returns
when its policy is in the kernel: until then packets of an interface that nobody knows are dropped,
and from then on the first one that is allowed passes. It touches no link, route or address.
Not for making networks; ``korat.agent.workload`` does.
Source: CNI specification 1.1.0; the tracker's complaints about policy that comes late.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import msgspec
import structlog

from korat.agent.chained_result import host_interfaces, pod_addresses, same_result
from korat.agent.workload_endpoint import LinkEnds, endpoint, key_of, pod_of, provide_profile
from korat.agent.workload_removal import forget_connections, remove_each, undo
from korat.agent.workload_request import Request
from korat.agent.workload_store import Endpoints, refuse_unready
from korat.core.errors import Conflict, Invalid, NotFound, Problem, Unsupported
from korat.core.model.endpoint import WorkloadEndpoint
from korat.core.model.key import Key
from korat.core.model.label import CNI_NETWORK
from korat.core.net.address import Addr, Prefix
from korat.drivers.kernel.pod_end import PodEnd
from korat.drivers.store.client import Client
from korat.ports import Store

log = structlog.get_logger(__name__)


class Pods(Protocol):
    """The links of this node's pods; ``korat.drivers.kernel.pod_end.PodEnds``."""

    def read(self, netns: str, ifname: str) -> PodEnd:
        """A pod's interface and its end on the node."""

    def has(self, host_name: str) -> bool:
        """Whether this node has a link of that name."""

    def master(self, host_name: str) -> str:
        """The bridge, or the like, that the link is a port of; empty for none."""


@dataclass(frozen=True, slots=True)
class ChainedWorkloads:
    """The workloads of one node whose links are others'.

    The callables are those of ``korat.agent.workload.Workloads``.
    """

    node_name: str
    store: Store
    pods: Pods
    wait_programmed: Callable[[Key, float], bool]
    forget: Callable[[Iterable[Addr]], int]
    ready: Callable[[], str]
    interface_prefixes: Callable[[], tuple[str, ...]]

    def add(self, request: Request) -> dict[str, object]:
        """Bring one workload under policy and return the result that came; again when asked again.

        Raises:
            NotFound: the pod is not in the store, or its interface is not there.
            Invalid: the result tells of no address, or policy would not look at the interface.
            Conflict: the interface that the result names is not the pod's.
            Unsupported: the interface is a bridge's port.
            Unavailable: the store is away, or the policy takes too long.
        """
        refuse_unready(self.ready())
        addrs = pod_addresses(request)
        client, endpoints = Client(self.store), self._endpoints
        pod = pod_of(request, client)
        ends = self._ends(request)
        before = endpoints.find(key_of(request, self.node_name))
        provide_profile(request, client)
        networks = [str(Prefix.of(addr)) for addr in addrs]
        wanted = _of_network(
            endpoint(request, self.node_name, pod, networks, ends), request.config.name
        )
        own = before is not None and before.spec.container_id == request.owner.container_id
        try:
            endpoints.write(wanted, before)
            endpoints.wait(wanted.key, request.config.policy_setup_timeout_seconds)
        except BaseException:
            # A workload that ran before this request keeps its policy.
            if not own:
                undo(request, lambda: self._remove(wanted.key, request.owner.container_id))
            raise
        if before is not None and not own:
            # What its predecessor was permitted, also up to now, is not this container's.
            forget_connections(self.forget, {*addrs, *addresses_of(before)}, request.subject)
        return same_result(request)

    def delete(self, request: Request) -> None:
        """Take the endpoint away if it is this container's; one that is gone is fine.

        Raises:
            Unavailable: the store is away.
        """
        self._remove(key_of(request, self.node_name), request.owner.container_id)

    def check(self, request: Request) -> None:
        """Compare the endpoint with the link and with what the plugins before made.

        Raises:
            NotFound: something is missing or different; says all of it.
            Invalid: the request carries no earlier result.
        """
        addrs = pod_addresses(request)
        key = key_of(request, self.node_name)
        found = self._endpoints.find(key)
        if found is None or found.spec.container_id != request.owner.container_id:
            raise NotFound(f"{key} is not this container's")
        faults = []
        host_name = found.spec.interface_name
        if not self.pods.has(host_name):
            faults.append(f"link {host_name} is gone")
        elif (actual := self._ends(request).host_name) != host_name:
            faults.append(f"{key} is about {host_name}, but the pod's link is {actual}")
        if set(addrs) != set(addresses_of(found)):
            has = ", ".join(found.spec.ip_networks)
            faults.append(f"{key} has the addresses {has}, the pod {', '.join(map(str, addrs))}")
        if faults:
            raise NotFound("; ".join(faults))

    def gc(self, request: Request) -> None:
        """Take away the endpoints of this network whose containers the runtime does not name.

        Raises:
            Invalid: the runtime names none at all, not even an empty list.
            KoratError: the first of the removals that failed; the others were done.
        """
        alive = {each.container_id for each in request.attachments}
        gone = [
            found
            for found in self._endpoints.of_network(request.config.name)
            if found.spec.container_id not in alive
        ]
        remove_each(gone, lambda found: self._remove(found.key, found.spec.container_id))

    def status(self, _request: Request) -> None:
        """Say whether an ADD can be served now.

        Raises:
            Unavailable: it cannot, and why.
        """
        refuse_unready(self.ready())

    @property
    def _endpoints(self) -> Endpoints:
        return Endpoints(self.node_name, self.store, self.wait_programmed)

    def _ends(self, request: Request) -> LinkEnds:
        """The pod's link: what the result names, else by its name, else what the kernel says.

        Where the kernel says where the pod's interface leads, nobody else can know better.
        """
        prefixes = self.interface_prefixes()
        pod = self.pods.read(request.env.netns, request.owner.ifname)
        told = [name for name in host_interfaces(request, prefixes) if self.pods.has(name)]
        if pod.peer and told and pod.peer not in told:
            raise Conflict(
                f"the pod's {request.owner.ifname} leads to {pod.peer}, not to {told[0]}",
                "see the result of the plugin before this one",
            )
        by_name = filter(self.pods.has, (request.host_name(prefixes[0]),))
        host_name = pod.peer or next(iter((*told, *by_name)), "")
        if not host_name:
            raise NotFound(
                f"no interface of this node leads to {request.owner.ifname} of {request.subject}",
                f"see that the plugin before makes links that begin with {' or '.join(prefixes)}",
            )
        if not host_name.startswith(prefixes):
            rule = (
                f"begins with none of {', '.join(prefixes)}, so its packets would not be policed;"
                " add its beginning to FELIX_INTERFACEPREFIX"
            )
            raise Invalid([Problem(request.subject, "interface", host_name, rule)])
        bridge = self.pods.master(host_name)
        if bridge:
            raise Unsupported(
                f"{host_name} is a port of {bridge}, whose packets do not come by under its name,"
                " so policy would not see them",
                "use a plugin that routes: azure-vnet in mode transparent, ptp",
            )
        return LinkEnds(host_name, pod.mac)

    def _remove(self, key: Key, container_id: str) -> None:
        found = self._endpoints.find(key)
        if found is None or found.spec.container_id != container_id:
            return
        self._endpoints.delete(key, container_id)
        forget_connections(self.forget, addresses_of(found), str(key))


def addresses_of(found: WorkloadEndpoint) -> tuple[Addr, ...]:
    """An endpoint's own addresses."""
    return tuple(Addr.parse_interface(text) for text in found.spec.ip_networks)


def _of_network(wanted: WorkloadEndpoint, network: str) -> WorkloadEndpoint:
    annotations = {**wanted.metadata.annotations, CNI_NETWORK: network}
    metadata = msgspec.structs.replace(wanted.metadata, annotations=annotations)
    return msgspec.structs.replace(wanted, metadata=metadata)
