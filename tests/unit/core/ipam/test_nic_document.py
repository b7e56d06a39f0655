"""The wireserver's and IMDS' documents: what is read of them, and what is refused."""

import json
import xml.etree.ElementTree as ET

import pytest

from korat.core.errors import Invalid, NotFound
from korat.core.ipam.nic_document import (
    Interface,
    Listed,
    mac_of,
    own_nic,
    parse_imds,
    parse_wireserver,
)
from korat.core.net.address import Addr, Prefix

MAC = "000D3A000001"
SUBNET = Prefix.parse("10.0.0.0/24")
XML = """<?xml version="1.0" encoding="utf-8"?>
<Interfaces>
  <Interface MacAddress="000d3a000001" IsPrimary="true">
    <IPSubnet Prefix="10.0.0.0/24">
      <IPAddress Address="10.0.0.4" IsPrimary="true" />
      <IPAddress Address="10.0.0.5" IsPrimary="false" />
    </IPSubnet>
    <IPSubnet Prefix="fd00::/64"><IPAddress Address="fd00::5"/></IPSubnet>
  </Interface>
  <Interface MacAddress="000D3A000002" IsPrimary="false">
    <IPSubnet Prefix="10.0.1.0/24"><IPAddress Address="10.0.1.4" IsPrimary="true"/></IPSubnet>
  </Interface>
</Interfaces>
"""
JSON = {
    "interface": [
        {
            "ipv4": {
                "ipAddress": [
                    {"privateIpAddress": "10.0.0.4", "publicIpAddress": ""},
                    {"privateIpAddress": "10.0.0.5", "publicIpAddress": ""},
                ],
                "subnet": [{"address": "10.0.0.0", "prefix": "24"}],
            },
            "ipv6": {"ipAddress": [{"privateIpAddress": "fd00::5"}]},
            "macAddress": MAC,
        }
    ]
}


def listed(text, primary=None, subnet=SUBNET):
    return Listed(Addr.parse(text), subnet, primary)


def told(*entries, mac=MAC, primary=None):
    return Interface(mac, primary, entries)


def usable(interfaces, **links):
    """What pods may have; ``links`` are the machine's, ``eth0="..."`` with addresses."""
    macs = {mac: frozenset(map(Addr.parse, texts)) for mac, texts in links.items()}
    return {str(addr) for addr in own_nic(interfaces, macs or {MAC: frozenset()}).for_pods}


def test_all_of_the_wireservers_document():
    first, second = parse_wireserver(XML.encode())
    assert first == told(
        listed("10.0.0.4", True),
        listed("10.0.0.5", False),
        listed("fd00::5", None, Prefix.parse("fd00::/64")),
        primary=True,
    )
    assert (second.mac, second.primary) == ("000D3A000002", False)


def test_it_reads_what_a_parser_of_another_kind_reads():
    root = ET.fromstring(XML)  # noqa: S314 - the text is this module's own
    other = [[a.get("Address") for a in each.iter("IPAddress")] for each in root]
    ours = [[str(a.addr) for a in each.addresses] for each in parse_wireserver(XML.encode())]
    assert ours == other


def test_elements_in_a_namespace_and_unknown_ones_are_no_matter():
    text = XML.replace("<Interfaces>", '<Interfaces xmlns="urn:x" Version="2"><New><Old/></New>')
    assert parse_wireserver(text.encode()) == parse_wireserver(XML.encode())
    note = "<Note><IPAddress Address='10.0.0.77'/></Note>"
    text = XML.replace("</IPSubnet>", f"{note}</IPSubnet>{note}")
    assert parse_wireserver(text.encode()) == parse_wireserver(XML.encode())


BOMB = """<!DOCTYPE Interfaces [<!ENTITY a "10.0.0.9"><!ENTITY b "&a;&a;&a;">]>
<Interfaces><Interface MacAddress="*"><IPSubnet Prefix="10.0.0.0/24">
<IPAddress Address="&a;"/></IPSubnet></Interface></Interfaces>"""
FILE = """<!DOCTYPE Interfaces SYSTEM "file:///etc/passwd"><Interfaces/>"""


@pytest.mark.parametrize("text", [BOMB, FILE, "<!DOCTYPE Interfaces><Interfaces/>"])
def test_a_document_type_is_refused(text):
    with pytest.raises(Invalid, match=r"wireserver: DOCTYPE 'Interfaces': is refused"):
        parse_wireserver(text.encode())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is no XML"),
        ("<Interfaces>", "is no XML"),
        ("<Interfaces>&x;</Interfaces>", "is no XML"),
        ("<Error/>", "'Error': is not Interfaces"),
        (XML.replace("10.0.0.5", "10.0.0.500"), "'10.0.0.500': is not an IP address"),
        (XML.replace("10.0.0.5", "10.9.0.5"), "'10.9.0.5': is not in 10.0.0.0/24"),
        (XML.replace("10.0.0.0/24", "everything"), "'everything': is not a CIDR"),
        (XML.replace('IsPrimary="false"', 'IsPrimary="no"'), "neither true nor false"),
    ],
    ids=["nothing", "cut-off", "entity", "another", "address", "elsewhere", "subnet", "flag"],
)
def test_what_is_no_answer_of_the_wireserver(text, fault):
    with pytest.raises(Invalid, match="answer of wireserver") as raised:
        parse_wireserver(text.encode())
    assert fault in str(raised.value)


def test_all_of_imds_document():
    (found,) = parse_imds(json.dumps(JSON).encode())
    assert found == told(
        listed("10.0.0.4"), listed("10.0.0.5"), listed("fd00::5", None, None), primary=None
    )


def test_leaves_that_are_absent_are_empty_text():
    entry = {"macAddress": MAC, "ipv4": {"ipAddress": [{"privateIpAddress": ""}], "subnet": [{}]}}
    assert parse_imds(json.dumps({"interface": [entry]}).encode()) == (told(),)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b'{"error": "Bad request"}',
        b'{"interface": [{"ipv4": {}}]}',
        b'{"interface": [{"macAddress": 7}]}',
        json.dumps(JSON).replace("10.0.0.5", "x").encode(),
        json.dumps(JSON).replace('"24"', '"99"').encode(),
        b'{"interface": ' + b"[" * 100_000,
    ],
    ids=["nothing", "bytes", "error", "no-mac", "type", "address", "subnet", "deep"],
)
def test_what_is_no_answer_of_imds(text):
    with pytest.raises(Invalid, match="answer of imds"):
        parse_imds(text)


def test_primary_addresses_of_the_wireserver_are_the_nodes_own():
    assert usable(parse_wireserver(XML.encode())) == {"10.0.0.5"}


def test_the_first_address_of_imds_is_the_nodes_own_unless_the_link_has_another():
    found = parse_imds(json.dumps(JSON).encode())
    assert usable(found) == {"10.0.0.5"}
    assert usable(found, **{MAC: ["10.0.0.5"]}) == {"10.0.0.4"}
    assert usable(found, **{MAC: ["10.0.0.4", "fe80::1"]}) == {"10.0.0.5"}


def test_what_any_link_of_the_machine_has_is_the_nodes_own():
    """Some images put all addresses of the NIC on eth0; a pod could not have them then."""
    found = parse_wireserver(XML.encode())
    assert usable(found, **{MAC: ["10.0.0.4"], "": ["127.0.0.1", "10.0.0.5"]}) == set()


def test_ipv6_that_is_told_from_the_primary_is_for_pods():
    flagged = parse_wireserver(XML.replace('"fd00::5"', '"fd00::5" IsPrimary="false"').encode())
    assert usable(flagged) == {"10.0.0.5", "fd00::5"}


def test_the_interface_is_the_one_whose_mac_a_link_has():
    found = parse_wireserver(XML.encode())
    nic = own_nic(found, {"000D3A000002": frozenset()})
    assert nic.own == {Addr.parse("10.0.1.4")}
    both = own_nic(found, {MAC: frozenset(), "000D3A000002": frozenset()})
    assert both.mac == MAC


def test_the_primary_interface_is_taken_wherever_it_stands():
    first, second = parse_wireserver(XML.encode())
    links = {MAC: frozenset(), "000D3A000002": frozenset()}
    assert own_nic([second, first], links).mac == MAC


def test_a_star_is_any_interface():
    found = parse_wireserver(XML.replace("000d3a000001", "*").encode())
    assert own_nic(found, {"ABCDEF000000": frozenset()}).for_pods == {Addr.parse("10.0.0.5")}


@pytest.mark.parametrize("mac", ["000D3A0000FF", ""], ids=["another", "none"])
def test_another_machines_interface_is_refused(mac):
    """An interface without a MAC is not the loopback link, which has none either."""
    links = {"": frozenset(), "00155D000009": frozenset()}
    with pytest.raises(NotFound, match=r"other MAC addresses only: .*; this machine has 0015"):
        own_nic([told(listed("10.0.0.4"), mac=mac)], links)


def test_macs_are_written_as_azure_does():
    assert mac_of("00:0d:3a:00:00:01") == mac_of("00-0D-3A-00-00-01") == MAC
