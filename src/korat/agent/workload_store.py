"""The workload endpoints of one node in the store, as CNI writes and takes them away.

An endpoint whose link another plugin made carries the network's name: only then is it known which
network's GC it belongs to. Not for what an endpoint says; ``korat.agent.workload_endpoint`` does.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from korat.agent.workload_endpoint import stored
from korat.core.errors import Conflict, NotFound, Unavailable
from korat.core.model.endpoint import WorkloadEndpoint
from korat.core.model.key import Key
from korat.core.model.label import CNI_NETWORK
from korat.drivers.store.client import Client
from korat.ports import Store

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Those of one node.

    ``wait_programmed`` waits until an endpoint's policy is in the kernel, and says whether it is.
    """

    node_name: str
    store: Store
    wait_programmed: Callable[[Key, float], bool]

    def find(self, key: Key) -> WorkloadEndpoint | None:
        """One of them.

        Raises:
            Unavailable: the store is away.
        """
        found = stored(self.store, key)
        return found if isinstance(found, WorkloadEndpoint) else None

    def of_network(self, network: str = "") -> Iterator[WorkloadEndpoint]:
        """Those whose links another plugin made for this network; without one, korat's own.

        Raises:
            Unavailable: the store is away.
        """
        for found in Client(self.store).read(["WorkloadEndpoint"]).by_key.values():
            if (
                isinstance(found, WorkloadEndpoint)
                and found.spec.node == self.node_name
                and network_of(found) == network
            ):
                yield found

    def write(self, wanted: WorkloadEndpoint, before: WorkloadEndpoint | None) -> None:
        """Store one in the place of what was read before.

        Raises:
            Unavailable: the store is away.
        """
        client = Client(self.store)
        try:
            if before is None:
                client.create(wanted)
            else:
                client.update(wanted, before)
        except (Conflict, NotFound):
            # Somebody changed it since it was read.
            client.apply(wanted)

    def wait(self, key: Key, timeout_s: float) -> None:
        """Wait until the endpoint's policy is in the kernel; 0 seconds: do not.

        Raises:
            Unavailable: it is not in time.
        """
        if timeout_s and not self.wait_programmed(key, timeout_s):
            raise Unavailable(f"the policy of {key} was not in the kernel after {timeout_s:g} s")

    def delete(self, key: Key, container_id: str) -> None:
        """Take one away if it is this container's; one that is gone is fine.

        Raises:
            Unavailable: the store is away, or others change it all the time.
        """
        client = Client(self.store)
        for _ in range(_TRIES):
            found = self.find(key)
            if found is None or found.spec.container_id != container_id:
                return
            try:
                client.delete(key, found.metadata.resource_version)
            except Conflict:
                continue
            except NotFound:
                return
            return
        raise Unavailable(f"{key} is changed by others all the time")


def network_of(found: WorkloadEndpoint) -> str:
    """The network of the plugin that made its link; empty where korat did."""
    return found.metadata.annotations.get(CNI_NETWORK, "")


def refuse_unready(reason: str) -> None:
    """Refuse to begin while there is a reason.

    Raises:
        Unavailable: with the reason.
    """
    if reason:
        raise Unavailable(f"this node takes no workloads yet: {reason}")
