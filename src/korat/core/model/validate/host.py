"""HostEndpoint.

Source: libcalico-go/lib/validator/v3 and the CEL rules of the CRD (hostendpoint.go).
"""

from korat.core.model import number
from korat.core.model.host import HostEndpoint, HostPort
from korat.core.model.validate.endpoint import (
    INTERFACE,
    INTERFACE_RULE,
    PORT_NAME,
    PORT_NAME_RULE,
)
from korat.core.model.validate.faults import Faults, each
from korat.core.model.validate.name import name
from korat.core.net.port import PORT_LAST


def host_endpoint(faults: Faults, own: HostEndpoint) -> None:
    """A host endpoint: its node, and its interface by name or by address."""
    spec = own.spec
    if spec.node:
        name(faults, "spec.node", spec.node)
    else:
        faults.add("spec.node", None, "must be given")
    if spec.interface_name:
        faults.matches("spec.interfaceName", spec.interface_name, INTERFACE, INTERFACE_RULE)
    elif not spec.expected_ips:
        rule = "must be given, or else expectedIPs, by which the interface is found"
        faults.add("spec.interfaceName", None, rule)
    for field, text in each("spec.expectedIPs", spec.expected_ips):
        faults.address(field, text)
    faults.unique("spec.expectedIPs", spec.expected_ips)
    for field, text in each("spec.profiles", spec.profiles):
        name(faults, field, text)
    faults.unique("spec.profiles", spec.profiles)
    for i, port in enumerate(spec.ports):
        _port(faults, f"spec.ports[{i}]", port)


def _port(faults: Faults, field: str, port: HostPort) -> None:
    faults.matches(f"{field}.name", port.name, PORT_NAME, PORT_NAME_RULE)
    if not number.has_ports(port.protocol):
        faults.add(f"{field}.protocol", port.protocol, "must be TCP, UDP or SCTP")
    if not 1 <= port.port <= PORT_LAST:
        faults.add(f"{field}.port", port.port, f"must be 1 to {PORT_LAST}")
