"""Service and EndpointSlice: the part of Kubernetes' services that policy needs.

A rule that names a service means the endpoints in its slices, whatever its own addresses are.
Manifests carry much more; what is not listed here is accepted and dropped. Not for finding the
pods behind a service, which is ``kubernetes.endpointslice``'s.
Source: Kubernetes core/v1 ServiceSpec and discovery.k8s.io/v1 EndpointSlice.
"""

import msgspec

from korat.core.model.resource import Open, Resource, written

#: The type of a service that is another name for a host elsewhere, and has no endpoints.
EXTERNAL_NAME = "ExternalName"


class ServicePort(Open, frozen=True):
    """A port of a service, and the number or name that the pods behind it have for it."""

    name: str = ""
    protocol: str = written("TCP")
    port: int = 0
    target_port: int | str | None = None


class ServiceSpec(Open, frozen=True):
    """Which pods are behind the service, and on which ports."""

    type: str = written("ClusterIP")
    selector: dict[str, str] = msgspec.field(default_factory=dict)
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    ip_families: tuple[str, ...] = ()


class Service(Resource, Open, frozen=True):
    """A service of a namespace."""

    kind: str = written("Service")
    api_version: str = written("v1")
    spec: ServiceSpec = written(ServiceSpec())


class Conditions(Open, frozen=True):
    """How an endpoint is; policy does not ask."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(Open, frozen=True):
    """One endpoint of a slice, with its addresses."""

    addresses: tuple[str, ...] = ()
    conditions: Conditions = written(Conditions())
    node_name: str = ""


class SlicePort(Open, frozen=True):
    """A port that every endpoint of a slice has; without a number it says nothing to policy."""

    name: str = ""
    protocol: str = written("TCP")
    port: int | None = None


class EndpointSlice(Resource, Open, frozen=True):
    """Endpoints of the service that the label ``kubernetes.io/service-name`` names."""

    kind: str = written("EndpointSlice")
    api_version: str = written("discovery.k8s.io/v1")
    address_type: str = written("")
    endpoints: tuple[SliceEndpoint, ...] = written(())
    ports: tuple[SlicePort, ...] = ()
