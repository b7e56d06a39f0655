"""The EndpointSlices of services: which pods are behind each, and on which ports.

Where there is Kubernetes, its own controller keeps them; in the embedded store korat's lab does,
and ``policy`` does for files in which nobody wrote any. A service without a selector gets none:
whoever makes it writes them. Pods that have the same numbers for the service's ports share slices.
Source: Kubernetes' endpointslice controller (reconciler.go, utils.go) and FindPort.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from korat.core.model.key import Key
from korat.core.model.label import SERVICE_NAME, SLICE_KEEPER
from korat.core.model.pod import Pod
from korat.core.model.resource import Metadata, Resource
from korat.core.model.service import (
    EXTERNAL_NAME,
    Conditions,
    EndpointSlice,
    Service,
    ServicePort,
    SliceEndpoint,
    SlicePort,
)
from korat.core.net.address import Addr, Family

#: Who keeps the slices that are made here, by their own word.
KEEPER = "korat"
#: How many endpoints stand in one slice.
ENDPOINTS_MAX = 100
_ENDED = ("Succeeded", "Failed")
_FAMILIES = {"IPv4": Family.V4, "IPv6": Family.V6}
_HEADLESS = "None"

_Ports = tuple[SlicePort, ...]


def kept(resource: Resource) -> bool:
    """Whether this is a slice that follows from services and pods, and from nothing else."""
    own = isinstance(resource, EndpointSlice)
    return own and resource.metadata.labels.get(SLICE_KEEPER) == KEEPER


def wanted_slices(resources: Iterable[Resource]) -> dict[Key, EndpointSlice]:
    """The slices that should be kept for these services, given these pods."""
    services, pods = [], defaultdict(list)
    for resource in resources:
        if isinstance(resource, Service):
            services.append(resource)
        elif isinstance(resource, Pod):
            pods[resource.metadata.namespace].append(resource)
    made = (s for each in services for s in slices_of(each, pods[each.metadata.namespace]))
    return {each.key: each for each in made}


def slices_of(service: Service, pods: Iterable[Pod]) -> Iterator[EndpointSlice]:
    """The slices of one service; ``pods`` are those of its namespace."""
    spec = service.spec
    if not spec.selector or spec.type == EXTERNAL_NAME:
        return
    chosen = sorted((pod for pod in pods if _behind(spec.selector, pod)), key=lambda pod: pod.key)
    for kind in _address_types(service):
        groups: defaultdict[_Ports, list[SliceEndpoint]] = defaultdict(list)
        for pod in chosen:
            addresses = _addresses(pod, _FAMILIES[kind])
            if addresses:
                groups[tuple(_ports(spec.ports, pod))].append(_endpoint(pod, addresses))
        for ports, endpoints in groups.items():
            yield from _chunks(service, kind, ports, endpoints)


def _behind(selector: Mapping[str, str], pod: Pod) -> bool:
    """Whether a pod is one of the service's; one that has ended is not, however it is labelled."""
    labels = pod.metadata.labels
    alike = all(labels.get(key) == value for key, value in selector.items())
    return alike and pod.status.phase not in _ENDED


def _address_types(service: Service) -> Sequence[str]:
    """The service's IP versions: as it says, else its own address's, else both."""
    spec = service.spec
    if spec.ip_families:
        return spec.ip_families
    if spec.cluster_ip and spec.cluster_ip != _HEADLESS:
        own = Addr.parse(spec.cluster_ip).family
        return [kind for kind, family in _FAMILIES.items() if family is own]
    return tuple(_FAMILIES)


def _addresses(pod: Pod, family: Family) -> tuple[str, ...]:
    """The pod's address of a version, the first where it has several."""
    told = (*(each.ip for each in pod.status.pod_ips), pod.status.pod_ip)
    own = (str(addr) for addr in map(_address, told) if addr and addr.family is family)
    return tuple(own)[:1]


def _address(text: str) -> Addr | None:
    try:
        return Addr.parse(text)
    except ValueError:
        return None


def _endpoint(pod: Pod, addresses: tuple[str, ...]) -> SliceEndpoint:
    ready = pod.status.phase == "Running"
    return SliceEndpoint(
        addresses=addresses,
        conditions=Conditions(ready=ready, serving=ready, terminating=False),
        node_name=pod.spec.node_name,
    )


def _ports(ports: Iterable[ServicePort], pod: Pod) -> Iterator[SlicePort]:
    """The service's ports as this pod has them; a name that it does not have is no port of it."""
    for port in ports:
        number = _number(port, pod)
        if number:
            yield SlicePort(name=port.name, protocol=port.protocol, port=number)


def _number(port: ServicePort, pod: Pod) -> int | None:
    target = port.target_port
    if not isinstance(target, str):
        return target or port.port
    own = (each for container in pod.spec.containers for each in container.ports)
    wanted = target, port.protocol
    return next((p.container_port for p in own if (p.name, p.protocol) == wanted), None)


def _chunks(
    service: Service, kind: str, ports: _Ports, endpoints: Sequence[SliceEndpoint]
) -> Iterator[EndpointSlice]:
    """Slices of a size that a watcher can bear, named by what all their endpoints share."""
    own = service.metadata
    text = ",".join(f"{p.name} {p.protocol} {p.port}" for p in ports)
    digest = hashlib.blake2b(f"{kind} {text}".encode(), digest_size=4).hexdigest()
    for number, first in enumerate(range(0, len(endpoints), ENDPOINTS_MAX)):
        yield EndpointSlice(
            metadata=Metadata(
                name=f"{own.name}-{digest}-{number}",
                namespace=own.namespace,
                labels={SERVICE_NAME: own.name, SLICE_KEEPER: KEEPER},
            ),
            address_type=kind,
            endpoints=tuple(endpoints[first : first + ENDPOINTS_MAX]),
            ports=ports,
        )
