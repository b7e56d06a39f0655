"""Service and EndpointSlice: what networking reads of them.

Source: Kubernetes' validation of core/v1 Service and discovery.k8s.io/v1 EndpointSlice.
"""

import re

from korat.core.model.service import EndpointSlice, Service, ServicePort, SliceEndpoint
from korat.core.model.validate.endpoint import PORT_NAME, PORT_NAME_RULE
from korat.core.model.validate.faults import Faults, each
from korat.core.model.validate.name import dns_label, labels
from korat.core.net.address import Family
from korat.core.net.port import NAMES_WITH_PORTS, PORT_LAST

_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
_NO_ADDRESS = ("", "None")
_FAMILIES = {"IPv4": Family.V4, "IPv6": Family.V6}
_ADDRESS_TYPES = (*_FAMILIES, "FQDN")
_ENDPOINTS, _ADDRESSES, _PORTS = 1000, 100, 100
_PORT_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NUMBER = f"must be 1 to {PORT_LAST}"


def service(faults: Faults, own: Service) -> None:
    """A service's name, selector and ports."""
    dns_label(faults, "metadata.name", own.metadata.name)
    spec = own.spec
    faults.choice("spec.type", spec.type, _TYPES)
    labels(faults, "spec.selector", spec.selector)
    if spec.cluster_ip not in _NO_ADDRESS:
        faults.address("spec.clusterIP", spec.cluster_ip)
    for field, family in each("spec.ipFamilies", spec.ip_families):
        faults.choice(field, family, _FAMILIES)
    faults.unique("spec.ipFamilies", spec.ip_families)
    faults.unique("spec.ports", [port.name for port in spec.ports if port.name])
    for i, port in enumerate(spec.ports):
        _service_port(faults, f"spec.ports[{i}]", port)
        if len(spec.ports) > 1 and not port.name:
            faults.add(f"spec.ports[{i}].name", None, "is missing, there are several ports")


def _service_port(faults: Faults, field: str, port: ServicePort) -> None:
    faults.choice(f"{field}.protocol", port.protocol, NAMES_WITH_PORTS)
    if not 1 <= port.port <= PORT_LAST:
        faults.add(f"{field}.port", port.port, _NUMBER)
    if port.name:
        faults.matches(f"{field}.name", port.name, _PORT_LABEL, "must be a DNS label")
    target = port.target_port
    if isinstance(target, str):
        faults.matches(f"{field}.targetPort", target, PORT_NAME, PORT_NAME_RULE)
    elif target is not None and not 1 <= target <= PORT_LAST:
        faults.add(f"{field}.targetPort", target, _NUMBER)


def endpoint_slice(faults: Faults, own: EndpointSlice) -> None:
    """A slice's addresses, all of its type, and its ports."""
    faults.choice("addressType", own.address_type, _ADDRESS_TYPES)
    faults.at_most("endpoints", own.endpoints, _ENDPOINTS)
    faults.at_most("ports", own.ports, _PORTS)
    for i, endpoint in enumerate(own.endpoints):
        _addresses(faults, f"endpoints[{i}].addresses", endpoint, own.address_type)
    faults.unique("ports", [port.name for port in own.ports])
    for i, port in enumerate(own.ports):
        faults.choice(f"ports[{i}].protocol", port.protocol, NAMES_WITH_PORTS)
        if port.port is not None and not 1 <= port.port <= PORT_LAST:
            faults.add(f"ports[{i}].port", port.port, _NUMBER)
        if port.name:
            faults.matches(f"ports[{i}].name", port.name, _PORT_LABEL, "must be a DNS label")


def _addresses(faults: Faults, field: str, endpoint: SliceEndpoint, kind: str) -> None:
    if not endpoint.addresses:
        faults.add(field, None, "is missing, an endpoint has at least one")
    faults.at_most(field, endpoint.addresses, _ADDRESSES)
    for path, text in each(field, endpoint.addresses):
        if kind in _FAMILIES:
            faults.address(path, text, _FAMILIES[kind])
