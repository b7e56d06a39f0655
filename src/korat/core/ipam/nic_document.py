"""What a VM is told of its network interfaces: the wireserver's XML and IMDS' JSON, as values.

The wireserver says which address is an interface's primary one; IMDS does not, there it is the
first by convention, and what the machine's own link has is a better witness than a convention.
Documents are not believed: a document type is refused, and with it every entity; so is what has no
sense as an address. Not for fetching them, and not for who gets which address.
Source: azure-container-networking (ipam/azure.go); Azure's Instance Metadata Service.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

import msgspec

from korat.core.errors import Invalid, NotFound, Problem
from korat.core.ipam.nic import Nic, NicAddress
from korat.core.net.address import Addr, Family, Prefix

WIRESERVER, IMDS = "wireserver", "imds"
#: Stands for the MAC of whatever interface there is.
ANY_MAC = "*"

_ROOT, _INTERFACE, _SUBNET, _ADDRESS = "Interfaces", "Interface", "IPSubnet", "IPAddress"
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Listed:
    """An address of an interface; ``primary`` is None where the document does not say."""

    addr: Addr
    subnet: Prefix | None
    primary: bool | None


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface as a document has it: its MAC in capitals without colons, or ``*``."""

    mac: str
    primary: bool | None
    addresses: tuple[Listed, ...]


def mac_of(text: str) -> str:
    """A MAC address as Azure writes it: ``000D3A1B2C3D``."""
    return text.replace(":", "").replace("-", "").upper()


def own_nic(interfaces: Iterable[Interface], links: Mapping[str, frozenset[Addr]]) -> Nic:
    """This machine's NIC: of the interfaces that it has a link of, the primary or else the first.

    ``links`` are the machine's own: the addresses of each by its MAC, as ``mac_of`` writes it, or
    by the empty text where it has none.

    Raises:
        NotFound: the machine has a link of none.
    """
    listed = tuple(interfaces)
    ours = [each for each in listed if each.mac == ANY_MAC or (each.mac and each.mac in links)]
    if not ours:
        told = ", ".join(each.mac for each in listed) or "none"
        raise NotFound(
            f"Azure lists interfaces of other MAC addresses only: {told}; "
            f"this machine has {', '.join(filter(None, sorted(links))) or 'none'}"
        )
    nic = next((each for each in ours if each.primary), ours[0])
    local = frozenset(addr for addrs in links.values() for addr in addrs)
    own = local | {addr for family in Family for addr in _primaries(nic, family, local)}
    return Nic(nic.mac, tuple(NicAddress(a.addr, a.subnet, a.addr in own) for a in nic.addresses))


def _primaries(nic: Interface, family: Family, local: frozenset[Addr]) -> Iterator[Addr]:
    """The primary addresses of a family: those so called, or that of the link, or the first."""
    listed = [each for each in nic.addresses if each.addr.family is family]
    if any(each.primary is not None for each in listed):
        yield from (each.addr for each in listed if each.primary)
    elif listed and not any(each.addr in local for each in listed):
        yield listed[0].addr


def parse_wireserver(document: bytes) -> tuple[Interface, ...]:
    """The interfaces of a wireserver's ``getinterfaceinfov1``.

    Raises:
        Invalid: it is not that, or has a document type.
    """
    reader = _XmlReader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = reader.document_type
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        raise _invalid(WIRESERVER, "", None, f"is no XML: {error}") from error
    return tuple(reader.interfaces)


@dataclass(slots=True)
class _XmlReader:
    """Follows the elements; those it does not know, it passes over."""

    interfaces: list[Interface] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    subnet: Prefix | None = None

    def document_type(self, name: str, *_: object) -> NoReturn:
        raise _invalid(WIRESERVER, "DOCTYPE", name, "is refused: it could define entities")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.path.append(name.rpartition(" ")[2])
        match self.path:
            case [root] if root != _ROOT:
                raise _invalid(WIRESERVER, "", root, f"is not {_ROOT}")
            case [_, kind] if kind == _INTERFACE:
                mac = mac_of(attributes.get("MacAddress", ""))
                self.interfaces.append(Interface(mac, _flag(attributes), ()))
            case [_, above, kind] if (above, kind) == (_INTERFACE, _SUBNET):
                self.subnet = _prefix(WIRESERVER, "IPSubnet.Prefix", attributes.get("Prefix", ""))
            case [_, top, above, kind] if (top, above, kind) == (_INTERFACE, _SUBNET, _ADDRESS):
                self._address(attributes)
            case _:
                pass

    def end(self, _name: str) -> None:
        self.path.pop()

    def _address(self, attributes: dict[str, str]) -> None:
        addr = _addr(WIRESERVER, "IPAddress.Address", attributes.get("Address", ""))
        if self.subnet is not None and addr not in self.subnet:
            raise _invalid(WIRESERVER, "IPAddress.Address", str(addr), f"is not in {self.subnet}")
        last = self.interfaces[-1]
        listed = Listed(addr, self.subnet, _flag(attributes))
        self.interfaces[-1] = Interface(last.mac, last.primary, (*last.addresses, listed))


class _Address(msgspec.Struct, rename="camel"):
    private_ip_address: str = ""


class _Subnet(msgspec.Struct):
    address: str = ""
    prefix: str = ""


class _FamilyPart(msgspec.Struct, rename="camel"):
    ip_address: list[_Address] = []
    subnet: list[_Subnet] = []


class _Interface(msgspec.Struct, rename="camel"):
    mac_address: str
    ipv4: _FamilyPart = msgspec.field(default_factory=_FamilyPart)
    ipv6: _FamilyPart = msgspec.field(default_factory=_FamilyPart)


class _Network(msgspec.Struct):
    interface: list[_Interface]


def parse_imds(document: bytes) -> tuple[Interface, ...]:
    """The interfaces of IMDS' ``instance/network``; it says of none whether it is primary.

    Raises:
        Invalid: it is not that.
    """
    try:
        network = msgspec.json.decode(document, type=_Network)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid(IMDS, "", None, f"is not what it should be: {error}") from error
    return tuple(
        Interface(mac_of(each.mac_address), None, (*_of_part(each.ipv4), *_of_part(each.ipv6)))
        for each in network.interface
    )


def _of_part(part: _FamilyPart) -> Iterator[Listed]:
    subnets = [
        _prefix(IMDS, "subnet", f"{each.address}/{each.prefix}")
        for each in part.subnet
        if each.address
    ]
    for entry in part.ip_address:
        if entry.private_ip_address:
            addr = _addr(IMDS, "privateIpAddress", entry.private_ip_address)
            yield Listed(addr, next((s for s in subnets if addr in s), None), None)


def _flag(attributes: Mapping[str, str]) -> bool | None:
    text = attributes.get("IsPrimary")
    if text is None:
        return None
    if text.lower() not in _FLAGS:
        raise _invalid(WIRESERVER, "IsPrimary", text, "is neither true nor false")
    return _FLAGS[text.lower()]


def _addr(source: str, name: str, text: str) -> Addr:
    try:
        return Addr.parse(text)
    except ValueError as error:
        raise _invalid(source, name, text, "is not an IP address") from error


def _prefix(source: str, name: str, text: str) -> Prefix:
    try:
        return Prefix.parse(text)
    except ValueError as error:
        raise _invalid(source, name, text, "is not a CIDR") from error


def _invalid(source: str, name: str, value: object, rule: str) -> Invalid:
    return Invalid([Problem(f"answer of {source}", name, value, rule)])
