"""HostEndpoint: an interface of a node itself, for policy to govern.

Source: projectcalico.org/v3 (hostendpoint.go).
"""

from msgspec import field

from korat.core.model.resource import Frozen, Resource, written

#: The interface name of a host endpoint that governs every interface no other one governs.
ALL_INTERFACES = "*"


class HostPort(Frozen, frozen=True):
    """A named port of a host endpoint."""

    name: str = written("")
    protocol: int | str = written("TCP")
    port: int = written(0)


class HostEndpointSpec(Frozen, frozen=True):
    """Which interface of which node: by name, by one of its addresses, or ``*`` for the others.

    Rules with selectors speak of ``expected_ips``; the interface's real addresses are not learned.
    """

    node: str = ""
    interface_name: str = ""
    expected_ips: tuple[str, ...] = field(default=(), name="expectedIPs")
    profiles: tuple[str, ...] = ()
    ports: tuple[HostPort, ...] = ()


class HostEndpoint(Resource, frozen=True):
    """An interface of a node."""

    kind: str = written("HostEndpoint")
    spec: HostEndpointSpec = written(HostEndpointSpec())
