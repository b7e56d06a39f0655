"""What the wireserver answers: the addresses of a VM's NICs, in XML.

This is where Azure's own CNI plugin learns which addresses it may give to pods. Nothing else of the
wireserver is here: no goal state, no certificates, no health reports.

Source: azure-container-networking's reader of this document.
"""

from collections.abc import Mapping
from xml.etree.ElementTree import Element, SubElement, tostring

from korat.core.net.address import Addr, Family
from korat.lab.arm.view import MachineView, NicView
from korat.lab.metadata.instance import mac

PATH = "/machine/plugins"
_QUESTION = {"comp": "nmagent", "type": "getinterfaceinfov1"}

_WORDS = {True: "true", False: "false"}


def interfaces(machine: MachineView) -> bytes:
    """The document of a VM's interfaces, its IPv4 addresses with the primary ones marked."""
    root = Element("Interfaces")
    for number, nic in enumerate(machine.nics):
        _add_interface(root, nic, primary=number == 0)
    document: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def is_asked(path: str, query: Mapping[str, str]) -> bool:
    """Whether this is the question for the interfaces; the case of its words does not matter."""
    asked = {key.lower(): value.lower() for key, value in query.items()}
    return path == PATH and all(asked.get(key) == value for key, value in _QUESTION.items())


def _add_interface(root: Element, nic: NicView, *, primary: bool) -> None:
    element = SubElement(root, "Interface", MacAddress=mac(nic), IsPrimary=_WORDS[primary])
    subnet = SubElement(element, "IPSubnet", Prefix=str(nic.subnet))
    own = (addr for addr in nic.addresses if addr.family is Family.V4)
    for number, addr in enumerate(own):
        _add_address(subnet, addr, primary=number == 0)


def _add_address(subnet: Element, addr: Addr, *, primary: bool) -> None:
    SubElement(subnet, "IPAddress", Address=str(addr), IsPrimary=_WORDS[primary])
