"""The wireserver's document of addresses."""

import pytest

from fabric_wire import nic
from korat.core.net.address import Addr, Prefix
from korat.lab.arm.view import MachineView
from korat.lab.metadata.wireserver import interfaces, is_asked

A = Addr.parse
SUBNET = Prefix.parse("10.10.0.0/20")


def document(*nics):
    return interfaces(MachineView("/vm1", "westeurope", nics)).decode()


def test_the_addresses_of_every_nic_with_the_primary_ones_marked():
    first = nic(1, (), subnet=SUBNET, addresses=(A("10.10.0.4"), A("10.10.1.0"), A("fd00::1")))
    assert document(first, nic(2, ())) == (
        "<?xml version='1.0' encoding='utf-8'?>\n"
        '<Interfaces><Interface MacAddress="000D3A000001" IsPrimary="true">'
        '<IPSubnet Prefix="10.10.0.0/20"><IPAddress Address="10.10.0.4" IsPrimary="true" />'
        '<IPAddress Address="10.10.1.0" IsPrimary="false" /></IPSubnet></Interface>'
        '<Interface MacAddress="000D3A000002" IsPrimary="false"><IPSubnet Prefix="10.10.0.0/24">'
        '<IPAddress Address="10.10.0.5" IsPrimary="true" /></IPSubnet></Interface></Interfaces>'
    )


@pytest.mark.parametrize(
    ("path", "query", "asked"),
    [
        ("/machine/plugins", {"comp": "nmagent", "type": "getinterfaceinfov1"}, True),
        ("/machine/plugins", {"comp": "nmagent", "type": "GetInterfaceInfov1"}, True),
        ("/machine/plugins", {"comp": "nmagent", "type": "getversion"}, False),
        ("/machine/plugins", {"comp": "nmagent"}, False),
        ("/machine", {"comp": "nmagent", "type": "getinterfaceinfov1"}, False),
    ],
)
def test_the_question(path, query, asked):
    assert is_asked(path, query) is asked
