"""Azure's own addresses, which the host of every VM answers: instance metadata and the wireserver.

They are in no virtual network and in no route table. Only the primary address of a NIC gets an
answer; whoever else asks is met with silence, whatever IP forwarding says.

Source: Azure's pages on IP address 168.63.129.16 and on the Instance Metadata Service.
"""

from korat.core.net.address import Addr, Prefix

IMDS = Addr.parse("169.254.169.254")
WIRESERVER = Addr.parse("168.63.129.16")
HTTP_PORT = 80
PLUGIN_PORT = 32526
"""The wireserver's second port, of the host's plug-in for the VM agent."""

ENDPOINTS = ((IMDS, HTTP_PORT), (WIRESERVER, HTTP_PORT), (WIRESERVER, PLUGIN_PORT))
"""What is open, by TCP; the lab serves no DNS or DHCP at the wireserver's address."""

ADDRESSES = (IMDS, WIRESERVER)

LINK_LOCAL = Prefix.parse("169.254.0.0/16")
"""What no router carries, Azure's neither."""
