"""What the policy verbs judge: the objects of the store, or those of files, with no store at all.

Files are taken as ``korat apply -f`` would take them into an empty store, refusals and implied
profiles included. Their pods run nowhere, so a pod that its file gives no address gets one that
is made up: the same for the same name every time, and of a range that nobody can use, so that no
CIDR of a rule but the widest means it by accident.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from korat import __version__
from korat.cli.connect import connect
from korat.cli.manifest import Item, read_items
from korat.cli.policy_place import Places
from korat.core.errors import Invalid, Problem
from korat.core.model.builtin import may_write
from korat.core.model.endpoint import WorkloadEndpoint
from korat.core.model.key import Key
from korat.core.model.kubernetes.endpointslice import wanted_slices
from korat.core.model.kubernetes.workload import endpoint_of, interface_name
from korat.core.model.label import SERVICE_NAME
from korat.core.model.pod import Pod, PodIp
from korat.core.model.resource import Resource
from korat.core.model.service import EndpointSlice, Service
from korat.core.net.address import Addr, Prefix
from korat.core.policy.cluster import Cluster
from korat.drivers.store.batch import Verb, run
from korat.drivers.store.client import Client, Objects, initialize
from korat.drivers.store.memory import MemoryStore

#: Where made-up addresses are from: reserved "for future use" since 1989, and no host takes one.
INVENTED = Prefix.parse("240.0.0.0/4")
#: Stands for a node's name in the name of an endpoint that is on none.
_NO_NODE = "none"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Objects, the cluster that policy sees in them, and what is known about them beside.

    ``invented`` are the endpoints with made-up addresses, ``notes`` what was done unasked.
    """

    objects: Objects
    cluster: Cluster
    places: Places = field(default_factory=Places)
    invented: frozenset[Key] = frozenset()
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, objects: Objects) -> "Snapshot":
        """Objects of a store."""
        return cls(objects, Cluster.build(objects.by_key.values()))


def read_snapshot(
    files: Sequence[str], namespace: str = "", *, recursive: bool = False, config: str = ""
) -> Snapshot:
    """The objects of files, or of the store when there are none.

    Raises:
        KoratError: the files are not in order, or the store cannot be read.
    """
    if not files:
        return Snapshot.of(connect(config).read())
    items = read_items(files, namespace, recursive=recursive, skip_empty=False)
    return from_items(items)


def from_items(items: Sequence[Item]) -> Snapshot:
    """The objects of files as a store of their own.

    Raises:
        KoratError: an empty store would refuse them.
    """
    client, notes = store_of(items)
    return running(client.read().by_key, Places(items), notes)


def store_of(items: Iterable[Item]) -> tuple[Client, tuple[str, ...]]:
    """A store in memory with what every cluster has and these objects; and what is to be told.

    Raises:
        KoratError: an empty store would refuse them.
    """
    client = Client(MemoryStore())
    initialize(client, __version__)
    wanted = [bare(resource) for item in items for resource in item.resources]
    outcome = run(client, Verb.APPLY, [r for r in wanted if may_write(r.key)])
    return client, outcome.notes


def bare(resource: Resource) -> Resource:
    """The object without the revision of the store that it may have been read from."""
    return replace(resource, metadata=replace(resource.metadata, resource_version=""))


def running(
    objects: Mapping[Key, Resource], places: Places, notes: tuple[str, ...] = ()
) -> Snapshot:
    """The snapshot in which every pod runs, and every service has endpoints."""
    there = dict(objects)
    invented = set()
    known = {(r.metadata.namespace, r.spec.pod) for r in _endpoints(there.values())}
    taken: set[int] = set()
    pods = [r for r in there.values() if isinstance(r, Pod)]
    for pod in sorted(pods, key=lambda pod: pod.key):
        if (
            pod.spec.host_network
            or pod.is_finished
            or (pod.metadata.namespace, pod.metadata.name) in known
        ):
            continue
        addresses = _addresses(pod)
        endpoint = _endpoint(pod, addresses or (_invented(pod, taken),))
        there[endpoint.key] = endpoint
        if not addresses:
            invented.add(endpoint.key)
    there.update(_slices(there.values()))
    return Snapshot(
        Objects(there, 0), Cluster.build(there.values()), places, frozenset(invented), notes
    )


def _slices(resources: Collection[Resource]) -> Mapping[Key, Resource]:
    """The slices of those services of which nobody has written any."""
    written = {
        (r.metadata.namespace, r.metadata.labels.get(SERVICE_NAME))
        for r in resources
        if isinstance(r, EndpointSlice)
    }
    services = (r for r in resources if isinstance(r, Service))
    open_ = [s for s in services if (s.metadata.namespace, s.metadata.name) not in written]
    owned = {(r.metadata.namespace, r.spec.pod): r for r in _endpoints(resources)}
    pods = (r for r in resources if isinstance(r, Pod))
    placed = [_placed(pod, owned.get((pod.metadata.namespace, pod.metadata.name))) for pod in pods]
    return wanted_slices([*open_, *placed])


def _placed(pod: Pod, endpoint: WorkloadEndpoint | None) -> Pod:
    """The pod with the addresses of its endpoint."""
    if endpoint is None:
        return pod
    addresses = (Addr.parse_interface(text) for text in endpoint.spec.ip_networks)
    ips = tuple(PodIp(str(addr)) for addr in addresses)
    return replace(pod, status=replace(pod.status, pod_ips=ips))


def _endpoints(resources: Iterable[Resource]) -> list[WorkloadEndpoint]:
    return [resource for resource in resources if isinstance(resource, WorkloadEndpoint)]


def _addresses(pod: Pod) -> tuple[str, ...]:
    """The addresses that the file gives a pod, as ``kubectl get -o yaml`` writes them.

    Raises:
        Invalid: one is none.
    """
    found = []
    for text in pod.addresses:
        try:
            found.append(str(Addr.parse_interface(text)))
        except ValueError as error:
            problem = Problem(pod.title, "status.podIP", text, "is not an IP address")
            raise Invalid([problem]) from error
    return tuple(found)


def _invented(pod: Pod, taken: set[int]) -> str:
    """An address that depends on the pod's name alone, but for the rare two that would share it."""
    name = f"{pod.metadata.namespace}/{pod.metadata.name}"
    digest = hashlib.blake2b(name.encode(), digest_size=4).digest()
    value = INVENTED.base | (int.from_bytes(digest, "big") & INVENTED.host_mask)
    while value in taken:
        value = INVENTED.base | ((value + 1) & INVENTED.host_mask)
    taken.add(value)
    return str(Addr(INVENTED.family, value))


def _endpoint(pod: Pod, addresses: Iterable[str]) -> WorkloadEndpoint:
    """The endpoint that the pod would have; without a node when it has none."""
    device = interface_name(pod.metadata.namespace, pod.metadata.name)
    networks = [str(Prefix.of(Addr.parse(text))) for text in addresses]
    made = endpoint_of(pod, pod.spec.node_name or _NO_NODE, "", networks, device, "")
    return replace(made, spec=replace(made.spec, node=pod.spec.node_name))
