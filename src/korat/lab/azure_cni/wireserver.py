"""The addresses of this machine's NICs, as the wireserver tells them.

Source: Azure's nmagent plugin of the wireserver, getinterfaceinfov1.
"""

import http.client
import ipaddress
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from korat.lab.azure_cni.protocol import PluginError

HOST = "168.63.129.16"
PATH = "/machine/plugins?comp=nmagent&type=getinterfaceinfov1"
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Subnet:
    """A subnet that a NIC is in, and the NIC's addresses for pods: the primary one is the node's.

    ``mac`` has no colons and is in capitals.
    """

    mac: str
    is_primary: bool
    prefix: str
    addresses: tuple[str, ...]

    @property
    def gateway(self) -> str:
        """Azure's router: the first address."""
        return str(ipaddress.ip_network(self.prefix)[1])


def subnets() -> list[Subnet]:
    """Ask the wireserver.

    Raises:
        PluginError: it does not answer, or with something else.
    """
    link = http.client.HTTPConnection(HOST, timeout=_TIMEOUT_S)
    try:
        link.request("GET", PATH)
        answer = link.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise PluginError(101, f"the wireserver does not answer: {error}") from error
    finally:
        link.close()
    if answer.status != http.HTTPStatus.OK:
        raise PluginError(101, f"the wireserver answers {answer.status}")
    return read(text)


def read(text: bytes) -> list[Subnet]:
    """What an answer says.

    Raises:
        PluginError: it is not what the wireserver answers.
    """
    try:
        root = ET.fromstring(text)  # noqa: S314 - the lab's own wireserver wrote it
        return [
            Subnet(
                mac=interface.get("MacAddress", "").replace(":", "").upper(),
                is_primary=_is_true(interface),
                prefix=str(ipaddress.ip_network(subnet.get("Prefix", ""))),
                addresses=tuple(
                    str(ipaddress.ip_address(each.get("Address", "")))
                    for each in subnet.iter("IPAddress")
                    if not _is_true(each)
                ),
            )
            for interface in root.iter("Interface")
            for subnet in interface.iter("IPSubnet")
        ]
    except (ET.ParseError, ValueError) as error:
        raise PluginError(101, f"the wireserver's answer cannot be read: {error}") from error


def _is_true(element: ET.Element) -> bool:
    return element.get("IsPrimary", "").lower() == "true"
